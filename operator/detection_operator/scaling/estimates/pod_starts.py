"""How many pods start: pods that fail or hang at start are not requested over and over.

A pod that a kubelet rejects is replaced at once, without end; one that hangs holds a node for
nothing. Where several do, only as many are requested as start, and a probe after growing pauses.
"""

from dataclasses import dataclass, replace
from typing import Final

from detection_operator.scaling.observation import Observation
from detection_operator.spec.queue_spec import Capacity

TOLERATED: Final = 3
"""Rejected pods, within ``CALM_S`` of each other, that are no storm yet: the scheduler and a
kubelet may see the same node differently for a moment."""
CALM_S: Final = 120.0
FIRST_PAUSE_S: Final = 15.0
"""A device plugin that comes up after its node needs seconds."""
FINDING_S: Final = 300.0
"""A pod that is not ready after this long is reported."""
COMPLAINT_S: Final = 300.0
"""One about which the kubelet warns counts as stalled after this long."""
SILENT_S: Final = 1800.0
"""One without a warning, after this long: images and models may be large."""


@dataclass(frozen=True, slots=True)
class PodStarts:
    """What is known of pods that do not start.

    Attributes:
        since_s: Since when pods do not start; None: as far as known they do.
        backoff_s: Length of the current pause.
        retry_at_s: When the pause ends; None while a probe runs.
        base: Pods that existed when the probe began, or when it last grew.
        proven: Those that had come as far as the probe must.
        probe: Pods that the probe adds to them.
        slow: Pods stall: only one that is ready proves that pods start.
        stalled: Pods that stalled when the probe began.
        rejected: Rejected pods in all at the last observation.
        strikes: Rejected pods within ``CALM_S`` of each other.
        struck_at_s: When the last of these was observed.
        why: The cluster's last message about them.
    """

    since_s: float | None = None
    backoff_s: float = 0.0
    retry_at_s: float | None = None
    base: int = 0
    proven: int = 0
    probe: int = 0
    slow: bool = False
    stalled: int = 0
    rejected: int = 0
    strikes: int = 0
    struck_at_s: float = 0.0
    why: str = ""

    def moved(self, by_s: float) -> "PodStarts":
        """Return the same on a clock that jumped by ``by_s``."""
        since, retry = self.since_s, self.retry_at_s
        return replace(
            self,
            since_s=None if since is None else since + by_s,
            retry_at_s=None if retry is None else retry + by_s,
            struck_at_s=self.struck_at_s + by_s,
        )


SOUND: Final = PodStarts()
"""Before the first pod."""


def finding_s(cold_start_s: float) -> float:
    """Return after how long a pod that is not ready is reported."""
    return max(FINDING_S, 2.0 * cold_start_s)


def stalled_s(cold_start_s: float, *, complaint: bool) -> float:
    """Return after how long a starting pod counts as stalled; sooner with a complaint about it."""
    if complaint:
        return max(COMPLAINT_S, 2.0 * cold_start_s)
    return max(SILENT_S, 3.0 * cold_start_s)


def learn(
    old: PodStarts, seen: Observation, *, limits: Capacity, wanted: int, now_s: float
) -> PodStarts:
    """Return what is known after another observation of the pods.

    Args:
        old: What was known.
        seen: The pods now.
        limits: The spec's patience.
        wanted: Replicas that the last decision needed.
        now_s: Time of the observation.
    """
    known = _counted(old, seen, now_s)
    news = seen.rejected > old.rejected
    if known.since_s is None:
        failed = known.strikes > TOLERATED if news else False
        slow = seen.stalled > 0
        if not failed and not slow:
            return known
        return _paused(replace(known, since_s=now_s, slow=slow), FIRST_PAUSE_S, now_s)
    if known.retry_at_s is None:
        if news or seen.stalled > known.stalled:
            longer_s = min(2.0 * known.backoff_s, float(limits.max_backoff_s))
            slow = known.slow or seen.stalled > known.stalled
            return _paused(replace(known, slow=slow), longer_s, now_s)
        # Pods that stalled before the probe are removed one after the other.
        known = replace(known, stalled=min(known.stalled, seen.stalled))
        return _probed(known, seen, limits=limits, wanted=wanted)
    healed = known.slow and known.stalled > 0 and not seen.stalled
    if now_s < known.retry_at_s and not healed:
        return replace(known, stalled=max(known.stalled, seen.stalled))
    return _probing(known, seen, limits, limits.probe_replicas)


def cap(starts: PodStarts, seen: Observation, limits: Capacity) -> int | None:
    """Return the most replicas worth requesting; None: no limit known.

    One probe of stalled pods is kept: the kubelet keeps trying, and a user can inspect it.
    """
    if starts.since_s is None:
        return None
    base = _base(seen, limits)
    return base if starts.retry_at_s is not None else max(base, starts.base + starts.probe)


def _counted(old: PodStarts, seen: Observation, now_s: float) -> PodStarts:
    why = seen.not_starting_why or old.why
    news = max(0, seen.rejected - old.rejected)
    if not news:
        return replace(old, rejected=seen.rejected, why=why)
    before = old.strikes if now_s - old.struck_at_s <= CALM_S else 0
    return replace(old, rejected=seen.rejected, strikes=before + news, struck_at_s=now_s, why=why)


def _paused(known: PodStarts, pause_s: float, now_s: float) -> PodStarts:
    return replace(known, backoff_s=pause_s, retry_at_s=now_s + pause_s, stalled=0)


def _probing(known: PodStarts, seen: Observation, limits: Capacity, probe: int) -> PodStarts:
    return replace(
        known,
        retry_at_s=None,
        base=_base(seen, limits),
        proven=_proven(known, seen),
        probe=probe,
        stalled=seen.stalled,
    )


def _probed(known: PodStarts, seen: Observation, *, limits: Capacity, wanted: int) -> PodStarts:
    """Return what a running probe has shown that did not fail."""
    proven = _proven(known, seen)
    if wanted <= proven and not seen.stalled:
        return PodStarts(rejected=known.rejected)
    if proven < known.proven + known.probe:
        return known
    grown = _probing(known, seen, limits, 2 * known.probe)
    return replace(grown, backoff_s=FIRST_PAUSE_S)


def _base(seen: Observation, limits: Capacity) -> int:
    begun = max(0, seen.starting - seen.unadmitted - seen.stalled)
    able = seen.ready + seen.draining + seen.departing
    return able + begun + min(seen.stalled, limits.probe_replicas)


def _proven(known: PodStarts, seen: Observation) -> int:
    able = seen.ready + seen.draining
    return able if known.slow else able + max(0, seen.starting - seen.unadmitted)
