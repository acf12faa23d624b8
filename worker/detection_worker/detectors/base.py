"""What the pipeline knows of a detector."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.applicability import ANYTHING, Scope
from detection_worker.core.sampling import Sampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.media.values import DecodedMedia

Grade = Literal["demo", "experimental", "published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCard:
    """Who a detector is and how its logits become a score.

    Attributes:
        name: Folder name of the model.
        version: Of the weights.
        sha256: Of the weights file, lower-case hex.
        grade: How much its scores may be trusted; ``demo`` means: shows that the machinery works.
        kind: Media kind that it scores.
        sampling: Units that it wants.
        pooling: From units to one logit.
        calibration: From that logit to P(fake).
        calibrated: Somebody fitted that on labelled files.
        thresholds: Between which scores it cannot tell; None if nobody measured it.
        scope: What it can judge.
    """

    name: str
    version: str
    sha256: str
    grade: Grade
    kind: MediaKind
    sampling: Sampling
    pooling: Pooling
    calibration: Calibration
    calibrated: bool = False
    thresholds: Thresholds | None = None
    scope: Scope = ANYTHING


class Detector(Protocol):
    """Scores units. Not thread-safe: one thread owns the device."""

    @property
    def card(self) -> DetectorCard:
        """Who this detector is."""
        ...

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one logit of "fake" for each unit, shape ``(n,)``, float32, uncalibrated.

        Args:
            units: As in ``DecodedMedia.units``, ``n >= 1``.
        """
        ...


@runtime_checkable
class FindsUnits(Protocol):
    """A detector that is handed whole frames and finds in them what it scores."""

    def find_units(self, media: DecodedMedia, *, on_progress: Callable[[], None]) -> DecodedMedia:
        """Return the same media with the units that ``logits`` takes; there may be none.

        Args:
            media: Its units are whole frames.
            on_progress: Called whenever the search got ahead; what it raises ends the search.
        """
        ...
