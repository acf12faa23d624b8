"""How fast messages arrive and when those that wait came, from noisy cumulative counts.

The count behind it all is arrivals so far: in the queue + finished + dead. Its slope is the rate.
Counts of SQS are approximate, so the slope is that of a line through many samples, never of two.
"""

import math
from dataclasses import dataclass
from typing import Final

MIN_SAMPLES: Final = 3
"""Fewer say nothing about a rate."""
SHAPE_POINTS: Final = 12
"""Past counts that are kept, spread over the objective's wait."""
REACH: Final = 2.0
"""The shape reaches back this many waits."""
PAST_S: Final = 60.0
PAST_WEIGHT: Final = 4.0
"""The first line starts from this many samples, this long ago, without arrivals."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A line through the samples, older ones counting less, and a few past counts.

    The sums are those of weighted least squares with the newest sample as origin, so that they
    stay small for ever and an update costs the same however long the history is.

    Attributes:
        at_s: Time of the newest sample.
        count: Arrivals so far at that time, from an arbitrary start.
        samples: Samples taken.
        w: Sum of weights.
        t: Weighted sum of times, in s before the newest sample (negative).
        y: Weighted sum of counts, relative to the newest.
        tt: Weighted sum of squared times.
        ty: Weighted sum of time x count.
        shape: ``(time, count)`` pairs, oldest first.
    """

    at_s: float
    count: float
    samples: int = 1
    w: float = 1.0
    t: float = 0.0
    y: float = 0.0
    tt: float = 0.0
    ty: float = 0.0
    shape: tuple[tuple[float, float], ...] = ()


def start(at_s: float, count: float) -> Arrivals:
    """Return the estimate after its first sample.

    It assumes that nothing arrived before: a line through two or three samples of a burst would
    otherwise promise that the burst goes on for ever. The assumption fades like any sample.
    """
    past_s = -PAST_S
    return Arrivals(
        at_s,
        count,
        w=1.0 + PAST_WEIGHT,
        t=PAST_WEIGHT * past_s,
        tt=PAST_WEIGHT * past_s * past_s,
        shape=((at_s, count),),
    )


def absorb(
    old: Arrivals,
    *,
    at_s: float,
    count: float,
    wait_s: float,
    window_s: float,
) -> Arrivals:
    """Return the estimate with one more sample.

    Args:
        old: The estimate so far.
        at_s: Time of the sample; not before ``old.at_s``.
        count: Arrivals so far.
        wait_s: Wait that the objective allows.
        window_s: Time after which a sample counts 1/e.
    """
    dt = at_s - old.at_s
    dy = count - old.count
    keep = math.exp(-dt / window_s)
    w = old.w
    t = old.t - dt * w
    y = old.y - dy * w
    tt = old.tt - dt * (old.t + t)
    ty = old.ty - dt * old.y - dy * t
    shape = old.shape
    if at_s - shape[-1][0] >= wait_s / SHAPE_POINTS:
        shape = (*(point for point in shape if point[0] > at_s - REACH * wait_s), (at_s, count))
    return Arrivals(
        at_s,
        count,
        old.samples + 1,
        keep * w + 1.0,
        keep * t,
        keep * y,
        keep * tt,
        keep * ty,
        shape,
    )


def pace_of_late_per_s(arrivals: Arrivals, window_s: float) -> float:
    """Return the mean pace over about the newest ``window_s``, or since the first sample.

    Noisier than the line, but without its assumption that nothing arrived before the first sample.
    """
    reaching = [point for point in arrivals.shape if point[0] <= arrivals.at_s - window_s]
    since_s, count = (reaching or arrivals.shape[:1] or ((arrivals.at_s, arrivals.count),))[-1]
    return max(0.0, arrivals.count - count) / max(1.0, arrivals.at_s - since_s)


def rate_per_s(arrivals: Arrivals) -> float | None:
    """Return the slope of the line, >= 0, or None while the samples are too few."""
    spread = arrivals.w * arrivals.tt - arrivals.t * arrivals.t
    if arrivals.samples < MIN_SAMPLES or spread <= 0.0:
        return None
    return max(0.0, (arrivals.w * arrivals.ty - arrivals.t * arrivals.y) / spread)
