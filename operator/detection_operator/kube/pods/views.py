"""What the operator needs of a worker pod, from its Kubernetes object. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from detection_contract import environment as env
from detection_operator.kube.objects import condition, time_s
from detection_operator.kube.pods import complaints
from detection_operator.kube.pods.protection import protection_of
from detection_operator.kube.port import Object

FAILED: Final = "Failed"
FINISHED: Final = frozenset({"Succeeded", FAILED})
EVER_READY_S: Final = 60.0
"""A kubelet sets Ready to False as soon as it admits a pod. A transition later than this means
that the pod was ready before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """One pod that exists and has not finished.

    Attributes:
        name: Name of the pod.
        uid: Uid; a later pod of the same name has another.
        ip: Its address; None before it has one.
        port: Port of the control server.
        revision: Revision of its pod template; empty for pods of an adopted Deployment.
        template_hash: Label that names its ReplicaSet.
        created_s: When it was created.
        ready_s: Since when it is ready; None while it is not.
        scheduled: It has a node.
        scheduled_s: When it got the node; None without one, or if the status lacks the time.
        running: Its phase is Running.
        started: A container passed its startup probe since it last started.
        unschedulable_since_s: Since when it is unschedulable; None otherwise.
        unschedulable_why: The scheduler's message.
        broken: Why one of its containers cannot start, in a word; empty otherwise.
        crashed_s: When a container of it last ended that ends again and again; None without one.
        deletion_cost: Pod deletion cost; the ReplicaSet removes lower ones first.
        drain_since_s: When the operator asked it to drain; None if it did not.
        terminating: It was deleted and may still work on its last message.
        admitted: A kubelet has admitted it.
        words: Why it is not ready, from its status.
        unready_since_s: Since when it is becoming ready; None while it is ready.
        was_ready: It was ready at some time, as far as its status shows.
        leave_by_s: End of its grace period; None unless it was deleted.
        node: Name of its node; empty without one.
        begun_s: When its last container began to run; None before.
        protection: Its annotations that concern eviction by autoscalers.
    """

    name: str
    uid: str
    ip: str | None
    port: int
    revision: str
    template_hash: str
    created_s: float
    ready_s: float | None
    scheduled: bool
    running: bool
    started: bool
    unschedulable_since_s: float | None
    unschedulable_why: str
    broken: str
    deletion_cost: int
    drain_since_s: float | None
    terminating: bool
    scheduled_s: float | None = None
    admitted: bool = True
    words: str = ""
    unready_since_s: float | None = None
    was_ready: bool = False
    leave_by_s: float | None = None
    node: str = ""
    begun_s: float | None = None
    protection: tuple[tuple[str, str], ...] = ()
    crashed_s: float | None = None

    @property
    def ready(self) -> bool:
        """It passes its readiness probe."""
        return self.ready_s is not None


def pod_views(pods: Iterable[Object]) -> list[PodView]:
    """Return the pods that have not finished, by name."""
    alive = (pod for pod in pods if pod.get("status", {}).get("phase") not in FINISHED)
    return sorted((_view(pod) for pod in alive), key=lambda pod: pod.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPod:
    """One pod that has ended without success; Kubernetes makes another in its place.

    Attributes:
        name: Name of the pod.
        uid: Uid; a later pod of the same name has another.
        revision: Revision of its pod template; empty for pods of an adopted Deployment.
        at_s: When it failed, as far as its status shows.
        reason: Why, in a word.
        words: Why, in the cluster's words.
        was_ready: It was ready before.
    """

    name: str
    uid: str
    revision: str
    at_s: float
    reason: str
    words: str
    was_ready: bool


def failed_pods(pods: Iterable[Object]) -> list[FailedPod]:
    """Return the pods that failed, by name, without deleted ones."""
    failed = (
        pod
        for pod in pods
        if pod.get("status", {}).get("phase") == FAILED
        and not pod["metadata"].get("deletionTimestamp")
    )
    return sorted((_failed(pod) for pod in failed), key=lambda pod: pod.name)


def _failed(pod: Object) -> FailedPod:
    metadata, status = pod["metadata"], pod.get("status", {})
    reason, words = complaints.failure(pod)
    created_s = time_s(metadata.get("creationTimestamp")) or 0.0
    times = [
        created_s,
        time_s(status.get("startTime")),
        *(time_s(item.get("lastTransitionTime")) for item in status.get("conditions") or ()),
    ]
    return FailedPod(
        name=metadata["name"],
        uid=metadata["uid"],
        revision=metadata.get("labels", {}).get(env.LABEL_REVISION, ""),
        at_s=max(item for item in times if item is not None),
        reason=reason,
        words=words,
        was_ready=_was_ready(pod, created_s),
    )


def _view(pod: Object) -> PodView:
    metadata, status = pod["metadata"], pod.get("status", {})
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations") or {}
    ready, scheduled = condition(pod, "Ready"), condition(pod, "PodScheduled")
    stuck = _unschedulable(scheduled)
    created_s = time_s(metadata.get("creationTimestamp")) or 0.0
    broken, words = complaints.broken(status)
    ready_s = _true_since_s(ready)
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        ip=status.get("podIP"),
        port=_port(pod, annotations.get(env.ANNOTATION_CONTROL_PORT)),
        revision=labels.get(env.LABEL_REVISION, ""),
        template_hash=labels.get("pod-template-hash", ""),
        created_s=created_s,
        ready_s=ready_s,
        scheduled=bool(pod.get("spec", {}).get("nodeName")),
        running=status.get("phase") == "Running",
        started=any(item.get("started") for item in status.get("containerStatuses") or ()),
        unschedulable_since_s=_since_s(scheduled, created_s) if stuck else None,
        unschedulable_why=scheduled.get("message", "") if stuck and scheduled else "",
        broken=broken,
        deletion_cost=_integer(annotations.get(env.ANNOTATION_DELETION_COST), 0),
        drain_since_s=time_s(annotations.get(env.ANNOTATION_DRAIN)),
        terminating=metadata.get("deletionTimestamp") is not None,
        scheduled_s=_true_since_s(scheduled),
        admitted=complaints.is_admitted(status),
        words="" if ready_s is not None else words or complaints.stage(pod),
        unready_since_s=None if ready_s is not None else _begun_s(pod, created_s),
        was_ready=ready_s is not None or _was_ready(pod, created_s),
        leave_by_s=time_s(metadata.get("deletionTimestamp")),
        begun_s=_began_s(status),
        protection=protection_of(annotations),
        crashed_s=complaints.crashed_s(status),
        node=str(pod.get("spec", {}).get("nodeName") or ""),
    )


def _began_s(status: Object) -> float | None:
    states = [item.get("state") or {} for item in status.get("containerStatuses") or ()]
    times = [time_s((state.get("running") or {}).get("startedAt")) for state in states]
    return max((at_s for at_s in times if at_s is not None), default=None)


def _begun_s(pod: Object, created_s: float) -> float:
    """Return since when a pod that is not ready is becoming ready."""
    begun_s = max(created_s, _true_since_s(condition(pod, "PodScheduled")) or created_s)
    if not _was_ready(pod, created_s):
        return begun_s
    return max(begun_s, time_s((condition(pod, "Ready") or {}).get("lastTransitionTime")) or 0.0)


def _was_ready(pod: Object, created_s: float) -> bool:
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] == "True":
        return ready is not None
    begun_s = time_s(pod.get("status", {}).get("startTime"))
    begun_s = begun_s or _true_since_s(condition(pod, "PodScheduled")) or created_s
    changed_s = time_s(ready.get("lastTransitionTime"))
    return changed_s is not None and changed_s - begun_s > EVER_READY_S


def _true_since_s(found: Object | None) -> float | None:
    if found is None or found["status"] != "True":
        return None
    return time_s(found.get("lastTransitionTime"))


def _unschedulable(scheduled: Object | None) -> bool:
    # SchedulingGated is a decision, for example of a quota system, not a lack of capacity.
    return (
        scheduled is not None
        and scheduled["status"] == "False"
        and scheduled.get("reason") == "Unschedulable"
    )


def _since_s(scheduled: Object | None, created_s: float) -> float:
    at_s = time_s(scheduled.get("lastTransitionTime")) if scheduled else None
    return created_s if at_s is None else at_s


def _port(pod: Object, annotated: str | None) -> int:
    for container in pod.get("spec", {}).get("containers", ()):
        for port in container.get("ports", ()):
            if port.get("name") == env.CONTROL_PORT_NAME:
                return _integer(annotated, int(port["containerPort"]))
    return _integer(annotated, env.CONTROL_PORT_DEFAULT)


def _integer(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        return default
