"""From a local file to a verdict with its evidence; shared by the consumer and ``predict``."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind, kind_of_name
from detection_worker.core.applicability import Inapplicable, NotApplicable
from detection_worker.core.fusion import Track, fuse
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling, covered_s
from detection_worker.core.verdict import Pooling, Verdict, judge
from detection_worker.detectors.base import Detector, DetectorCard, ScoredTrack, finds_units
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, DecodeRequest, MediaInfo
from detection_worker.pipeline.files.applicability import not_applicable_reason, quality_of
from detection_worker.pipeline.files.segments import segments_of
from detection_worker.pipeline.files.soundtrack import counts
from detection_worker.settings import MediaLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackAnalysis:
    """What is found in one track of a video, by itself.

    Attributes:
        track: Pictures or sound.
        found: Its own verdict, or why it has none.
        counts: It has a say in the verdict over the video.
    """

    track: Track
    found: "Analysis | NotApplicableResult"
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A verdict and what it rests on.

    Attributes:
        verdict: Score, label, confidence.
        info: Facts about the file.
        model: ``{name, version, sha256, grade, calibrated, thresholds}``.
        segments: One entry for each frame or window, in time order.
        media: The public part of ``info``.
        tracks: Pictures and sound of a video; empty for other files.
        decided_by: The track of a video that the verdict comes from.
    """

    verdict: Verdict
    info: MediaInfo
    model: dict[str, object]
    segments: list[dict[str, object]]
    media: dict[str, object]
    tracks: tuple[TrackAnalysis, ...] = ()
    decided_by: Track = "video"


class NotApplicableResult(NotApplicable):
    """The detector does not apply to a file; carries what is known of the file.

    Attributes:
        info: As in ``Analysis``.
        model: As in ``Analysis``.
        segments: As in ``Analysis``, without scores.
        media: As in ``Analysis``.
        tracks: As in ``Analysis``.
    """

    def __init__(
        self,
        reason: Inapplicable,
        decoded: DecodedMedia,
        card: DetectorCard,
        *,
        tracks: tuple[TrackAnalysis, ...] = (),
    ) -> None:
        super().__init__(reason)
        self.info = decoded.info
        self.model = _model(card)
        self.segments = segments_of(decoded, None, card)
        self.media = _media(decoded, card)
        self.tracks = tracks


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
    # A copy: another thread may load one more meanwhile.
    sampling = {kind: d.card.sampling for kind, d in dict(detectors).items()}
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
    speech: bool | None = None,
) -> Analysis:
    """Return the verdict over all units of a decoded file.

    Args:
        decoded: The file.
        logits: One for each unit.
        card: The card of the detector that made them.
        threshold: In [0, 1].
        speech: As in ``ScoredTrack``.

    Raises:
        NotApplicableResult: The file is outside the detector's scope.
    """
    if (reason := not_applicable_reason(decoded, card, speech=speech)) is not None:
        raise NotApplicableResult(reason, decoded, card)
    verdict = judge(
        logits.tolist(),
        decoded.frame.tolist(),
        pooling=_pooling(decoded.info.kind, card),
        calibration=card.calibration,
        threshold=threshold,
        thresholds=card.thresholds,
    )
    return Analysis(
        verdict=verdict,
        info=decoded.info,
        model=_model(card),
        segments=segments_of(decoded, verdict, card),
        media=_media(decoded, card),
    )


def _pooling(kind: MediaKind, card: DetectorCard) -> Pooling:
    """Units of one window of sound are its channels, and one forged voice counts."""
    return replace(card.pooling, within_frame="max") if kind is MediaKind.AUDIO else card.pooling


def conclude_tracks(
    main: ScoredTrack, sound: ScoredTrack | None, *, threshold: float
) -> Analysis | NotApplicableResult:
    """Return what is found in a file, for a video in its pictures and its sound.

    ``NotApplicableResult`` is returned, not raised, for a file outside its detector's scope. The
    sound of a video is judged by its own detector's scope: music without speech says nothing of
    the video.

    Args:
        main: The file, for a video its pictures.
        sound: The sound of a video, if it is scored.
        threshold: In [0, 1].
    """
    found = _found(main, threshold)
    if main.decoded.info.kind is not MediaKind.VIDEO:
        return found
    judged = isinstance(found, Analysis)
    pictures = TrackAnalysis(track="video", found=found, counts=judged)
    if sound is None:
        return _with_tracks(main, found, (pictures,))
    heard = _heard(sound, threshold)
    verdict = _fused(pictures, heard)
    return _with_tracks(main, found, (pictures, heard), fused=verdict)


def _found(scored: ScoredTrack, threshold: float) -> Analysis | NotApplicableResult:
    try:
        return conclude(
            scored.decoded,
            scored.logits,
            scored.card,
            threshold=threshold,
            speech=scored.speech,
        )
    except NotApplicableResult as exc:
        return exc


def _heard(sound: ScoredTrack, threshold: float) -> TrackAnalysis:
    found = _found(sound, threshold)
    has_a_say = isinstance(found, Analysis) and counts(sound.card, found.verdict)
    return TrackAnalysis(track="audio", found=found, counts=has_a_say)


def _fused(pictures: TrackAnalysis, sound: TrackAnalysis) -> tuple[Verdict, Track] | None:
    if isinstance(sound.found, NotApplicableResult) or not sound.counts:
        return None
    seen = None if isinstance(pictures.found, NotApplicableResult) else pictures.found.verdict
    return fuse(seen, sound.found.verdict)


def _with_tracks(
    main: ScoredTrack,
    found: Analysis | NotApplicableResult,
    tracks: tuple[TrackAnalysis, ...],
    *,
    fused: tuple[Verdict, Track] | None = None,
) -> Analysis | NotApplicableResult:
    """What is found in the pictures with its tracks, and the verdict over them if there is one."""
    if fused is None:
        if isinstance(found, Analysis):
            return replace(found, tracks=tracks)
        return NotApplicableResult(found.reason, main.decoded, main.card, tracks=tracks)
    verdict, decided_by = fused
    return Analysis(
        verdict=verdict,
        info=found.info,
        model=found.model,
        segments=found.segments,
        media=found.media,
        tracks=tracks,
        decided_by=decided_by,
    )


def units_of(
    detector: Detector, decoded: DecodedMedia, *, on_progress: Callable[[], None]
) -> DecodedMedia:
    """Return a decoded file with the units that the detector scores; there may be none.

    Args:
        detector: The one that will score them.
        decoded: As the decoder gave it.
        on_progress: Called while units are looked for; what it raises ends the search.
    """
    if finds_units(detector):
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
        **({} if card.precision == "float32" else {"precision": card.precision}),
    }


def _analysed_s(decoded: DecodedMedia, card: DetectorCard) -> float | None:
    duration_s = decoded.info.duration_s
    if not isinstance(card.sampling, AudioSampling) or duration_s is None:
        return None
    return round(covered_s(card.sampling, decoded.at_s.tolist(), duration_s), 3)


def _media(decoded: DecodedMedia, card: DetectorCard) -> dict[str, object]:
    info = decoded.info
    return {
        "container": info.container,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "duration_s": None if info.duration_s is None else round(info.duration_s, 3),
        "frames_analysed": info.frames_analysed,
        "analysed_s": _analysed_s(decoded, card),
        "sample_rate_hz": info.sample_rate_hz,
        "size_bytes": info.size_bytes,
        "sha256": info.sha256,
        "truncated": info.truncated,
        "damaged": info.damaged,
        "streams": [asdict(stream) for stream in info.streams],
        "warnings": list(info.warnings),
        "quality": list(quality_of(info, card.sampling)),
    }
