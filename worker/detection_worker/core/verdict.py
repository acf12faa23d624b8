"""From the logits of units to one calibrated score, a label and its confidence."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one job.

    Attributes:
        score: Calibrated P(fake), 0 to 1.
        label: FAKE when ``score >= threshold``.
        confidence: Probability of the stated label, 0 to 1.
        frame_scores: Calibrated P(fake) of each frame or window, in time order.
    """

    score: float
    label: Literal["FAKE", "REAL"]
    confidence: float
    frame_scores: tuple[float, ...]


def sigmoid(x: float) -> float:
    """Return 1/(1+e^-x) without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def judge(
    logits: Sequence[float],
    frame: Sequence[int],
    *,
    pooling: Pooling,
    calibration: Calibration,
    threshold: float,
) -> Verdict:
    """Return the verdict over all units of one media object.

    Args:
        logits: One for each unit, finite.
        frame: Frame or window of each unit, ascending from 0; same length.
        pooling: From units to one logit.
        calibration: From a logit to P(fake).
        threshold: In [0, 1].

    Raises:
        ValueError: If there are no units, the lengths differ or a logit is not finite.
    """
    if not logits or len(logits) != len(frame):
        raise ValueError(f"{len(logits)} logits for {len(frame)} units")
    if not all(math.isfinite(x) for x in logits):
        raise ValueError("a logit is not finite")
    per_frame = _pool_frames(logits, frame, pooling.within_frame)
    score = _calibrated(_pool_media(per_frame, pooling), calibration)
    fake = score >= threshold
    return Verdict(
        score=score,
        label="FAKE" if fake else "REAL",
        confidence=score if fake else 1.0 - score,
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
