"""From a local file to a verdict with its evidence; shared by the consumer and ``predict``."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind, kind_of_name
from detection_worker.core.applicability import Inapplicable, NotApplicable
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.core.verdict import Verdict, judge
from detection_worker.detectors.base import Detector, DetectorCard, FindsUnits
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, Decoder, DecodeRequest, MediaInfo
from detection_worker.pipeline.scope import quality_of, why_not
from detection_worker.settings import MediaLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A verdict and what it rests on.

    Attributes:
        verdict: Score, label, confidence.
        info: Facts about the file.
        model: ``{name, version, sha256, grade, calibrated, thresholds}``.
        segments: One entry for each frame or window, in time order.
        media: The public part of ``info``.
    """

    verdict: Verdict
    info: MediaInfo
    model: dict[str, object]
    segments: list[dict[str, object]]
    media: dict[str, object]


class Unjudged(NotApplicable):
    """The detector does not apply to a file; carries what was found out all the same.

    Attributes:
        info: As in ``Analysis``, and so are the fields below.
        model: Likewise.
        segments: Likewise, without scores.
        media: Likewise.
    """

    def __init__(self, reason: Inapplicable, decoded: DecodedMedia, card: DetectorCard) -> None:
        super().__init__(reason)
        self.info = decoded.info
        self.model = _model(card)
        self.segments = _segments(decoded, None, card)
        self.media = _media(decoded.info, card)


def decode_request(
    path: Path,
    *,
    name: str,
    detectors: Mapping[MediaKind, Detector],
    limits: MediaLimits,
) -> DecodeRequest:
    """Return how to decode ``path`` for the detectors at hand.

    Args:
        path: Local file.
        name: What it was called, for the kind that the extension announces.
        detectors: By media kind; a kind without a detector is refused by the decoder.
        limits: What the file may cost.
    """
    sampling = {kind: d.card.sampling for kind, d in detectors.items()}
    image = sampling.get(MediaKind.IMAGE)
    video = sampling.get(MediaKind.VIDEO)
    audio = sampling.get(MediaKind.AUDIO)
    return DecodeRequest(
        path=path,
        announced=kind_of_name(name),
        image=image if isinstance(image, ImageSampling) else None,
        video=video if isinstance(video, VideoSampling) else None,
        audio=audio if isinstance(audio, AudioSampling) else None,
        limits=limits,
    )


def detector_for(kind: MediaKind, detectors: Mapping[MediaKind, Detector]) -> Detector:
    """Return the detector of ``kind``.

    Raises:
        JobError: ``NO_MODEL`` if none is loaded.
    """
    try:
        return detectors[kind]
    except KeyError:
        raise JobError(ErrorCode.NO_MODEL, f"no model for {kind.value} files is loaded") from None


def conclude(
    decoded: DecodedMedia,
    logits: NDArray[np.float32],
    card: DetectorCard,
    *,
    threshold: float,
) -> Analysis:
    """Return the verdict over all units of a decoded file.

    Args:
        decoded: The file.
        logits: One for each unit.
        card: Of the detector that made them.
        threshold: In [0, 1].

    Raises:
        Unjudged: The detector is not for this file.
    """
    if (reason := why_not(decoded, card)) is not None:
        raise Unjudged(reason, decoded, card)
    verdict = judge(
        logits.tolist(),
        decoded.frame.tolist(),
        pooling=card.pooling,
        calibration=card.calibration,
        threshold=threshold,
        thresholds=card.thresholds,
    )
    return Analysis(
        verdict=verdict,
        info=decoded.info,
        model=_model(card),
        segments=_segments(decoded, verdict, card),
        media=_media(decoded.info, card),
    )


def units_of(
    detector: Detector, decoded: DecodedMedia, *, on_progress: Callable[[], None]
) -> DecodedMedia:
    """Return a decoded file with the units that the detector scores; there may be none.

    Args:
        detector: That will score them.
        decoded: As the decoder gave it.
        on_progress: Called while units are looked for; what it raises ends the search.
    """
    if isinstance(detector, FindsUnits):
        return detector.find_units(decoded, on_progress=on_progress)
    return decoded


def _model(card: DetectorCard) -> dict[str, object]:
    return {
        "name": card.name,
        "version": card.version,
        "sha256": card.sha256,
        "grade": card.grade,
        "calibrated": card.calibrated,
        "thresholds": None if card.thresholds is None else asdict(card.thresholds),
    }


def _segments(
    decoded: DecodedMedia, verdict: Verdict | None, card: DetectorCard
) -> list[dict[str, object]]:
    """One entry a frame (time, score, crop boxes, faces) or window (start, end, score)."""
    scores: dict[int, float] = {}
    if verdict is not None:
        frames = dict.fromkeys(decoded.frame.tolist())
        scores = dict(zip(frames, verdict.frame_scores, strict=True))
    segments: list[dict[str, object]] = []
    for i, at_s in enumerate(decoded.at_s.tolist()):
        segment: dict[str, object] = {"start_s": round(at_s, 3)}
        if isinstance(card.sampling, AudioSampling):
            segment["end_s"] = round(_window_end_s(card.sampling, at_s, decoded.info), 3)
        segment["score"] = round(scores[i], 6) if i in scores else None
        if decoded.faces is not None or len(decoded.boxes):
            segment["regions"] = decoded.boxes[decoded.frame == i].tolist()
            segment["region_scores"] = _region_scores(decoded, verdict, i)
            segment["faces"] = _faces(decoded, verdict, i)
        segments.append(segment)
    return segments


def _region_scores(decoded: DecodedMedia, verdict: Verdict | None, frame: int) -> list[float]:
    """P(fake) of each crop of a frame by itself, in the order of its regions."""
    if verdict is None:
        return []
    pairs = zip(verdict.unit_scores, decoded.frame.tolist(), strict=True)
    return [round(score, 6) for score, of in pairs if of == frame]


def _window_end_s(sampling: AudioSampling, at_s: float, info: MediaInfo) -> float:
    end_s = at_s + sampling.window / sampling.sample_rate_hz
    return min(end_s, max(info.duration_s or end_s, at_s))


def _faces(
    decoded: DecodedMedia, verdict: Verdict | None, frame: int
) -> list[dict[str, object]] | None:
    """The scored faces of a frame; None if the detector does not look for faces."""
    if decoded.faces is None:
        return None
    return [
        {
            "x": face.left,
            "y": face.top,
            "width": face.width,
            "height": face.height,
            "face_confidence": round(face.confidence, 4),
            "track": face.track,
            "score": None if verdict is None else round(verdict.unit_scores[unit], 6),
        }
        for unit, (face, of) in enumerate(zip(decoded.faces, decoded.frame, strict=True))
        if of == frame
    ]


def _media(info: MediaInfo, card: DetectorCard) -> dict[str, object]:
    return {
        "container": info.container,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "duration_s": None if info.duration_s is None else round(info.duration_s, 3),
        "frames_analysed": info.frames_analysed,
        "sample_rate_hz": info.sample_rate_hz,
        "size_bytes": info.size_bytes,
        "sha256": info.sha256,
        "truncated": info.truncated,
        "warnings": list(info.warnings),
        "quality": list(quality_of(info, card.sampling)),
    }


class Analyzer:
    """Decodes and scores one file at a time, for ``predict`` and the Python API.

    Args:
        decoder: Decodes; the caller closes it.
        detectors: By media kind.
        limits: What one file may cost.
        max_units: Most units in one forward pass.
    """

    def __init__(
        self,
        decoder: Decoder,
        detectors: Mapping[MediaKind, Detector],
        limits: MediaLimits,
        *,
        max_units: int = 32,
    ) -> None:
        self._decoder = decoder
        self._detectors = detectors
        self._limits = limits
        self._max_units = max_units

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
        decode_done = time.perf_counter()
        detector = detector_for(decoded.info.kind, self._detectors)
        decoded = units_of(detector, decoded, on_progress=on_progress)
        logits = self._score(detector, decoded)
        found: Analysis | Unjudged
        try:
            found = conclude(decoded, logits, detector.card, threshold=threshold)
        except Unjudged as exc:
            found = exc
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
