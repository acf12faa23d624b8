"""What a result says of the file, of its making and of the models, as rows of a table."""

from collections.abc import Sequence
from typing import Final

from detection_contract.aws.s3_urls import redact_url
from detection_contract.user_messages import counted
from detection_worker.report import words
from detection_worker.report.envelope import (
    Object,
    boxes,
    child,
    number,
    objects,
    share,
    text,
    texts,
)
from detection_worker.report.scale import Scale, clock, percent
from detection_worker.report.words import (
    DECLARES,
    GRADES,
    QUALITY,
    SIGNATURES,
    SOURCES,
)

Rows = list[tuple[str, str]]
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def name_of(result: Object) -> str:
    """Return what the file is called, without the signature of its URL."""
    name = text(result, "file_path") or text(result, "sqs_to_ml_url")
    return redact_url(name) if "://" in name else name or "unnamed file"


def size_in_words(size_bytes: float) -> str:
    """Return a size as people write it."""
    value, unit = size_bytes, 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[0]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def facts_of(result: Object) -> Rows:
    """Return facts about the file and the request."""
    media, stored = child(result, "media"), child(result, "s3_file_info")
    size = number(media, "size_bytes") or number(stored, "size")
    width, height = number(media, "width"), number(media, "height")
    duration, rate = number(media, "duration_s"), number(media, "sample_rate_hz")
    rows = [
        ("File", name_of(result)),
        ("Kind", _kind(result, media)),
        ("Size", "" if size is None else size_in_words(size)),
        ("Picture", "" if not width or not height else f"{width:.0f} by {height:.0f} pixels"),
        ("Duration", "" if duration is None else clock(max(duration, 0.0))),
        ("Sample rate", "" if rate is None else f"{rate:.0f} Hz"),
        *_streams(media),
        ("Uploaded", text(stored, "last_modified")),
        ("SHA-256", text(media, "sha256")),
        ("Analysed", text(result, "processed_at")),
        ("Request", text(result, "request_id")),
    ]
    return [(name, value) for name, value in rows if value]


def _kind(result: Object, media: Object) -> str:
    parts = (text(result, "file_type"), text(media, "container"), text(media, "codec"))
    return ", ".join(part for part in parts if part)


def _streams(media: Object) -> Rows:
    rows = []
    for stream in objects(media, "streams")[:16]:
        told = [text(stream, name) for name in ("codec", "language", "title")]
        if stream.get("analysed") is True:
            told.append("analysed")
        rows.append((f"Stream: {text(stream, 'type')}", ", ".join(part for part in told if part)))
    return rows if len(rows) > 1 else []


def provenance_of(result: Object) -> Rows:
    """Return what the file says of its making; empty if it says nothing."""
    told = child(result, "provenance")
    if not told:
        return []
    c2pa = child(told, "c2pa")
    declares = DECLARES.get(text(told, "declares"), text(told, "declares"))
    signed = "yes" if told.get("signed") is True else "no, so easy to forge"
    state = text(c2pa, "state")
    rows = [
        ("Declares to be", declares),
        ("Signed", signed if declares else ""),
        ("Generator", text(told, "generator")),
        ("Camera", text(told, "camera")),
        ("Software", text(told, "software")),
        ("Content Credential", SIGNATURES.get(state, state)),
        ("Signer", text(c2pa, "issuer")),
        ("Written by", text(c2pa, "claim_generator")),
        ("Failed check", text(c2pa, "problem")),
    ]
    return [(name, value) for name, value in rows if value]


def says_nothing(result: Object) -> str:
    """Return what it means that a result has no provenance."""
    if "provenance" not in result:
        return words.NOT_READ
    warnings = texts(child(result, "media"), "warnings")
    skipped = any(warning.startswith(words.SKIPPED) for warning in warnings)
    return words.PARTLY_READ if skipped else words.SAYS_NOTHING


def evidence_of(result: Object) -> list[tuple[str, str, str, str]]:
    """Return the statements of the file: where, field, value, meaning."""
    return [
        (
            SOURCES.get(text(item, "source"), text(item, "source")),
            text(item, "field"),
            text(item, "value"),
            DECLARES.get(text(item, "declares"), text(item, "declares")),
        )
        for item in objects(child(result, "provenance"), "evidence")[:32]
    ]


def model_facts(model: Object, scale: Scale) -> Rows:
    """Return facts about a model."""
    grade = text(model, "grade")
    calibrated = model.get("calibrated")
    odds = (
        "no: the score is no probability"
        if calibrated is False
        else "yes: fitted on labelled files"
        if calibrated is True
        else ""
    )
    zone = f"{scale.low:g} to {scale.high:g}" if scale.doubtful else "none was measured"
    rows = [
        ("Version", text(model, "version")),
        ("Grade", GRADES.get(grade, grade)),
        ("Calibrated", odds),
        ("Threshold", f"{scale.threshold:g}"),
        ("Cannot tell", zone),
        ("Precision", text(model, "precision")),
        ("SHA-256", text(model, "sha256")),
    ]
    return [(name, value) for name, value in rows if value]


def looked_at(result: Object) -> list[str]:
    """Return what was analysed, a sentence each."""
    kind, media = text(result, "file_type"), child(result, "media")
    segments = objects(result, "segments")
    if not segments:
        return []
    if kind == "image":
        return [_picture(segments[0], media)]
    if kind == "video":
        return [_frames(segments, media), *_sound(result)]
    return [_windows(segments, media)]


def _picture(segment: Object, media: Object) -> str:
    found = boxes(segment)
    if isinstance(segment.get("faces"), list):
        return f"{counted(len(found), 'face')}; nothing else in the picture."
    area = sum(max(b[2] - b[0], 0) * max(b[3] - b[1], 0) for b in found)
    whole = (number(media, "width") or 0) * (number(media, "height") or 0)
    if not found or not whole:
        return "The picture."
    if area >= 0.99 * whole:
        return "The whole picture."
    return (
        f"{counted(len(found), 'square')} at full resolution, together "
        f"{percent(min(area / whole, 1.0))} of the picture: its middle, and where it has most "
        "detail. The rest was not looked at."
    )


def _frames(segments: Sequence[Object], media: Object) -> str:
    analysed = number(media, "frames_analysed") or len(segments)
    duration = number(media, "duration_s")
    over = "" if duration is None else f" spread over {clock(duration)}"
    regions = sum(len(boxes(s)) for s in segments)
    faces = any(isinstance(s.get("faces"), list) for s in segments)
    parts = f", with {counted(regions, 'face' if faces else 'square')} in them" if regions else ""
    return f"{counted(int(analysed), 'frame')}{over}{parts}. What lies between was not looked at."


def _sound(result: Object) -> list[str]:
    tracks = [t for t in objects(result, "tracks") if text(t, "track") == "audio"]
    if not tracks:
        streams = objects(child(result, "media"), "streams")
        silent = streams and all(text(s, "type") != "audio" for s in streams)
        return ["It has no sound." if silent else "Its sound was not analysed."]
    windows = len(objects(tracks[0], "segments"))
    vote = "" if tracks[0].get("counts") is True else ", which had no say in the verdict"
    return [f"{counted(windows, 'window')} of its sound{vote}."]


def _windows(segments: Sequence[Object], media: Object) -> str:
    analysed, duration = number(media, "analysed_s"), number(media, "duration_s")
    if analysed is None or not duration:
        return f"{counted(len(segments), 'window')} of sound."
    rest = "" if analysed >= 0.99 * duration else " The rest was not listened to."
    return (
        f"{counted(len(segments), 'window')} of sound, together {clock(analysed)} of "
        f"{clock(duration)}.{rest}"
    )


def limits_of(result: Object) -> list[str]:
    """Return what restricts a result, a sentence each."""
    media = child(result, "media")
    found = []
    if media.get("truncated") is True:
        found.append("The file is cut off: a part of it is missing.")
    if media.get("damaged") is True:
        found.append("The file is damaged: a part of it could not be read.")
    found += [QUALITY.get(code, code.replace("_", " ")) for code in texts(media, "quality")]
    found += [_sentence(warning) for warning in texts(media, "warnings")]
    if result.get("cached") is True:
        found.append("The scores are those of an earlier analysis of the same object.")
    return found


def declared(result: Object) -> str:
    """Return what the file says of itself, if that matters beside the verdict."""
    told = child(result, "provenance")
    words = DECLARES.get(text(told, "declares"))
    if words is None:
        return ""
    maker = text(told, "generator") or (
        text(told, "camera") if text(told, "declares") == "captured" else ""
    )
    by = f" ({maker})" if maker else ""
    sign = "signed" if told.get("signed") is True else "not signed, so easy to forge"
    return f"The file itself declares that it was {words}{by}; {sign}."


def confidence_of(result: Object) -> str:
    """Return the label by the threshold alone."""
    label, confidence = text(result, "label"), share(result, "confidence")
    if not label or confidence is None:
        return ""
    return f"{label}, by the threshold alone (confidence {percent(confidence)})"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"
