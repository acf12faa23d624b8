"""What the operator needs of a node: whether it is going, and what it can hold. Pure.

A node that is going bears a mark of what removes it: a taint, a condition, or its own deletion.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detection_operator.kube.port import Object

NODE: Final = "Node"
_TAINTS: Final = {
    "karpenter.sh/disrupted": "Karpenter removes it",
    "karpenter.sh/disruption": "Karpenter removes it",
    "karpenter.k8s.aws/interruption": "Karpenter reports an interruption",
    "ToBeDeletedByClusterAutoscaler": "the Cluster Autoscaler removes it",
    "aws-node-termination-handler/spot-itn": "its spot instance is interrupted",
    "aws-node-termination-handler/asg-lifecycle-termination": "its Auto Scaling group ends it",
    "aws-node-termination-handler/scheduled-maintenance": "AWS has scheduled maintenance",
    "cloud.google.com/impending-node-termination": "its instance is about to end",
    "node.cloudprovider.kubernetes.io/shutdown": "its instance is shut down",
    "node.kubernetes.io/out-of-service": "it is out of service",
}
"""Taints with which a node is emptied within minutes, whatever is on it: of Karpenter (v1; v1beta1
has the key ``disruption``), the Cluster Autoscaler (``ToBeDeleted``; ``DeletionCandidate`` is
often taken back), aws-node-termination-handler, GKE, and Kubernetes itself."""
_ADVISED: Final = {
    "aws-node-termination-handler/rebalance-recommendation": "AWS recommends rebalancing it",
}
"""Taints of nodes that go some time: an interruption is likelier than usual."""
_CONDITIONS: Final = {
    "SpotTermination": "its spot instance is interrupted",
    "TerminateScheduled": "Azure has scheduled its end",
    "PreemptScheduled": "Azure preempts it",
}
"""Conditions that say the same: of OpenShift's termination handler and of AKS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node.

    Attributes:
        name: Its name.
        leaving: Why its pods must go, a few words; empty while they may stay.
        soon: They go within minutes, drained or not.
    """

    name: str
    leaving: str = ""
    soon: bool = False


def node_view(node: Object) -> NodeView:
    """Return what a node says of itself."""
    name, spec = node["metadata"]["name"], node.get("spec", {})
    taints = {
        str(item.get("key")): str(item.get("value", "")) for item in spec.get("taints") or ()
    }
    soon = _soon(node, taints)
    if soon:
        return NodeView(name=name, leaving=soon, soon=True)
    advised = next((words for key, words in _ADVISED.items() if key in taints), "")
    leaving = advised or ("it is cordoned" if spec.get("unschedulable") else "")
    return NodeView(name=name, leaving=leaving)


def slim_node(node: Object) -> dict[str, Any]:
    """Return a node without what is never read: images, addresses and versions are nine tenths.

    Equal texts of many nodes are kept once.
    """
    metadata, spec, status = node["metadata"], node.get("spec", {}), node.get("status", {})
    conditions = status.get("conditions") or ()
    return {
        "metadata": {
            **{k: metadata[k] for k in _METADATA if metadata.get(k)},
            "labels": _shared(metadata.get("labels") or {}),
        },
        "spec": {k: spec[k] for k in ("unschedulable", "taints") if spec.get(k)},
        "status": {
            "allocatable": _shared(status.get("allocatable") or {}),
            "conditions": [_shared({k: c[k] for k in ("type", "status")}) for c in conditions],
        },
    }


_METADATA: Final = ("name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")


def _soon(node: Object, taints: Mapping[str, str]) -> str:
    if node["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    marked = next((words for key, words in _TAINTS.items() if key in taints), "")
    if marked:
        return marked
    true = {c["type"] for c in node.get("status", {}).get("conditions") or () if _is_true(c)}
    return next((words for key, words in _CONDITIONS.items() if key in true), "")


def _is_true(condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == "True"


def _shared(texts: Mapping[str, Any]) -> dict[str, str]:
    return {sys.intern(str(key)): sys.intern(str(value)) for key, value in texts.items()}
