"""Decoding one file for the detectors at hand; shared by the consumer and ``predict``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import ImageSampling
from detection_worker.detectors.base import Detector
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, Decoder, DecodeRequest
from detection_worker.pipeline.files.analysis import decode_request, detector_for
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, T
from detection_worker.pipeline.files.pictures import with_previews
from detection_worker.pipeline.files.soundtrack import decode_sound
from detection_worker.settings import MediaLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How files are decoded.

    Attributes:
        decoder: Makes units of them.
        detectors: By media kind; may grow.
        limits: What one file may cost.
        video_audio: Decode the sound of videos too.
        load_others: Loads the detectors that no file needed so far.
    """

    decoder: Decoder
    detectors: Mapping[MediaKind, Detector]
    limits: MediaLimits
    video_audio: bool
    load_others: Callable[[], object] = lambda: None

    def decode(
        self,
        path: Path,
        *,
        name: str,
        on_progress: Callable[[], None] = lambda: None,
        cancelled: Callable[[], bool] = lambda: False,
        previews: bool = False,
    ) -> tuple[DecodedMedia, DecodedMedia | None]:
        """Return a file as units, and the sound of a video if that is to be scored.

        Args:
            path: Local file.
            name: What it was called, for the kind that its extension announces.
            on_progress: Called while decoding gets ahead.
            cancelled: Asked several times a second.
            previews: Make small pictures to look at too.

        Raises:
            JobError: With a media code, or ``NO_MODEL``.
            Cancelled: ``cancelled`` said so.
        """
        request = self._request(path, name, previews=previews)
        try:
            decoded = self.decoder.decode(request, on_progress=on_progress, cancelled=cancelled)
        except JobError as exc:
            if exc.code is not ErrorCode.NO_MODEL:
                raise
            # A name can announce another kind than its content is of.
            self.load_others()
            before, request = request, self._request(path, name, previews=previews)
            if request == before:
                raise
            decoded = self.decoder.decode(request, on_progress=on_progress, cancelled=cancelled)
        sound = None
        if self.video_audio:
            decoded, sound = decode_sound(
                self.decoder, request, decoded, on_progress=on_progress, cancelled=cancelled
            )
        if previews:
            decoded = with_previews(decoded, request)
            sound = sound and with_previews(sound, request)
        return decoded, sound

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
        request = decode_request(path, name=name, detectors={}, limits=self.limits)
        decoded = self.decoder.decode(
            replace(request, image=whole), on_progress=lambda: None, cancelled=lambda: False
        )
        return np.asarray(decoded.units[0][:height, :width], dtype=np.uint8)

    def decode_for(
        self,
        ticket: T,
        path: Path,
        *,
        name: str,
        on_progress: Callable[[], None],
        previews: bool = False,
    ) -> Decoded[T]:
        """Return a file with the detectors that score it; as ``decode``."""
        media, sound = self.decode(
            path,
            name=name,
            on_progress=on_progress,
            cancelled=lambda: ticket.cancelled,
            previews=previews,
        )
        return Decoded(
            ticket=ticket,
            main=self._track(media),
            sound=None if sound is None else self._track(sound),
        )

    def _request(self, path: Path, name: str, *, previews: bool) -> DecodeRequest:
        request = decode_request(path, name=name, detectors=self.detectors, limits=self.limits)
        return replace(request, preview=True) if previews else request

    def _track(self, media: DecodedMedia) -> DecodedTrack:
        return DecodedTrack(media=media, detector=detector_for(media.info.kind, self.detectors))
