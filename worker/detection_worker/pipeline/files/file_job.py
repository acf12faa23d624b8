"""One media file on its way through decoding and inference."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.messages.outcome import Failure
from detection_worker.detectors.base import Detector
from detection_worker.errors import Cancelled, JobError
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import Scored


@dataclass(slots=True, kw_only=True, eq=False)
class FileJob(ABC):
    """One media file on its way through decoding and inference.

    Attributes:
        request_id: Names it in results and logs.
        kind: As the name announces, then as the content says.
        decoded: After decoding; dropped as soon as it is scored, for it is large.
        detector: That scores it.
        sound: Of a video, until it is its turn to be scored.
        sound_detector: That scores the sound.
        pictures: Of a video whose sound is scored after them.
        logits: Filled by the inference stage; ``scored`` counts the filled ones.
        failure: Why it failed, once it has.
        timings_s: Seconds of each finished stage.
    """

    request_id: str
    kind: MediaKind | None
    decoded: DecodedMedia | None = None
    detector: Detector | None = None
    sound: DecodedMedia | None = None
    sound_detector: Detector | None = None
    pictures: Scored | None = None
    logits: NDArray[np.float32] | None = None
    scored: int = 0
    failure: Failure | None = None
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Nobody wants it any more."""

    def check(self) -> None:
        """Raise ``Cancelled`` if nobody wants it any more."""
        if self.cancelled:
            raise Cancelled

    def next_track(self) -> bool:
        """Put the scored pictures of a video aside for its sound; False if there is none."""
        if self.sound is None:
            return False
        self.pictures = self._scored()
        self.decoded, self.detector = self.sound, self.sound_detector
        self.sound, self.logits, self.scored = None, None, 0
        return True

    def take_scored(self) -> tuple[Scored, Scored | None]:
        """Return the scored file, for a video its pictures and its sound, and hold it no more."""
        last, pictures = self._scored(), self.pictures
        self.decoded, self.pictures = None, None
        return (last, None) if pictures is None else (pictures, last)

    def _scored(self) -> Scored:
        assert self.decoded is not None  # noqa: S101 - scored jobs are decoded
        assert self.detector is not None  # noqa: S101
        assert self.logits is not None  # noqa: S101
        return Scored(decoded=self.decoded, logits=self.logits, card=self.detector.card)


def failure_of(exc: JobError) -> Failure:
    """Return why a job failed, as a value that outlives its stage."""
    return Failure(
        code=exc.code,
        message=exc.message,
        retry_after_s=exc.retry_after_s,
        environment=exc.environment,
    )
