"""Controllers, scheduler and kubelets in one call: pods follow replicas."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from detection_contract.environment import ANNOTATION_DELETION_COST
from detection_operator.kube.objects import replicas_of, timestamp
from detection_operator.kube.selectors import matches, selector_text
from detection_testing.kubernetes.cluster import InMemoryCluster, slot_of

GPU = "nvidia.com/gpu"


@dataclass(slots=True)
class Nodes:
    """Deployment controller, scheduler and kubelets of an ``InMemoryCluster``.

    Attributes:
        cluster: Whose objects.
        slots: Pods that find a node; None: no limit.
        ready_after_s: From a node to ready; None: never.
        loads_s: Seconds before it is ready in which a worker answers.
        acts_after_s: From a change of a Deployment to what its controllers make of it.
        waiting: Reason of containers that never start, such as ``CrashLoopBackOff``.
        ends_after_s: From the deletion of a pod to its end.
        refused: Why no more pods may be created, as the controller says it; None: they may.
        removed: Names of removed pods, oldest first.
        unfinished: Always: time is cheap here.
    """

    cluster: InMemoryCluster
    slots: int | None = None
    ready_after_s: float | None = 0.0
    loads_s: float = 0.0
    acts_after_s: float = 0.0
    waiting: str | None = None
    ends_after_s: float = 0.0
    refused: str | None = None
    removed: list[str] = field(default_factory=list)
    unfinished: bool = True
    _changes: dict[str, tuple[int, float]] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def tick(self) -> None:
        """Let everything that is due happen."""
        for deployment in self.cluster.of_kind("Deployment"):
            if self._is_due(deployment):
                self._replicate(deployment)
        self._schedule()
        for pod in self.cluster.of_kind("Pod"):
            # One that ends does not begin to receive any more.
            if "deletionTimestamp" not in pod["metadata"]:
                self._run(pod)
            if pod.get("_ends_s", float("inf")) <= self.cluster.clock():
                self.cluster.delete(slot_of(pod))

    def answers(self, pod: dict[str, Any]) -> bool:
        """Say whether the worker in a pod answers, ready or not."""
        if self.ready_after_s is None or "_node_s" not in pod:
            return False
        since_s = self.cluster.clock() - pod["_node_s"]
        return self.waiting is None and since_s >= self.ready_after_s - self.loads_s

    def _is_due(self, deployment: dict[str, Any]) -> bool:
        metadata, now_s = deployment["metadata"], self.cluster.clock()
        generation, since_s = self._changes.get(metadata["uid"], (0, now_s))
        if generation != metadata["generation"]:
            generation, since_s = metadata["generation"], now_s
        self._changes[metadata["uid"]] = (generation, since_s)
        return now_s - since_s >= self.acts_after_s

    def pods_of(self, deployment: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the pods of a Deployment."""
        selector = selector_text(deployment["spec"]["selector"])
        return [
            pod
            for pod in self.cluster.of_kind("Pod")
            if matches(selector, pod["metadata"]["labels"])
        ]

    def _replicate(self, deployment: dict[str, Any]) -> None:
        pods = [p for p in self.pods_of(deployment) if _counts(p)]
        wanted = replicas_of(deployment)
        missing = wanted - len(pods)
        self._tell_refusal(deployment, failed=missing > 0 and self.refused is not None)
        for _ in range(missing if self.refused is None else 0):
            self._create(deployment)
        deployment["status"] |= {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": wanted if self.refused is None else min(wanted, len(pods)),
        }
        for pod in sorted(pods, key=_removal_order)[: max(0, len(pods) - wanted)]:
            self._remove(pod)

    def _remove(self, pod: dict[str, Any]) -> None:
        self.removed.append(pod["metadata"]["name"])
        if not self.ends_after_s:
            self.cluster.delete(slot_of(pod))
            return
        pod["_ends_s"] = self.cluster.clock() + self.ends_after_s
        pod["metadata"]["deletionTimestamp"] = timestamp(pod["_ends_s"])

    def _tell_refusal(self, deployment: dict[str, Any], *, failed: bool) -> None:
        conditions = deployment.setdefault("status", {}).setdefault("conditions", [])
        told = [item for item in conditions if item["type"] == "ReplicaFailure"]
        if failed and not told:
            conditions.append(
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": self.refused,
                }
            )
        for item in [] if failed else told:
            conditions.remove(item)

    def _create(self, deployment: dict[str, Any]) -> None:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        number = next(self._numbers)
        pod = self.cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{metadata['name']}-{number:05d}",
                    "namespace": metadata["namespace"],
                    "labels": {**template["metadata"].get("labels", {})},
                    "annotations": {**template["metadata"].get("annotations", {})},
                    "ownerReferences": [{"uid": metadata["uid"], "controller": True}],
                },
                "spec": {"containers": template["spec"]["containers"]},
            }
        )
        pod["status"] = {"phase": "Pending", "conditions": []}

    def _schedule(self) -> None:
        pods = self.cluster.of_kind("Pod")
        used = sum("nodeName" in pod["spec"] for pod in pods)
        for pod in pods:
            if "nodeName" in pod["spec"]:
                continue
            if self.slots is not None and used >= self.slots:
                condition_set(
                    pod,
                    "PodScheduled",
                    "False",
                    self.cluster.clock(),
                    reason="Unschedulable",
                    message=f"0/3 nodes are available: 3 Insufficient {GPU}.",
                )
                continue
            used += 1
            pod["spec"]["nodeName"] = f"node-{used}"
            condition_set(pod, "PodScheduled", "True", self.cluster.clock())

    def _run(self, pod: dict[str, Any]) -> None:
        status = pod["status"]
        if "nodeName" not in pod["spec"]:
            return
        if status["phase"] == "Pending":
            number = int(pod["metadata"]["name"].rpartition("-")[2])
            status |= {"phase": "Running", "podIP": f"10.0.{number // 256}.{number % 256}"}
            pod["_node_s"] = self.cluster.clock()
        if self.waiting is not None:
            state = {"waiting": {"reason": self.waiting}}
            status["containerStatuses"] = [{"started": False, "state": state}]
        elif self._is_ready(pod):
            status["containerStatuses"] = [{"started": True, "state": {"running": {}}}]
            condition_set(pod, "Ready", "True", self.cluster.clock())

    def _is_ready(self, pod: dict[str, Any]) -> bool:
        after_s = self.ready_after_s
        return after_s is not None and self.cluster.clock() - pod["_node_s"] >= after_s


def _counts(pod: dict[str, Any]) -> bool:
    """Say whether a Deployment counts a pod among its replicas."""
    return pod["status"]["phase"] != "Failed" and "deletionTimestamp" not in pod["metadata"]


def _removal_order(pod: dict[str, Any]) -> tuple[bool, bool, bool, int, str]:
    """Sort as Kubernetes' ReplicaSet controller: the first go first."""
    status = pod["status"]
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
    cost = int(pod["metadata"].get("annotations", {}).get(ANNOTATION_DELETION_COST, 0))
    # The last element is against the operator: among equals the oldest, busiest pod goes first.
    return (
        "nodeName" in pod["spec"],
        status["phase"] != "Pending",
        ready,
        cost,
        pod["metadata"]["name"],
    )


def condition_set(
    pod: dict[str, Any],
    name: str,
    status: str,
    now_s: float,
    *,
    reason: str = "",
    message: str = "",
) -> None:
    """Set a condition of a pod, at a time if its status changes."""
    conditions = pod["status"]["conditions"]
    before = next((item for item in conditions if item["type"] == name), None)
    if before is not None and before["status"] == status:
        return
    if before is not None:
        conditions.remove(before)
    conditions.append(
        {
            "type": name,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": timestamp(now_s),
        }
    )
