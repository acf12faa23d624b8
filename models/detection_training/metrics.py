"""Numbers by which a detector is judged. Pure.

Scores are P(fake), 0 to 1; an alarm is a score at or above the threshold. Functions of a ``Curve``
and of weights return one number a row of weights, so that a bootstrap is one call. A row in which
a number is not defined (a class is absent) gives NaN, never a made-up value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
ECE_BINS: Final = 15
"""As in Guo et al. 2017, section 3."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Error rates at every threshold that makes a difference.

    Attributes:
        thresholds: Distinct scores, ascending, and infinity last; shape ``(t,)``.
        false_alarms: Weight of the real items at or above each threshold, ``(rows, t)``; the
            first column is their whole weight, the last is 0.
        hits: Weight of the fake items at or above each threshold, ``(rows, t)``.
    """

    thresholds: Floats
    false_alarms: Floats
    hits: Floats

    def false_alarm_rates(self) -> Floats:
        """Return the share of real items that raise an alarm (FPR), ``(rows, t)``."""
        return _share(self.false_alarms, self.false_alarms[:, :1])

    def hit_rates(self) -> Floats:
        """Return the share of fake items that raise an alarm (TPR), ``(rows, t)``."""
        return _share(self.hits, self.hits[:, :1])


def curve(scores: Floats, is_fake: Flags, weights: Floats | None = None) -> Curve:
    """Return the errors at every threshold.

    Args:
        scores: Finite, shape ``(n,)``, ``n >= 1``.
        is_fake: Truth, shape ``(n,)``.
        weights: How often each item counts, ``(rows, n)``, >= 0; None counts each once.
    """
    if weights is None:
        weights = np.ones((1, len(scores)))
    order = np.argsort(scores, kind="stable")
    distinct, starts = np.unique(scores[order], return_index=True)
    weights, fake = weights[:, order], is_fake[order]
    return Curve(
        thresholds=np.append(distinct, np.inf),
        false_alarms=_at_or_above(weights * ~fake, starts),
        hits=_at_or_above(weights * fake, starts),
    )


def curve_auc(at: Curve) -> Floats:
    """Return the area under the ROC curve: the chance that a fake scores above a real one.

    Ties count half (Mann-Whitney; Hanley and McNeil 1982), which is the trapezoid rule.
    """
    false_alarms, hits = at.false_alarm_rates(), at.hit_rates()
    widths = false_alarms[:, :-1] - false_alarms[:, 1:]
    area: Floats = (widths * (hits[:, :-1] + hits[:, 1:]) / 2).sum(axis=1)
    return area


def curve_eer(at: Curve) -> Floats:
    """Return the equal error rate: where the ROC curve meets FPR = 1 - TPR.

    Between two thresholds the curve is a straight line, as in the ROC curve of Fawcett 2006.
    """
    false_alarms = at.false_alarm_rates()
    gap = false_alarms - (1 - at.hit_rates())
    rows = np.arange(len(gap))
    # The lowest threshold has a gap of 1 and infinity one of -1: there is always a step between.
    after = np.maximum(np.argmax(gap <= 0, axis=1), 1)
    before = after - 1
    share = _share(gap[rows, before], gap[rows, before] - gap[rows, after])
    low, high = false_alarms[rows, after], false_alarms[rows, before]
    return np.asarray(high + share * (low - high))


def curve_average_precision(at: Curve) -> Floats:
    """Return the average precision: precision at each threshold weighed by the gain in recall.

    A step function without interpolation, as scikit-learn's ``average_precision_score``. It
    depends on the share of fakes in the set.
    """
    alarms = at.hits + at.false_alarms
    precision = np.divide(at.hits, alarms, out=np.zeros_like(alarms), where=alarms > 0)
    recall = at.hit_rates()
    gain: Floats = ((recall[:, :-1] - recall[:, 1:]) * precision[:, :-1]).sum(axis=1)
    # Without a real item every alarm is right; that says nothing.
    return np.where(at.false_alarms[:, 0] > 0, gain, np.nan)


def curve_hit_rate_at(at: Curve, *, false_alarm_rate: float) -> Floats:
    """Return the highest TPR of a threshold with an FPR of at most ``false_alarm_rate``."""
    false_alarms = at.false_alarm_rates()
    first = np.argmax(false_alarms <= false_alarm_rate, axis=1)
    found: Floats = at.hit_rates()[np.arange(len(first)), first]
    return np.where(np.isnan(false_alarms[:, 0]), np.nan, found)


def alarm_rate(scores: Floats, chosen: Flags, weights: Floats, *, threshold: float) -> Floats:
    """Return the share of the chosen items with a score at or above the threshold, ``(rows,)``."""
    alarms = weights @ (chosen & (scores >= threshold)).astype(np.float64)
    return _share(alarms, weights @ chosen.astype(np.float64))


def log_loss(scores: Floats, is_fake: Flags, weights: Floats) -> Floats:
    """Return the mean negative log-likelihood, natural logarithm, ``(rows,)``.

    Scores are kept one machine epsilon from 0 and 1, as scikit-learn's ``log_loss`` does.
    """
    epsilon = float(np.finfo(np.float64).eps)
    kept = np.clip(scores, epsilon, 1 - epsilon)
    return _mean(-np.log(np.where(is_fake, kept, 1 - kept)), weights)


def brier(scores: Floats, is_fake: Flags, weights: Floats) -> Floats:
    """Return the mean squared distance of score and truth (Brier 1950), ``(rows,)``."""
    return _mean(np.square(scores - is_fake), weights)


def expected_calibration_error(
    scores: Floats, is_fake: Flags, weights: Floats, *, bins: int = ECE_BINS
) -> Floats:
    """Return the mean distance of P(fake) and the share of fakes over equal bins, ``(rows,)``.

    Bins of the score as in Guo et al. 2017, equation 3, for P(fake) instead of the confidence of
    the label. It depends on the share of fakes in the set.
    """
    which = np.minimum((scores * bins).astype(np.int64), bins - 1)
    member = (which[:, None] == np.arange(bins)).astype(np.float64)
    distance = np.abs((weights * (scores - is_fake)) @ member)
    return _share(distance.sum(axis=1), weights.sum(axis=1))


def auc(real: Floats, fake: Floats) -> float:
    """Return the chance that a fake scores above a real one; ties count half (``curve_auc``)."""
    return float(curve_auc(_curve_of(real, fake))[0])


def eer(real: Floats, fake: Floats) -> float:
    """Return the equal error rate (``curve_eer``)."""
    return float(curve_eer(_curve_of(real, fake))[0])


def calibration_error(scores: Floats, is_fake: Floats, *, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error of equally weighed items."""
    once = np.ones((1, len(scores)))
    return float(expected_calibration_error(scores, is_fake > 0.5, once, bins=bins)[0])


def summary(real: Floats, fake: Floats) -> dict[str, float]:
    """Return the metrics of calibrated scores of real and fake items, each at least one."""
    scores = np.concatenate([real, fake])
    truth = np.concatenate([np.zeros(len(real)), np.ones(len(fake))])
    false_alarms = float((real >= 0.5).mean())
    hits = float((fake >= 0.5).mean())
    return {
        "n_real": len(real),
        "n_fake": len(fake),
        "auc": round(auc(real, fake), 4),
        "eer": round(eer(real, fake), 4),
        "average_precision": round(float(curve_average_precision(_curve_of(real, fake))[0]), 4),
        "accuracy_at_0.5": round(float(((scores >= 0.5) == truth).mean()), 4),
        "balanced_accuracy_at_0.5": round((1 - false_alarms + hits) / 2, 4),
        "fpr_at_0.5": round(false_alarms, 4),
        "tpr_at_0.5": round(hits, 4),
        "ece": round(calibration_error(scores, truth), 4),
    }


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return summaries by name as a Markdown table."""
    head = ("auc", "eer", "accuracy_at_0.5", "fpr_at_0.5", "tpr_at_0.5", "n_real", "n_fake")
    lines = [
        f"| | {' | '.join(h.replace('_', ' ').replace(' at ', ' @ ') for h in head)} |",
        f"| --- |{' ---: |' * len(head)}",
    ]
    for name, row in rows.items():
        cells = [f"{row[h]:.3f}" if not h.startswith("n_") else f"{row[h]:d}" for h in head]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _curve_of(real: Floats, fake: Floats) -> Curve:
    truth = np.concatenate([np.zeros(len(real), np.bool_), np.ones(len(fake), np.bool_)])
    return curve(np.concatenate([real, fake]), truth)


def _at_or_above(weights: Floats, starts: NDArray[np.intp]) -> Floats:
    """Sums of the columns from each start on, and 0; columns are in ascending order of score."""
    each = np.add.reduceat(weights, starts, axis=1)
    above = np.cumsum(each[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([above, np.zeros((len(above), 1))], axis=1)


def _mean(values: Floats, weights: Floats) -> Floats:
    return _share(weights @ values, weights.sum(axis=1))


def _share(part: Floats, whole: Floats) -> Floats:
    shares = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=shares, where=np.broadcast_to(whole, shares.shape) != 0)
    return shares
