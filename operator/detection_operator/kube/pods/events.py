"""Kubernetes events about pods, from autoscalers and kubelets. Pure.

Both APIs of events are read: the older one has ``lastTimestamp`` and ``source``, the newer one
``eventTime``, ``series`` and ``reportingComponent``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from detection_operator.kube.objects import time_s
from detection_operator.kube.pods.complaints import shortened
from detection_operator.kube.port import Object

SELECTOR: Final = ",".join(
    (
        "involvedObject.kind=Pod",
        *(
            f"reason!={reason}"
            for reason in ("Scheduled", "Pulling", "Pulled", "Created", "Started", "Killing")
        ),
    )
)
"""Field selector without the events of a normal start, which are nine in ten."""
PULLED: Final = "involvedObject.kind=Pod,reason=Pulled"
"""Field selector of the events with which a kubelet reports an image that is there."""
_TOOK: Final = re.compile(r" in (\S+?)(?: \((\S+) including waiting\))?[.\s]*(?:Image size|$)")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
COMING: Final = frozenset({"TriggeredScaleUp", "Nominated"})
"""Reasons of the Cluster Autoscaler and of Karpenter: a node is being launched for the pod."""
FAILED: Final = "FailedScaleUp"
"""From the Cluster Autoscaler of GKE: a node could not be launched for the pod."""
CLAIMS: Final = "involvedObject.kind=NodeClaim,type=Warning"
"""Field selector of Karpenter's events about nodes that it cannot launch."""
CLAIMS_NAMESPACE: Final = "default"
"""Namespace of events about objects without a namespace."""
_CLAIM: Final = re.compile(r"nodeclaim/(\S+)-[a-z0-9]+")
"""A NodeClaim in a message of ``Nominated``; its name is that of its NodePool and a suffix."""
NOT_COMING: Final = "NotTriggerScaleUp"
FAILED_SCHEDULING: Final = "FailedScheduling"
"""From a scheduler: no existing node fits. From Karpenter and other provisioners, whose names do
not contain ``scheduler``: no node that they can launch fits."""
SCHEDULER: Final = "scheduler"


class Sign(StrEnum):
    """What an autoscaler reports about an unschedulable pod."""

    COMING = "Coming"
    FAILED = "Failed"
    HOPELESS = "Hopeless"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEvent:
    """One event about a pod.

    Attributes:
        uid: Uid of the pod.
        at_s: When it last happened.
        reason: One word.
        message: The sentence.
        warning: Its type is ``Warning``.
        by: The component that reported it.
        about_claim: It is about a NodeClaim of the pool that should launch a node for the pod.
    """

    uid: str
    at_s: float
    reason: str
    message: str
    warning: bool
    by: str
    about_claim: bool = False

    @property
    def sign(self) -> Sign | None:
        """What it says about a node for the pod; None: nothing."""
        if self.reason in COMING:
            return Sign.COMING
        if self.reason == FAILED or self.about_claim:
            return Sign.FAILED
        provisioner = self.reason == FAILED_SCHEDULING and SCHEDULER not in self.by
        return Sign.HOPELESS if self.reason == NOT_COMING or (self.by and provisioner) else None

    @property
    def words(self) -> str:
        """Reason and message in one line."""
        return shortened(f"{self.reason}: {self.message}" if self.message else self.reason)


def by_pod(events: Iterable[Object]) -> dict[str, tuple[PodEvent, ...]]:
    """Return the events of each pod, by its uid, the newest first."""
    found: dict[str, list[PodEvent]] = {}
    for item in events:
        event = _event(item)
        if event.uid:
            found.setdefault(event.uid, []).append(event)
    return {uid: tuple(sorted(some, key=lambda event: -event.at_s)) for uid, some in found.items()}


def with_claims(
    pods: Mapping[str, tuple[PodEvent, ...]], claims: Iterable[Object]
) -> dict[str, tuple[PodEvent, ...]]:
    """Return the events of pods together with those about NodeClaims of their NodePools.

    Karpenter nominates a new NodeClaim as soon as one has failed, so that the pod's own events
    never tell of a failure.
    """
    failures: dict[str, list[PodEvent]] = {}
    for item in claims:
        name = str((item.get("involvedObject") or {}).get("name") or "")
        pool = name.rpartition("-")[0]
        failures.setdefault(pool, []).append(replace(_event(item), about_claim=True))
    found: dict[str, tuple[PodEvent, ...]] = {}
    for uid, events in pods.items():
        pools = {match[1] for event in events if (match := _CLAIM.search(event.message))}
        told = [event for pool in pools for event in failures.get(pool, ())]
        found[uid] = tuple(sorted((*events, *told), key=lambda event: -event.at_s))
    return found


def pull_s(events: Iterable[PodEvent]) -> float | None:
    """Return how long the pulls of a pod's images took, in seconds; None if no event says so.

    A kubelet says "Successfully pulled image … in 12.3s (15.1s including waiting)", older ones
    without the wait for other pulls, or that the image was already present.
    """
    pulls = [event.message for event in events if event.reason == "Pulled"]
    times = [_took_s(message) for message in pulls]
    return sum(filter(None, times)) if times and None not in times else None


def _took_s(message: str) -> float | None:
    if "already present" in message:
        return 0.0
    found = _TOOK.search(message)
    parts = _PART.findall(found[2] or found[1]) if found else []
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None


def _event(item: Object) -> PodEvent:
    source, series = item.get("source") or {}, item.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        item.get("lastTimestamp"),
        item.get("eventTime"),
        item["metadata"].get("creationTimestamp"),
    )
    known = [at_s for at_s in map(time_s, times) if at_s is not None]
    return PodEvent(
        uid=str((item.get("involvedObject") or {}).get("uid") or ""),
        at_s=max(known, default=0.0),
        reason=str(item.get("reason") or ""),
        message=shortened(item.get("message")),
        warning=item.get("type") == "Warning",
        by=str(item.get("reportingComponent") or source.get("component") or ""),
    )
