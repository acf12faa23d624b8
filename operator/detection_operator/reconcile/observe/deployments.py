"""The Deployments of a DetectionQueue: those that the operator made, and the adopted one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from detection_contract.environment import LABEL_REVISION
from detection_operator.kube.manifests.deployment import worker_selector
from detection_operator.kube.objects import is_owned_by, key_of
from detection_operator.kube.pods.views import FailedPod, PodView, failed_pods, pod_views
from detection_operator.kube.port import Cluster, Object
from detection_operator.kube.selectors import selector_text
from detection_operator.reconcile.observe.desired import DesiredSpec

Pods = tuple[Object, list[PodView]]
"""A Deployment with its pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The Deployments of a DetectionQueue.

    Attributes:
        pods: Each Deployment with its pods.
        current: Name of the one of the present spec, which may not be there.
        selector: Label selector of the pods, for the scale subresource.
        problems: What is wrong with them, a sentence each.
        failed: Pods of each Deployment that failed, by its name.
    """

    pods: list[Pods]
    current: str
    selector: str
    problems: tuple[str, ...]
    failed: dict[str, list[FailedPod]] = field(default_factory=dict)


def deployments_of(cluster: Cluster, queue: Object, desired: DesiredSpec) -> Found:
    """Return the operator's own Deployments and the adopted one.

    Own ones outlive a spec that refers to another: their workers finish and are removed as in a
    roll-out.

    Raises:
        ClusterError: The API server did not answer.
    """
    own, failed, foreign = _own(cluster, queue)
    adopts = desired.adopts
    found = Found(
        pods=own,
        current=_name(desired.manifest) if desired.manifest is not None else adopts or "",
        selector=worker_selector(queue),
        problems=_problems([name for name in foreign if name != adopts]),
        failed=failed,
    )
    # A spec may refer to a Deployment that the operator made.
    is_own = any(_name(item) == found.current for item, _ in own)
    return found if adopts is None or is_own else _with_adopted(cluster, queue, found)


def _with_adopted(cluster: Cluster, queue: Object, own: Found) -> Found:
    namespace = queue["metadata"]["namespace"]
    adopted = cluster.deployment(namespace, own.current)
    if adopted is None:
        return replace(
            own,
            selector=own.selector if own.pods else "",
            problems=(*own.problems, f"Deployment {own.current} does not exist"),
        )
    selector = selector_text(adopted["spec"]["selector"])
    taken = {pod.uid for _, pods in own.pods for pod in pods}
    everything = cluster.pods(namespace, selector)
    pods = [pod for pod in pod_views(everything) if pod.uid not in taken]
    known = {pod.uid for pods in own.failed.values() for pod in pods}
    failed = [pod for pod in failed_pods(everything) if pod.uid not in known]
    return replace(
        own,
        pods=[(adopted, pods), *own.pods],
        selector=selector,
        failed={**own.failed, _name(adopted): failed},
    )


def _own(
    cluster: Cluster, queue: Object
) -> tuple[list[Pods], dict[str, list[FailedPod]], list[str]]:
    """Return the operator's own Deployments with their pods, those that failed, and foreign.

    Failed pods are listed by the name of their Deployment; of foreign there are only names.
    """
    found = cluster.deployments(key_of(queue))
    ours = sorted((d for d in found if is_owned_by(d, queue)), key=_name)
    foreign = sorted(_name(item) for item in found if item not in ours)
    if not ours:
        return [], {}, foreign
    everything = cluster.pods(queue["metadata"]["namespace"], worker_selector(queue))
    pods, failed = pod_views(everything), failed_pods(everything)
    return (
        [(item, [pod for pod in pods if _is_of(pod, item)]) for item in ours],
        {_name(item): [pod for pod in failed if _is_of(pod, item)] for item in ours},
        foreign,
    )


def _problems(foreign: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"Deployment {name} carries this DetectionQueue's label but is not owned by it"
        for name in foreign
    )


def _name(deployment: Object) -> str:
    return str(deployment["metadata"]["name"])


def _is_of(pod: PodView | FailedPod, item: Object) -> bool:
    revision = item["metadata"].get("labels", {}).get(LABEL_REVISION, "")
    return bool(pod.revision == revision)
