"""From the logits of units to one calibrated score, a label, and how far to rely on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """How the logits of units become one.

    Attributes:
        within_frame: Crops of one frame: their ``mean`` or ``max``.
        over_frames: Frames or windows: their ``mean``, or the mean of the highest ``top_share``.
        top_share: Share of frames that ``topk_mean`` averages, (0, 1]; at least one frame.
    """

    within_frame: Literal["mean", "max"] = "mean"
    over_frames: Literal["mean", "topk_mean"] = "mean"
    top_share: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Platt scaling: P(fake) = sigmoid(a·logit + b) (Platt 1999)."""

    a: float = 1.0
    b: float = 0.0


Finding = Literal["fake", "real", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Scores between which a detector cannot tell; ``0 <= low <= fake <= high <= 1``.

    Attributes:
        fake: Where the detector's makers separate fake from real.
        low: Scores above this are inconclusive.
        high: Scores below this are inconclusive.
    """

    fake: float = 0.5
    low: float = 0.5
    high: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one job.

    Attributes:
        score: Calibrated P(fake), 0 to 1.
        raw_score: P(fake) as the network has it, before calibration, 0 to 1.
        label: FAKE when ``score >= threshold``.
        confidence: Probability of the stated label, 0 to 1.
        margin: See ``margin``.
        finding: See ``find``.
        between: Scores from the first up to the second are inconclusive.
        unit_scores: Calibrated P(fake) of each unit by itself.
        frame_scores: Calibrated P(fake) of each frame or window, in time order.
    """

    score: float
    raw_score: float
    label: Literal["FAKE", "REAL"]
    confidence: float
    margin: float
    finding: Finding
    between: tuple[float, float]
    unit_scores: tuple[float, ...]
    frame_scores: tuple[float, ...]


def sigmoid(x: float) -> float:
    """Return 1/(1+e^-x) without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def margin(score: float, threshold: float) -> float:
    """Return how far a score lies from the threshold, of the way that there is: 0 to 1.

    0 is at the threshold, 1 is as far as a score can be on that side. A threshold of 1 leaves no
    way above it: there the margin is 0.

    Args:
        score: In [0, 1].
        threshold: In [0, 1].
    """
    if score < threshold:
        return (threshold - score) / threshold
    return (score - threshold) / (1.0 - threshold) if threshold < 1.0 else 0.0


def band(threshold: float, thresholds: Thresholds | None) -> tuple[float, float]:
    """Return from where up to where a score is inconclusive; both ends alike if nowhere.

    A threshold outside of the detector's own band widens it: a caller who asks for 0.9 does not
    hold 0.8 to be fake, and a detector that is sure from 0.7 does not hold it to be real.

    Args:
        threshold: What the caller asked for, in [0, 1].
        thresholds: The detector's own; None if it was never measured where it cannot tell.
    """
    if thresholds is None:
        return threshold, threshold
    return min(thresholds.low, threshold), max(thresholds.high, threshold)


def find(score: float, *, threshold: float, thresholds: Thresholds | None = None) -> Finding:
    """Return ``fake`` or ``real`` where label and detector agree, else ``inconclusive``.

    Args:
        score: In [0, 1].
        threshold: In [0, 1].
        thresholds: As for ``band``.
    """
    low, high = band(threshold, thresholds)
    if score >= high:
        return "fake"
    # The lower end belongs to the band only where the label there is FAKE.
    return "real" if score <= low and score < threshold else "inconclusive"


def judge(
    logits: Sequence[float],
    frame: Sequence[int],
    *,
    pooling: Pooling,
    calibration: Calibration,
    threshold: float,
    thresholds: Thresholds | None = None,
) -> Verdict:
    """Return the verdict over all units of one media object.

    Args:
        logits: One for each unit, finite.
        frame: Frame or window of each unit, ascending from 0; same length.
        pooling: From units to one logit.
        calibration: From a logit to P(fake).
        threshold: In [0, 1].
        thresholds: The detector's own, if it has any.

    Raises:
        ValueError: If there are no units, the lengths differ or a logit is not finite.
    """
    if not logits or len(logits) != len(frame):
        raise ValueError(f"{len(logits)} logits for {len(frame)} units")
    if not all(math.isfinite(x) for x in logits):
        raise ValueError("a logit is not finite")
    per_frame = _pool_frames(logits, frame, pooling.within_frame)
    pooled = _pool_media(per_frame, pooling)
    score = _calibrated(pooled, calibration)
    fake = score >= threshold
    return Verdict(
        score=score,
        raw_score=sigmoid(pooled),
        label="FAKE" if fake else "REAL",
        confidence=score if fake else 1.0 - score,
        margin=margin(score, threshold),
        finding=find(score, threshold=threshold, thresholds=thresholds),
        between=band(threshold, thresholds),
        unit_scores=tuple(_calibrated(x, calibration) for x in logits),
        frame_scores=tuple(_calibrated(x, calibration) for x in per_frame),
    )


def _pool_frames(
    logits: Sequence[float], frame: Sequence[int], how: Literal["mean", "max"]
) -> list[float]:
    groups: dict[int, list[float]] = {}
    for x, f in zip(logits, frame, strict=True):
        groups.setdefault(f, []).append(x)
    if how == "max":
        return [max(g) for g in groups.values()]
    return [math.fsum(g) / len(g) for g in groups.values()]


def _pool_media(per_frame: Sequence[float], pooling: Pooling) -> float:
    chosen = sorted(per_frame, reverse=True)
    if pooling.over_frames == "topk_mean":
        chosen = chosen[: max(1, round(len(chosen) * pooling.top_share))]
    return math.fsum(chosen) / len(chosen)


def _calibrated(logit: float, calibration: Calibration) -> float:
    return sigmoid(calibration.a * logit + calibration.b)
