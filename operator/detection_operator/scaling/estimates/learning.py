"""Updates every estimator with one more observation. No replicas here."""

import math
from typing import Final

from detection_operator.scaling.estimates import arrivals, dead_letters, recent_load
from detection_operator.scaling.estimates import cluster_capacity as capacity
from detection_operator.scaling.estimates import idle_time as idle
from detection_operator.scaling.estimates import pod_starts as starts
from detection_operator.scaling.estimates import profile as daily
from detection_operator.scaling.estimates import queue_age as waiting
from detection_operator.scaling.estimates import service_time as service
from detection_operator.scaling.estimates.state import (
    MAX_GAP_S,
    Attainment,
    EstimatorState,
    Failures,
)
from detection_operator.scaling.observation import Observation
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Forecast

STALE_POLLS: Final = 3
"""A reading older than this many intervals counts as none, but never before ``STALE_S``."""
STALE_S: Final = 60.0
ARRIVALS_WINDOW_S: Final = 60.0
"""A sample this old counts 1/e: a dozen polls, enough to average the noise of the counts. Slow
starters get a window of one cold start: a burst that is over before they are ready buys none."""
ATTEMPTS_MEMORY: Final = 100.0
"""Attempts that count for the share of failures."""
MIN_FAILED: Final = 10.0
"""Fewer failed attempts are no poison storm."""
HOPELESS: Final = 0.9
"""Share of messages that die from which on they buy fewer replicas; at 1 they buy none."""
MINUTE_S: Final = 60.0
DAY_S: Final = 86_400
ATTAINMENT_HOURS: Final = 24
CLEAR_FACTOR: Final = 10
"""A count this many times ``activation.minMessages`` is no noise: one reading is enough."""


def is_fresh(spec: QueueSpec, seen: Observation, now_s: float) -> bool:
    """Say whether the counts are usable: read without error and recently."""
    if seen.error is not None or seen.sampled_at_s is None:
        return False
    return now_s - seen.sampled_at_s <= max(STALE_S, STALE_POLLS * spec.queue.poll_interval_s)


def cold_start_s(spec: QueueSpec, seen: Observation) -> float:
    """Return the measured cold start in s, else the spec's."""
    measured_s = seen.cold_start_s
    return float(spec.service_time.cold_start_s) if measured_s is None else measured_s


def poison_share(failures: Failures) -> float:
    """Return the share of the messages that is not demand, because it cannot succeed.

    Failures alone prove nothing (an endpoint may be down); messages that reach the dead-letter
    queue meanwhile do. As long as a good part succeeds all count, since the good ones wait behind
    the others and cannot be told apart before the first attempt.
    """
    if failures.failed < MIN_FAILED or failures.dead < 1.0:
        return 0.0
    hopeless = failures.dead / (failures.dead + failures.served)
    return max(0.0, (hopeless - HOPELESS) / (1.0 - HOPELESS))


def absorb_failures(old: Failures, *, failed: int, served: int, dead: int) -> Failures:
    """Return the recent attempts after another observation of the totals."""
    totals = (failed, served, dead)
    if totals == old.seen:
        return old
    failed = max(0, failed - old.seen[0])
    finished = max(0, served - old.seen[1])
    dead = max(0, dead - old.seen[2]) if old.seen[2] >= 0 else 0
    fade = math.exp(-(failed + finished) / ATTEMPTS_MEMORY)
    return Failures(
        failed=old.failed * fade + failed,
        served=old.served * fade + finished,
        dead=old.dead * fade + dead,
        seen=totals,
    )


def absorb_attainment(old: Attainment, seen: Observation, now_s: float) -> Attainment:
    """Return the messages in time and late by hour, the last 24 hours of them."""
    totals = (seen.received, seen.received_late)
    if totals == old.seen:
        return old
    received, late = _received_since(old, seen)
    hour = int(now_s // 3600)
    kept = tuple(item for item in old.hours if hour - ATTAINMENT_HOURS < item[0] <= hour)
    if kept and kept[-1][0] == hour:
        received += kept[-1][1]
        late += kept[-1][2]
        kept = kept[:-1]
    return Attainment(hours=(*kept, (hour, received, late)), seen=totals)


def _received_since(old: Attainment, seen: Observation) -> tuple[int, int]:
    """Return the new first receives and the late ones of them."""
    totals = (seen.received, seen.received_late)
    # Totals that fell come from a process that restarted: all of them are new.
    before = old.seen if totals[0] >= old.seen[0] and totals[1] >= old.seen[1] else (0, 0)
    return totals[0] - before[0], totals[1] - before[1]


def learn(
    spec: QueueSpec,
    seen: Observation,
    old: EstimatorState,
    *,
    wanted: int,
    now_s: float,
    fresh: bool,
) -> EstimatorState:
    """Return ``old`` updated with ``seen``; ``wanted`` is what the last plan needed."""
    known = old.service or service.from_priors(spec.service_time.priors)
    times = service.absorb(known, seen.served)
    letters, died = dead_letters.absorb(old.dead_letters, seen.dead_letter, now_s)
    dead = old.dead + died
    failures = absorb_failures(old.failures, failed=seen.failed, served=times.messages, dead=dead)
    empty = fresh and is_empty(seen)
    idle_since_s, gaps = _idle(old, seen, now_s, empty=empty, fresh=fresh)
    day = int(now_s // DAY_S)
    dt = 0.0 if old.now_s is None else min(now_s - old.now_s, MAX_GAP_S)
    replica_s = (old.replica_s if day == old.day else 0.0) + dt * seen.paid
    learned_s = old.sampled_at_s
    line, load = old.arrivals, old.recent_load
    confirmed, depth_since_s = old.confirmed, old.depth_since_s
    wait, profile = old.queue_age, old.profile
    if fresh and seen.sampled_at_s is not None and seen.sampled_at_s != learned_s:
        learned_s = seen.sampled_at_s
        count = float(seen.visible + seen.in_flight + seen.delayed + times.messages + dead)
        line = _arrivals(spec, seen, line, count=count)
        load = recent_load.absorb(
            load,
            at_s=learned_s,
            count=count,
            wait_s=float(spec.slo.queue_wait_s),
            late=1.0 - spec.slo.objective_percent / 100,
        )
        profile = _profile(spec, profile, line)
        confirmed = _confirmed(spec, seen, confirmed)
        depth_since_s = (depth_since_s or learned_s) if seen.visible > 0 else None
        wait = waiting.absorb(
            old.queue_age,
            seen,
            at_s=learned_s,
            dt=max(0.0, learned_s - (old.sampled_at_s or learned_s)),
            lane_s=times.mix.mean_s / spec.service_time.messages_in_parallel,
        )
    room = capacity.learn(old.capacity, seen, limits=spec.capacity, wanted=wanted, now_s=now_s)
    stuck = bool(seen.refused_why) or capacity.is_waiting_in_vain(room, seen)
    return EstimatorState(
        now_s=now_s,
        sampled_at_s=learned_s,
        arrivals=line,
        profile=profile,
        recent_load=load,
        dead=dead,
        dead_letters=letters,
        service=times,
        failures=failures,
        attainment=absorb_attainment(old.attainment, seen, now_s),
        confirmed=confirmed,
        depth_since_s=depth_since_s,
        queue_age=wait,
        idle_since_s=idle_since_s,
        packed_since_s=_first(old.packed_since_s, now_s) if is_packed(seen) else None,
        gaps=gaps,
        down=_minute(old.down, now_s, seen.replicas, highest=True),
        up=_minute(old.up, now_s, seen.replicas, highest=False),
        capacity=room,
        stuck_since_s=_first(old.stuck_since_s, now_s) if stuck else None,
        pod_starts=starts.learn(
            old.pod_starts, seen, limits=spec.capacity, wanted=wanted, now_s=now_s
        ),
        day=day,
        replica_s=replica_s,
        unread_since_s=None if fresh else _first(old.unread_since_s, seen.sampled_at_s, now_s),
    )


def is_empty(seen: Observation) -> bool:
    """Say whether there is nothing at all to do: no message anywhere and every worker idle."""
    return not (seen.visible or seen.in_flight or seen.delayed or seen.working or seen.silent)


def is_packed(seen: Observation) -> bool:
    """Say whether each worker that takes messages holds some, as far as is known."""
    return seen.busy > 0 and seen.busy + seen.silent >= seen.replicas - seen.draining


def _first(*times_s: float | None) -> float | None:
    return next((time_s for time_s in times_s if time_s is not None), None)


def _idle(
    old: EstimatorState, seen: Observation, now_s: float, *, empty: bool, fresh: bool
) -> tuple[float | None, tuple[float, ...]]:
    since_s = old.idle_since_s
    if empty:
        return (now_s if since_s is None else since_s), old.gaps
    if not fresh or since_s is None:
        return since_s, old.gaps
    # Only a message that waits or was received ends an idle time: phantoms in flight do not.
    if not (seen.visible or seen.working):
        return since_s, old.gaps
    return None, idle.noted(old.gaps, now_s - since_s)


def _arrivals(
    spec: QueueSpec, seen: Observation, line: arrivals.Arrivals | None, *, count: float
) -> arrivals.Arrivals:
    at_s = seen.sampled_at_s or 0.0
    if line is None or at_s < line.at_s:
        return arrivals.start(at_s, count)
    return arrivals.absorb(
        line,
        at_s=at_s,
        count=count,
        wait_s=float(spec.slo.queue_wait_s),
        window_s=max(ARRIVALS_WINDOW_S, cold_start_s(spec, seen)),
    )


def _profile(spec: QueueSpec, old: daily.Profile, line: arrivals.Arrivals) -> daily.Profile:
    if spec.scaling.forecast is Forecast.OFF:
        return daily.UNKNOWN
    return daily.absorb(old, at_s=line.at_s, count=line.count, continuous=line.samples > 1)


def _confirmed(spec: QueueSpec, seen: Observation, before: int) -> int:
    """Count readings in a row with enough messages.

    In-flight ones do not count: real ones become visible when their time is up, phantoms never do.
    """
    need = spec.scaling.activation
    if seen.visible < need.min_messages:
        return 0
    if seen.visible >= CLEAR_FACTOR * need.min_messages:
        return need.confirm_samples
    return min(before + 1, need.confirm_samples)


def _minute(
    window: tuple[float, int] | None, now_s: float, replicas: int, *, highest: bool
) -> tuple[float, int]:
    if window is None or now_s - window[0] >= MINUTE_S:
        return (now_s, replicas)
    best = max(window[1], replicas) if highest else min(window[1], replicas)
    return window if best == window[1] else (window[0], best)
