"""One file after another through decoder and detectors, without stages."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.detectors.base import Detector, ScoredTrack
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, Decoder
from detection_worker.pipeline.files.analysis import (
    Analysis,
    NotApplicableResult,
    conclude_tracks,
    detector_for,
    units_of,
)
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.settings import MediaLimits


class Analyzer:
    """Decodes and scores one file at a time, in the caller's thread.

    Args:
        decoder: Decodes; the caller closes it.
        detectors: By media kind.
        limits: What one file may cost.
        max_units: Most units in one forward pass.
        video_audio: Judge the sound of videos too.
    """

    def __init__(
        self,
        decoder: Decoder,
        detectors: Mapping[MediaKind, Detector],
        limits: MediaLimits,
        *,
        max_units: int = 32,
        video_audio: bool = False,
    ) -> None:
        self._decoding = Decoding(
            decoder=decoder, detectors=detectors, limits=limits, video_audio=video_audio
        )
        self._max_units = max_units

    def analyse(
        self,
        path: Path,
        *,
        name: str,
        threshold: float,
        on_progress: Callable[[], None] = lambda: None,
    ) -> tuple[Analysis | NotApplicableResult, dict[str, float]]:
        """Return the analysis and its timings in milliseconds (``decode``, ``inference``).

        ``NotApplicableResult`` is returned, not raised, for a file outside the detector's scope.

        Args:
            path: Local file.
            name: What the user calls it, for its extension.
            threshold: In [0, 1].
            on_progress: Called while decoding gets ahead.

        Raises:
            JobError: With a media code, ``NO_MODEL`` or ``INFERENCE_FAILED``.
        """
        started = time.perf_counter()
        decoded, sound = self._decoding.decode(path, name=name, on_progress=on_progress)
        decode_done = time.perf_counter()
        main = self._scored(decoded, on_progress)
        heard = None if sound is None else self._scored(sound, on_progress)
        found = conclude_tracks(main, heard, threshold=threshold)
        return found, {
            "decode": (decode_done - started) * 1000,
            "inference": (time.perf_counter() - decode_done) * 1000,
        }

    def _scored(self, decoded: DecodedMedia, on_progress: Callable[[], None]) -> ScoredTrack:
        detector = detector_for(decoded.info.kind, self._decoding.detectors)
        decoded = units_of(detector, decoded, on_progress=on_progress)
        logits = self._score(detector, decoded)
        return ScoredTrack(decoded=decoded, logits=logits, card=detector.card)

    def _score(self, detector: Detector, decoded: DecodedMedia) -> NDArray[np.float32]:
        step = self._max_units
        parts = [
            detector.logits(decoded.units[at : at + step])
            for at in range(0, len(decoded.units), step)
        ]
        logits = np.concatenate([np.empty(0, np.float32), *parts])
        if not np.isfinite(logits).all():
            raise JobError(
                ErrorCode.INFERENCE_FAILED, "the detector gave a score that is not finite"
            )
        return logits
