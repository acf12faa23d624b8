"""One file after another through decoder and detectors, without a queue."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import ImageSampling
from detection_worker.detectors.base import Detector
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, Decoder
from detection_worker.pipeline.analysis import (
    Analysis,
    Scored,
    Unjudged,
    conclude_tracks,
    decode_request,
    detector_for,
    units_of,
)
from detection_worker.pipeline.soundtrack import decode_sound
from detection_worker.settings import MediaLimits


class Analyzer:
    """Decodes and scores one file at a time, for ``predict`` and the Python API.

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
        self._decoder = decoder
        self._detectors = detectors
        self._limits = limits
        self._max_units = max_units
        self._video_audio = video_audio

    def analyse(
        self,
        path: Path,
        *,
        name: str,
        threshold: float,
        on_progress: Callable[[], None] = lambda: None,
    ) -> tuple[Analysis | Unjudged, dict[str, float]]:
        """Return the analysis and its timings in milliseconds (``decode``, ``inference``).

        A file that the detector is not for comes back as ``Unjudged``; it is not raised.

        Args:
            path: Local file.
            name: What the user calls it, for its extension.
            threshold: In [0, 1].
            on_progress: Called while decoding gets ahead.

        Raises:
            JobError: With a media code, ``NO_MODEL`` or ``INFERENCE_FAILED``.
        """
        started = time.perf_counter()
        request = decode_request(path, name=name, detectors=self._detectors, limits=self._limits)
        decoded = self._decoder.decode(request, on_progress=on_progress, cancelled=lambda: False)
        sound: DecodedMedia | None = None
        if self._video_audio:
            decoded, sound = decode_sound(
                self._decoder,
                request,
                decoded,
                on_progress=on_progress,
                cancelled=lambda: False,
            )
        decode_done = time.perf_counter()
        main = self._scored(decoded, on_progress)
        heard = None if sound is None else self._scored(sound, on_progress)
        found = conclude_tracks(main, heard, threshold=threshold)
        return found, {
            "decode": (decode_done - started) * 1000,
            "inference": (time.perf_counter() - decode_done) * 1000,
        }

    def picture(self, path: Path, *, name: str, size_px: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a still image whole, RGB, upright, shape ``(height, width, 3)``.

        It comes out of the same jail as its crops.

        Args:
            path: Local file.
            name: What the user calls it.
            size_px: Width and height, as an analysis told.

        Raises:
            JobError: With a media code.
        """
        width, height = size_px
        whole = ImageSampling(crop_px=max(size_px), max_crops=1)
        request = decode_request(path, name=name, detectors={}, limits=self._limits)
        decoded = self._decoder.decode(
            replace(request, image=whole), on_progress=lambda: None, cancelled=lambda: False
        )
        return np.asarray(decoded.units[0][:height, :width], dtype=np.uint8)

    def _scored(self, decoded: DecodedMedia, on_progress: Callable[[], None]) -> Scored:
        detector = detector_for(decoded.info.kind, self._detectors)
        decoded = units_of(detector, decoded, on_progress=on_progress)
        logits = self._score(detector, decoded)
        return Scored(decoded=decoded, logits=logits, card=detector.card)

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
