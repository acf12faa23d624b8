"""Pods that fail or do not become ready: which, for how long, and why. Pure."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, TypeVar

from detection_operator.kube.pods.complaints import is_about_image, shortened
from detection_operator.kube.pods.events import PodEvent, Sign
from detection_operator.kube.pods.views import PodView
from detection_operator.reconcile.observe.fleet import Group, Worker
from detection_operator.scaling.estimates.pod_starts import finding_s, stalled_s
from detection_operator.scaling.pods import PodPhase
from detection_operator.scaling.rules.terms import duration

FAILED_S: Final = 900.0
"""A pod that failed longer ago says little about the next; its object may stay for days."""
REPLACED_S: Final = 60.0
"""The status of a Deployment counts its pods correctly after this time."""
OVERDUE_S: Final = 120.0
"""A pod that exists this long after its grace period has no kubelet that ends it."""
PATIENCE_S: Final = 10.0
"""After this wait for a node, events are read: an autoscaler may have said more."""
FAILING_S: Final = 120.0
"""An announcement so soon after a failed launch is a retry, which is as likely to fail."""
CRASH_LOOP_S: Final = 600.0
"""After this long without an end a kubelet restarts a container at once again: its crash loop is
over. Its pauses within one are at most half as long."""
T = TypeVar("T")


def needs_events(pods: Collection[PodView], cold_start_s: float, now_s: float) -> bool:
    """Say whether events may explain why some pod is not ready."""
    return any(
        pod.broken
        or _waited_s(pod, now_s) >= (finding_s(cold_start_s) if pod.scheduled else PATIENCE_S)
        for pod in pods
        if not pod.ready and not pod.terminating
    )


def sign_of(worker: Worker) -> PodEvent | None:
    """Return an autoscaler's last event about a worker without a node.

    A failed launch outweighs the announcement of the next one that follows it.
    """
    last = next((event for event in worker.events if event.sign is not None), None)
    if last is None or last.sign is not Sign.COMING:
        return last
    failed = (event for event in worker.events if event.sign is Sign.FAILED)
    return next((event for event in failed if last.at_s - event.at_s <= FAILING_S), last)


def with_sign(workers: Collection[Worker], sign: Sign, *, since_s: float = 0.0) -> list[Worker]:
    """Return the workers whose last event of an autoscaler has this sign, since a time."""
    return [
        worker
        for worker in workers
        if (event := sign_of(worker)) is not None and event.sign is sign and event.at_s > since_s
    ]


def said_of(worker: Worker) -> str:
    """Return the last messages of scheduler and autoscaler about a worker without a node."""
    sign = sign_of(worker)
    return "; ".join(filter(None, (worker.pod.unschedulable_why, sign.words if sign else "")))


def late(workers: Collection[Worker], cold_start_s: float, now_s: float) -> list[Worker]:
    """Return the workers that have a node and took too long to become ready, longest first."""
    found = [
        worker
        for worker in workers
        if worker.pod.scheduled
        and not worker.pod.ready
        and worker.phase is not PodPhase.DRAINING
        and _waited_s(worker.pod, now_s) >= finding_s(cold_start_s)
    ]
    return sorted(found, key=lambda worker: -_waited_s(worker.pod, now_s))


def stalled(workers: Collection[Worker], cold_start_s: float, now_s: float) -> list[Worker]:
    """Return the workers that occupy a node but have not become ready for far too long."""
    return [
        worker
        for worker in late(workers, cold_start_s, now_s)
        if worker.phase is PodPhase.STARTING
        and not worker.pod.was_ready
        and _waited_s(worker.pod, now_s)
        >= stalled_s(cold_start_s, complaint=bool(worker.pod.broken))
    ]


def without_image(workers: Collection[Worker]) -> int:
    """Count the workers whose image cannot be pulled."""
    return sum(not w.pod.ready and is_about_image(w.pod.broken) for w in workers)


def crash_looping(workers: Collection[Worker], now_s: float) -> int:
    """Count the workers of which a container ends again and again, running or not just now."""
    ends_s = [w.pod.crashed_s for w in workers if w.pod.crashed_s is not None]
    return sum(now_s - at_s < CRASH_LOOP_S for at_s in ends_s)


def words_of(worker: Worker) -> str:
    """Return the cluster's message about a worker that has a node and is not ready."""
    warning = next((event for event in worker.events if event.warning), None)
    if worker.pod.broken or warning is None:
        return worker.pod.words
    return shortened(f"{worker.pod.words}; {warning.words}")


def findings(groups: Collection[Group], cold_start_s: float, now_s: float) -> Iterator[str]:
    """Yield a sentence for each kind of problem with pods."""
    workers = [worker for item in groups for worker in item.workers]
    broken = [worker for worker in workers if worker.pod.broken and not worker.pod.ready]
    for some in _alike(broken, lambda worker: worker.pod.broken):
        yield f"{len(some)} worker pod(s) cannot start: {words_of(some[0])}"
    hanging = [w for w in late(workers, cold_start_s, now_s) if not w.pod.broken]
    for some in _alike(hanging, lambda worker: worker.pod.words.partition(":")[0]):
        since = duration(_waited_s(some[0].pod, now_s))
        yield f"{len(some)} worker pod(s) have not been ready for {since}: {words_of(some[0])}"
    failed = [pod for item in groups for pod in item.failed]
    for pods in _alike(failed, lambda pod: pod.reason):
        newest = max(pods, key=lambda pod: pod.at_s)
        yield f"{len(pods)} worker pod(s) failed in the last {duration(FAILED_S)}: {newest.words}"
    yield from _overdue(groups, now_s)


def _overdue(groups: Collection[Group], now_s: float) -> Iterator[str]:
    deadlines = [worker.pod.leave_by_s for item in groups for worker in item.leaving]
    over = [now_s - at_s for at_s in deadlines if at_s is not None and now_s - at_s >= OVERDUE_S]
    if over:
        yield (
            f"{len(over)} worker pod(s) should have terminated {duration(max(over))} ago and still"
            " exist: their node may be gone"
        )


def _waited_s(pod: PodView, now_s: float) -> float:
    return now_s - (pod.created_s if pod.unready_since_s is None else pod.unready_since_s)


def _alike(items: Sequence[T], kind: Callable[[T], str]) -> list[list[T]]:
    """Return the items grouped by kind, in the order of the kinds' names."""
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(kind(item), []).append(item)
    return [found[name] for name in sorted(found)]
