"""What is known of pods that do not start, and how many are asked for meanwhile."""

import itertools

from detection_operator.scaling.estimates import pod_starts as starts
from detection_operator.scaling.estimates.pod_starts import SOUND, PodStarts
from detection_operator.scaling.observation import Observation
from detection_operator.spec.queue_spec import Capacity

LIMITS = Capacity(unschedulable_s=180, probe_replicas=1, max_backoff_s=1800)


def pods(
    *, ready: int = 0, starting: int = 0, unadmitted: int = 0, stalled: int = 0, rejected: int = 0
) -> Observation:
    return Observation(
        sampled_at_s=0.0,
        replicas=ready + starting,
        ready=ready,
        starting=starting,
        unadmitted=unadmitted,
        stalled=stalled,
        rejected=rejected,
        not_starting_why="OutOfcpu" if rejected else "",
    )


def look(known: PodStarts, seen: Observation, now_s: float, wanted: int = 20) -> PodStarts:
    return starts.learn(known, seen, limits=LIMITS, wanted=wanted, now_s=now_s)


def storm(seconds: int) -> tuple[int, list[float]]:
    """Let every pod be rejected within a second; return how many were, and when probes began."""
    known, rejected, probes = SOUND, 0, []
    replicas = 20
    for now_s in range(seconds):
        seen = pods(starting=replicas, unadmitted=replicas, rejected=rejected)
        before, known = known, look(known, seen, float(now_s))
        if before.retry_at_s is not None and known.retry_at_s is None:
            probes.append(float(now_s))
        most = starts.cap(known, seen, LIMITS)
        replicas = 20 if most is None else min(20, most)
        rejected += replicas
    return rejected, probes


def test_a_storm_of_rejected_pods_is_bounded_by_growing_pauses() -> None:
    rejected, probes = storm(6 * 3600)

    assert rejected <= 20 + 2 * len(probes)
    assert [round(b - a) for a, b in itertools.pairwise(probes)][:5] == [
        31, 61, 121, 241, 481,
    ]  # fmt: skip
    assert len(probes) <= 20


def test_a_few_rejected_pods_are_no_storm() -> None:
    known = look(SOUND, pods(ready=4, starting=4, rejected=3), 10.0)

    assert starts.cap(known, pods(ready=4, starting=4), LIMITS) is None
    later = look(known, pods(ready=4, starting=4, rejected=6), 200.0)
    assert starts.cap(later, pods(ready=4, starting=4), LIMITS) is None
    often = look(later, pods(ready=4, starting=4, rejected=7), 210.0)
    assert starts.cap(often, pods(ready=4, starting=4), LIMITS) == 8


def test_pods_that_a_kubelet_took_in_stay_in_a_storm() -> None:
    seen = pods(ready=3, starting=9, unadmitted=5, rejected=8)

    assert starts.cap(look(SOUND, seen, 1.0), seen, LIMITS) == 7


def test_a_probe_that_is_taken_in_doubles_until_all_are_there() -> None:
    known = look(SOUND, pods(starting=20, unadmitted=20, rejected=20), 0.0)
    known = look(known, pods(rejected=20), 15.0)
    caps = []
    for now_s in range(16, 30):
        most = starts.cap(known, pods(rejected=20), LIMITS)
        if most is None:
            break
        caps.append(most)
        known = look(known, pods(starting=min(20, most), rejected=20), float(now_s))

    assert caps == [1, 3, 7, 15, 31]
    assert known == PodStarts(rejected=20)


def test_of_pods_that_stall_one_is_kept() -> None:
    seen = pods(ready=2, starting=6, stalled=6)
    known = look(SOUND, seen, 0.0)

    assert starts.cap(known, seen, LIMITS) == 3
    one = pods(ready=2, starting=1, stalled=1)
    probing = look(known, one, 20.0)
    assert starts.cap(probing, one, LIMITS) == 4
    # Taken in is not enough: the others were that too.
    assert look(probing, pods(ready=2, starting=2, stalled=1), 30.0) == probing
    again = look(probing, pods(ready=2, starting=2, stalled=2), 400.0)
    assert (again.backoff_s, starts.cap(again, seen, LIMITS)) == (30.0, 3)


def test_pods_that_stalled_before_a_probe_and_go_late_hide_no_new_one() -> None:
    known = look(SOUND, pods(starting=6, stalled=6), 0.0)
    probing = look(known, pods(starting=6, stalled=6), 20.0)
    known = look(probing, pods(starting=2, stalled=1), 30.0)

    assert look(known, pods(starting=2, stalled=2), 400.0).retry_at_s == 430.0


def test_a_kept_pod_that_gets_ready_ends_the_pause() -> None:
    known = look(SOUND, pods(starting=6, stalled=6), 0.0)
    known = look(known, pods(starting=1, stalled=1), 1.0)

    healed = look(known, pods(ready=1), 2.0)

    assert healed.retry_at_s is None
    assert starts.cap(healed, pods(ready=1), LIMITS) == 2
    assert look(healed, pods(ready=2), 3.0, wanted=2) == PodStarts()


def test_patience_with_a_pod_grows_with_the_cold_start_and_without_a_warning() -> None:
    assert [starts.finding_s(cold_s) for cold_s in (60.0, 200.0)] == [300.0, 400.0]
    assert [starts.stalled_s(c, complaint=True) for c in (60.0, 200.0)] == [300.0, 400.0]
    assert [starts.stalled_s(c, complaint=False) for c in (60.0, 900.0)] == [1800.0, 2700.0]
