"""Metrics with bootstrap intervals over groups, and the reason where there is no number. Pure.

Files of one speaker, photograph or video are alike, so they are drawn together: the interval tells
how the number would vary over other speakers, not over more files of the same ones.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from detection_training import metrics
from detection_training.metrics import Curve, Flags, Floats

DRAWS: Final = 1000
"""Enough for the ends of a 95 % interval (Efron and Tibshirani 1993, section 13.3)."""
SEED: Final = 20_240
LEVEL: Final = 0.95
LEAST_GROUPS: Final = 5
"""Groups of each class that a number needs for an interval. Fewer have so few different draws
that an interval from them looks far surer than it is."""
LEAST_DRAWS: Final = 0.9
"""Share of draws in which a number must be defined for an interval to be given."""
ROUNDING: Final = 1e-9
"""Draws that differ by less are one number: sums of many weights differ in their last bits."""
CHUNK_VALUES: Final = 2_000_000
"""Weights held at once, 16 MB."""
NEEDED_REAL: Final = {"tpr_at_fpr_1pct": 100, "tpr_at_fpr_0.1pct": 1000}
"""One false alarm among fewer real items is already more than the rate asked for."""
RATES: Final = {"false_alarm_rate": False, "detection_rate": True}
"""Metrics that are a share of one class's items, and whether that class is the fakes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number, or why there is none.

    Attributes:
        value: None if it is not defined for the items at hand.
        low: Lower end of the 95 % interval; None if there is no interval.
        high: Upper end.
        reason: Why the value, or else the interval, is missing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, float | str | None]:
        """Return the fields by name, rounded to six decimals."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        rounded = {k: None if v is None else round(v, 6) for k, v in numbers.items()}
        return {**rounded, "reason": self.reason}


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Scored items of one kind.

    Attributes:
        scores: P(fake), shape ``(n,)``; items whose score is not finite must be left out before.
        is_fake: Truth, shape ``(n,)``.
        groups: What is drawn together, one name an item.
    """

    scores: Floats
    is_fake: Flags
    groups: Sequence[str]

    def __post_init__(self) -> None:
        """Check the shapes and the scores.

        Raises:
            ValueError: The lengths differ, or a score is not in [0, 1].
        """
        if not len(self.scores) == len(self.is_fake) == len(self.groups):
            raise ValueError(f"{len(self.scores)} scores, {len(self.groups)} groups")
        if not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise ValueError("a score is not in [0, 1]")

    @cached_property
    def group_numbers(self) -> NDArray[np.int64]:
        """Number of each item's group, 0 to groups - 1."""
        if not self.groups:
            return np.zeros(0, np.int64)
        return np.unique(np.array(self.groups), return_inverse=True)[1].astype(np.int64)

    def count_groups(self, chosen: Flags) -> int:
        """Return how many groups have a chosen item."""
        return len(np.unique(self.group_numbers[chosen]))

    def of(self, chosen: Flags) -> "Sample":
        """Return the chosen items."""
        groups = [g for g, keep in zip(self.groups, chosen, strict=True) if keep]
        return Sample(scores=self.scores[chosen], is_fake=self.is_fake[chosen], groups=groups)


Metric = Callable[[Sample, Curve, Floats], Floats]


def measures(
    sample: Sample,
    *,
    only: Collection[str] = (),
    threshold: float = 0.5,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Measure]:
    """Return metrics with their intervals (the 2.5th to the 97.5th percentile of the draws).

    Keys: ``auc``, ``eer``, ``average_precision``, ``balanced_accuracy``, ``false_alarm_rate``,
    ``detection_rate`` (both at the threshold), ``tpr_at_fpr_1pct``, ``tpr_at_fpr_0.1pct``,
    ``ece``, ``log_loss``, ``brier``. Definitions are in ``metrics``.

    Args:
        sample: Any number of items, also none.
        only: Keys wanted; none means all.
        threshold: P(fake) from which on an item counts as FAKE, 0 to 1.
        draws: Bootstrap draws; 0 gives no intervals.
        seed: Seed of the bootstrap.
    """
    named = {n: metric for n, metric in _metrics(threshold).items() if not only or n in only}
    missing = {name: _why_not(name, sample) for name in named}
    wanted = {name: m for name, m in named.items() if missing[name] is None}
    values = _evaluate(sample, wanted, np.ones((1, len(sample.scores)))) if wanted else {}
    drawn = _bootstrap(sample, wanted, draws=draws, seed=seed)
    found = {name: Measure(value=None, reason=missing[name]) for name in named}
    for name in wanted:
        chosen = sample.is_fake == RATES[name] if name in RATES else None
        found[name] = _measure(
            float(values[name][0]),
            drawn.get(name),
            groups=_groups(sample, chosen),
            rate=name in RATES,
        )
    return found


def share(
    alarms: Flags, groups: Sequence[str], *, draws: int = DRAWS, seed: int = SEED
) -> Measure:
    """Return the share of alarms with its interval.

    Where all items agree every draw agrees too, so the interval is Wilson's (1927) with the
    number of groups for the number of trials: 0 of 12 speakers still means up to 24 %.

    Args:
        alarms: One an item.
        groups: What is drawn together, one name an item.
        draws: Bootstrap draws.
        seed: Seed of the bootstrap.
    """
    if not len(alarms):
        return Measure(value=None, reason="no files")
    sample = Sample(scores=alarms.astype(np.float64), is_fake=alarms, groups=groups)
    everything = np.ones(len(alarms), np.bool_)
    named: dict[str, Metric] = {"share": lambda s, _, w: w @ s.scores / w.sum(axis=1)}
    drawn = _bootstrap(sample, named, draws=draws, seed=seed)
    count = sample.count_groups(everything)
    return _measure(float(alarms.mean()), drawn.get("share"), groups=count, rate=True)


def wilson(value: float, trials: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % score interval of a share (Wilson 1927).

    A share that is no whole number of trials gets the hull of the intervals of both neighbours.

    Args:
        value: The share, 0 to 1.
        trials: Number of trials, at least 1.
    """
    successes = value * trials
    low, high = (
        binomtest(round(count), trials).proportion_ci(LEVEL, method="wilson")
        for count in (math.floor(successes + ROUNDING), math.ceil(successes - ROUNDING))
    )
    return float(low.low), float(high.high)


def bootstrap_weights(numbers: NDArray[np.int64], *, draws: int, seed: int) -> Iterator[Floats]:
    """Yield how often each item was drawn, in parts of shape ``(rows, n)``, ``draws`` rows in all.

    As many groups as there are, with replacement (cluster bootstrap; Davison and Hinkley 1997,
    section 3.8).
    """
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK_VALUES // max(len(numbers), count))
    for done in range(0, draws, step):
        size = min(step, draws - done)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=size)
        yield drawn[:, numbers].astype(np.float64)


def _metrics(threshold: float) -> dict[str, Metric]:
    def rate(sample: Sample, weights: Floats, *, fake: bool) -> Floats:
        chosen = sample.is_fake if fake else ~sample.is_fake
        return metrics.alarm_rate(sample.scores, chosen, weights, threshold=threshold)

    def balanced(sample: Sample, _: Curve, weights: Floats) -> Floats:
        return (rate(sample, weights, fake=True) + 1 - rate(sample, weights, fake=False)) / 2

    hit_rate = metrics.curve_hit_rate_at
    ece = metrics.expected_calibration_error
    return {
        "auc": lambda _s, c, _w: metrics.curve_auc(c),
        "eer": lambda _s, c, _w: metrics.curve_eer(c),
        "average_precision": lambda _s, c, _w: metrics.curve_average_precision(c),
        "balanced_accuracy": balanced,
        "false_alarm_rate": lambda s, _c, w: rate(s, w, fake=False),
        "detection_rate": lambda s, _c, w: rate(s, w, fake=True),
        "tpr_at_fpr_1pct": lambda _s, c, _w: hit_rate(c, false_alarm_rate=0.01),
        "tpr_at_fpr_0.1pct": lambda _s, c, _w: hit_rate(c, false_alarm_rate=0.001),
        "ece": lambda s, _c, w: ece(s.scores, s.is_fake, w),
        "log_loss": lambda s, _c, w: metrics.log_loss(s.scores, s.is_fake, w),
        "brier": lambda s, _c, w: metrics.brier(s.scores, s.is_fake, w),
    }


def _why_not(name: str, sample: Sample) -> str | None:
    real, fake = int((~sample.is_fake).sum()), int(sample.is_fake.sum())
    needs_real, needs_fake = name != "detection_rate", name != "false_alarm_rate"
    if needs_real and not real:
        return "no real files"
    if needs_fake and not fake:
        return "no fake files"
    least = NEEDED_REAL.get(name, 1)
    if real < least and needs_real:
        return f"needs {least} real files, has {real}"
    return None


def _evaluate(sample: Sample, named: dict[str, Metric], weights: Floats) -> dict[str, Floats]:
    at = metrics.curve(sample.scores, sample.is_fake, weights)
    return {name: metric(sample, at, weights) for name, metric in named.items()}


def _bootstrap(
    sample: Sample, named: dict[str, Metric], *, draws: int, seed: int
) -> dict[str, Floats]:
    if not named or not draws:
        return {}
    parts = [
        _evaluate(sample, named, weights)
        for weights in bootstrap_weights(sample.group_numbers, draws=draws, seed=seed)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in named}


def _groups(sample: Sample, chosen: Flags | None) -> int:
    """Groups that a number rests on: of the chosen items, or of the class that has fewer."""
    if chosen is not None:
        return sample.count_groups(chosen)
    classes = (sample.is_fake, ~sample.is_fake)
    return min(sample.count_groups(flags) for flags in classes)


def _measure(value: float, drawn: Floats | None, *, groups: int, rate: bool) -> Measure:
    if drawn is None:
        return Measure(value=value, reason="no draws asked for")
    defined = drawn[np.isfinite(drawn)]
    if groups < LEAST_GROUPS or len(defined) < LEAST_DRAWS * len(drawn):
        count = f"{groups} groups" if groups > 1 else "one group"
        return Measure(value=value, reason=f"no interval from {count}")
    if float(np.ptp(defined)) <= ROUNDING:
        if not rate:
            return Measure(value=value, reason="no interval: every draw gives the same number")
        low, high = wilson(value, groups)
    else:
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Measure(value=value, low=low, high=high)
