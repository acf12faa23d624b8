"""Scores as a reader sees them: on which side of the doubtful zone, in which words."""

from dataclasses import dataclass
from typing import Literal

from detection_worker.core.verdict import Thresholds, band, find
from detection_worker.report.envelope import Object, child, share

Level = Literal["fake", "doubt", "real", "none"]
"""What a score means; also the name of its colour."""
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The thresholds of one model for one result, in [0, 1].

    Attributes:
        threshold: From where the label is FAKE.
        low: From here the model cannot tell.
        high: From here it can again.
    """

    threshold: float
    low: float
    high: float

    @property
    def doubtful(self) -> bool:
        """There are scores between which the model cannot tell."""
        return self.low < self.high

    def level(self, score: float | None) -> Level:
        """Return what a score means on this scale."""
        if score is None:
            return "none"
        own = Thresholds(fake=self.threshold, low=self.low, high=self.high)
        found = find(score, threshold=self.threshold, thresholds=own)
        return "doubt" if found == "inconclusive" else found


def scale_of(threshold: float | None, model: Object) -> Scale:
    """Return the scale of a result.

    Args:
        threshold: P(fake) from which the label is FAKE; None in results that have none.
        model: The model as a result names it.
    """
    fake = DEFAULT_THRESHOLD if threshold is None else threshold
    own = child(model, "thresholds")
    low, high = share(own, "low"), share(own, "high")
    known = None if low is None or high is None else Thresholds(fake=fake, low=low, high=high)
    low, high = band(fake, known)
    return Scale(threshold=fake, low=low, high=high)


def percent(score: float | None) -> str:
    """Return a score in percent, never rounded to a certainty that it is not."""
    if score is None:
        return "none"
    shown = f"{100 * score:.1f}"
    if shown == "100.0" and score < 1:
        return "over 99.9 %"
    if shown == "0.0" and score > 0:
        return "under 0.1 %"
    return f"{shown} %"


def clock(seconds: float) -> str:
    """Return a time as ``2.5 s``, ``1:02`` or with hours ``1:01:02``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
