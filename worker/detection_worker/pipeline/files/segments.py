"""What a result says of the parts of a file: its frames with regions, its windows."""

from detection_worker.core.sampling import AudioSampling
from detection_worker.core.verdict import Verdict
from detection_worker.detectors.base import DetectorCard
from detection_worker.media.values import DecodedMedia, MediaInfo


def segments_of(
    decoded: DecodedMedia, verdict: Verdict | None, card: DetectorCard
) -> list[dict[str, object]]:
    """Return one entry a frame (time, score, crop boxes, faces), clip (also its end) or window.

    Args:
        decoded: The file.
        verdict: Over its units; None if there is none, then there are no scores.
        card: The detector's card.
    """
    scores: dict[int, float] = {}
    if verdict is not None:
        frames = dict.fromkeys(decoded.frame.tolist())
        scores = dict(zip(frames, verdict.frame_scores, strict=True))
    segments: list[dict[str, object]] = []
    for i, at_s in enumerate(decoded.at_s.tolist()):
        segment: dict[str, object] = {"start_s": round(at_s, 3)}
        if isinstance(card.sampling, AudioSampling):
            segment["end_s"] = round(window_end_s(card.sampling, at_s, decoded.info), 3)
        elif decoded.end_s is not None:
            segment["end_s"] = round(float(decoded.end_s[i]), 3)
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


def window_end_s(sampling: AudioSampling, at_s: float, info: MediaInfo) -> float:
    """Return where a window ends: before its length only in a sound repeated to fill it.

    Args:
        sampling: How it was cut.
        at_s: Where it starts, seconds.
        info: Facts about the sound.
    """
    window_s = sampling.window / sampling.sample_rate_hz
    return at_s + (window_s if info.duration_s is None else min(window_s, info.duration_s))


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
