"""A decoder and a detector that cost nothing: a whole worker then runs in a tenth of a second."""

import hashlib
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, DecodeRequest, MediaInfo

BROKEN = b"broken"
"""Content that does not decode."""


class StubDecoder:
    """One picture a file, filled with the file's first byte."""

    def decode(
        self,
        request: DecodeRequest,
        *,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> DecodedMedia:
        """Return two crops of it; see ``Decoder.decode``."""
        del cancelled
        on_progress()
        content = request.path.read_bytes()
        if content == BROKEN:
            raise JobError(ErrorCode.UNDECODABLE, "the stub does not decode this")
        return DecodedMedia(
            info=MediaInfo(
                kind=MediaKind.IMAGE,
                container="png",
                codec=None,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                width=8,
                height=8,
                duration_s=None,
                frames_analysed=1,
                sample_rate_hz=None,
                truncated=False,
                warnings=(),
            ),
            units=np.full((2, 8, 8, 3), content[0], dtype=np.uint8),
            frame=np.zeros(2, dtype=np.int32),
            at_s=np.zeros(1),
            boxes=np.zeros((2, 4), dtype=np.int32),
        )

    def warm(self) -> None:
        """Have nothing to start."""

    def close(self) -> None:
        """Have nothing to stop."""


class StubDetector:
    """The logit is the first pixel less 5."""

    card = DetectorCard(
        name="stub",
        version="1.0.0",
        sha256="f" * 64,
        grade="demo",
        kind=MediaKind.IMAGE,
        sampling=ImageSampling(),
        pooling=Pooling(),
        calibration=Calibration(),
    )

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one logit a crop."""
        return units.reshape(len(units), -1)[:, 0].astype(np.float32) - 5


class HangingDetector(StubDetector):
    """A detector whose forward pass ends when it is told to, or after two minutes.

    Attributes:
        entered: Set once a pass is under way.
        go_on: Ends it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Wait, then score as the stub does."""
        self.entered.set()
        self.go_on.wait(120)
        return super().logits(units)
