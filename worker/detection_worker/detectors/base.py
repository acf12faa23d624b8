"""What the pipeline knows about a detector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.applicability import ANYTHING, Scope
from detection_worker.core.sampling import AudioSampling, Sampling
from detection_worker.core.verdict import Calibration, Pooling, Thresholds
from detection_worker.media.values import DecodedMedia

Grade = Literal["demo", "experimental", "published"]
Precision = Literal["float32", "float16", "bfloat16"]
Units = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCard:
    """Identity of a detector, and how its logits become a score.

    Attributes:
        name: Folder name of the model.
        version: Version of the weights, numbers separated by dots.
        sha256: Digest of the weights file, lower-case hex.
        grade: How far its scores can be trusted; ``demo`` only shows that the pipeline works.
        kind: Media kind that it scores.
        sampling: Units that it takes.
        pooling: From units to one logit.
        calibration: From that logit to P(fake).
        calibrated: The calibration was fitted on labelled files.
        thresholds: Scores between which the verdict is inconclusive; None if not measured.
        scope: Media that it can judge.
        finder_sha256: Digest of the weights that find its units, the face finder's; None if none
            do.
        precision: What its network computes with.
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
    finder_sha256: str | None = None
    precision: Precision = "float32"

    @property
    def listens(self) -> bool:
        """It judges speech only, so the sound has to be searched for some."""
        return self.scope.speech and isinstance(self.sampling, AudioSampling)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredTrack:
    """Units and what a detector made of them.

    Attributes:
        decoded: With the units that the detector scored; from a cache they have no pixels.
        logits: One for each unit, shape ``(n,)``.
        card: The detector's.
        speech: Whether anybody speaks in it; None if it was not listened to. Scores from a cache
            come without the sound, so there it is the only answer.
    """

    decoded: DecodedMedia
    logits: NDArray[np.float32]
    card: DetectorCard
    speech: bool | None = None


class Detector(Protocol):
    """Scores units. Not thread-safe: one thread owns the device."""

    @property
    def card(self) -> DetectorCard:
        """Identity of this detector."""
        ...

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one logit of "fake" for each unit, shape ``(n,)``, float32, uncalibrated.

        Args:
            units: As in ``DecodedMedia.units``, ``n >= 1``.

        Raises:
            DeviceLost: The device answers no more; see there.
        """
        ...


class DeviceLost(Exception):  # noqa: N818 - a state, not a mistake
    """The device failed for good in this process, such as a GPU after an illegal access.

    Nothing that was under way is to blame, and only a new process can use the device.
    """


class PendingLogits(Protocol):
    """A forward pass under way."""

    def result(self) -> NDArray[np.float32]:
        """Wait for it; return the logits as ``Detector.logits`` does, or raise why it failed."""
        ...


class GatheredUnits(Protocol):
    """Units of one batch, on their way to the device."""

    def submit(self) -> PendingLogits:
        """Start the forward pass without waiting for it; to be called once."""
        ...


class DevicePasses(Protocol):
    """Forward passes that run while the next ones are prepared: what ``logits`` does, in parts.

    ``gather``, ``submit`` and ``result`` each belong to one thread, which may be three different
    ones. Whatever was gathered must be submitted, and whatever was submitted be waited for: both
    hold a buffer that the next one waits for.
    """

    @property
    def batch_units(self) -> int:
        """Most units of one pass at present, >= 1; fewer after the device ran out of memory."""
        ...

    @property
    def at_once(self) -> int:
        """Passes that may be gathered or under way at once, >= 1."""
        ...

    def gather(self, parts: Sequence[Units]) -> GatheredUnits:
        """Copy units into one of the device's buffers.

        Args:
            parts: Units as ``logits`` takes them, at most ``batch_units`` together.
        """
        ...


def passes_of(detector: Detector) -> DevicePasses | None:
    """Return a detector's asynchronous form, its ``passes``.

    None if it only has ``logits``, or says so: where a pass leaves the caller nothing to do
    meanwhile, on a CPU.
    """
    # ``isinstance`` with a protocol takes 20 µs, on the thread that feeds the device.
    return getattr(detector, "passes", None)


@runtime_checkable
class FindsUnits(Protocol):
    """A detector that takes whole frames and finds the units to score in them."""

    def find_units(self, media: DecodedMedia, *, on_progress: Callable[[], None]) -> DecodedMedia:
        """Return the same media with the units that ``logits`` takes; there may be none.

        Args:
            media: Its units are whole frames.
            on_progress: Called as the search advances; an exception from it ends the search.
        """
        ...


def finds_units(detector: Detector) -> TypeGuard[FindsUnits]:
    """Return whether a detector finds its own units."""
    return hasattr(detector, "find_units")  # as in ``passes_of``
