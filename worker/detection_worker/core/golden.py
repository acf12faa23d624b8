"""Whether scores in another precision are the same for every purpose."""

from collections.abc import Sequence
from dataclasses import dataclass

from detection_worker.core.verdict import Calibration, Pooling, Thresholds, judge

MAX_DELTA = 0.01
"""Largest difference of a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """What another precision makes of a golden set.

    Attributes:
        files: How many were scored.
        delta: Largest difference of a score.
        flips: Files with another label or verdict.
    """

    files: int
    delta: float
    flips: int

    @property
    def holds(self) -> bool:
        """The scores can take the place of the exact ones."""
        return self.files > 0 and self.delta <= MAX_DELTA and self.flips == 0


def compare_scores(
    exact: Sequence[float],
    other: Sequence[float],
    *,
    pooling: Pooling,
    calibration: Calibration,
    thresholds: Thresholds | None = None,
    threshold: float = 0.5,
) -> ScoreChange:
    """Compare the scores of files of one unit each.

    Args:
        exact: Logit of each file in full precision.
        other: The same in another precision; one that is not finite changes everything.
        pooling: The model's.
        calibration: The model's.
        thresholds: The model's.
        threshold: From which score on a file is fake.

    Raises:
        ValueError: There are not as many of the one as of the other.
    """
    delta, flips = 0.0, 0
    for a, b in zip(exact, other, strict=True):
        # A sum is finite only if both are.
        if not -1e30 < a + b < 1e30:
            return ScoreChange(files=len(exact), delta=1.0, flips=len(exact))
        was, now = (
            judge(
                [logit],
                [0],
                pooling=pooling,
                calibration=calibration,
                threshold=threshold,
                thresholds=thresholds,
            )
            for logit in (a, b)
        )
        delta = max(delta, abs(was.score - now.score))
        flips += (was.label, was.finding) != (now.label, now.finding)
    return ScoreChange(files=len(exact), delta=delta, flips=flips)
