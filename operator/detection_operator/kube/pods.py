"""A worker pod as the operator sees it, from the object of the API server. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from detection_contract import environment as env
from detection_operator.kube.objects import condition, time_s
from detection_operator.kube.port import Object

FINISHED: Final = frozenset({"Succeeded", "Failed"})
BROKEN: Final = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons of waiting containers that somebody has to mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """One pod that exists and has not finished.

    Attributes:
        name: Of the pod.
        uid: Tells it from a later pod of the same name.
        ip: Its address; None before it has one.
        port: Of the control server.
        revision: Of its template; empty for pods of an adopted Deployment.
        template_hash: Names its ReplicaSet.
        created_s: When it was created.
        ready_s: Since when it is ready; None while it is not.
        scheduled: It has a node.
        scheduled_s: Since when; None while it has none, or nobody says.
        running: Its containers run, or did.
        started: A container passed its startup probe since it last started.
        unschedulable_since_s: Since when it finds no node; None otherwise.
        unschedulable_why: The scheduler's sentence.
        broken: Why one of its containers cannot start; empty otherwise.
        deletion_cost: Lower goes first.
        drain_since_s: When the operator asked it to drain; None when it did not.
        terminating: It was deleted and may still work on its last message.
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

    @property
    def ready(self) -> bool:
        """It passes its readiness probe."""
        return self.ready_s is not None


def pod_views(pods: Iterable[Object]) -> list[PodView]:
    """Return the pods that have not finished, by name."""
    alive = (pod for pod in pods if pod.get("status", {}).get("phase") not in FINISHED)
    return sorted((_view(pod) for pod in alive), key=lambda pod: pod.name)


def _view(pod: Object) -> PodView:
    metadata, status = pod["metadata"], pod.get("status", {})
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations") or {}
    ready, scheduled = condition(pod, "Ready"), condition(pod, "PodScheduled")
    stuck = _unschedulable(scheduled)
    created_s = time_s(metadata.get("creationTimestamp")) or 0.0
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        ip=status.get("podIP"),
        port=_port(pod, annotations.get(env.ANNOTATION_CONTROL_PORT)),
        revision=labels.get(env.LABEL_REVISION, ""),
        template_hash=labels.get("pod-template-hash", ""),
        created_s=created_s,
        ready_s=_true_since_s(ready),
        scheduled=bool(pod.get("spec", {}).get("nodeName")),
        running=status.get("phase") == "Running",
        started=any(item.get("started") for item in status.get("containerStatuses") or ()),
        unschedulable_since_s=_since_s(scheduled, created_s) if stuck else None,
        unschedulable_why=scheduled.get("message", "") if stuck and scheduled else "",
        broken=_broken(status),
        deletion_cost=_integer(annotations.get(env.ANNOTATION_DELETION_COST), 0),
        drain_since_s=time_s(annotations.get(env.ANNOTATION_DRAIN)),
        terminating=metadata.get("deletionTimestamp") is not None,
        scheduled_s=_true_since_s(scheduled),
    )


def _true_since_s(found: Object | None) -> float | None:
    if found is None or found["status"] != "True":
        return None
    return time_s(found.get("lastTransitionTime"))


def _unschedulable(scheduled: Object | None) -> bool:
    # SchedulingGated is somebody's decision (a quota system), not a lack of room.
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


def _broken(status: Object) -> str:
    for container in (
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ):
        reason = container.get("state", {}).get("waiting", {}).get("reason", "")
        if reason in BROKEN:
            return str(reason)
    return ""


def _integer(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        return default
