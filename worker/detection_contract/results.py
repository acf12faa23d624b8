"""The result envelope: what a callback, ``--output`` and the Python API deliver.

The first names and their order are those of the original guide; additions follow and are never
renamed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_contract.result_types import (
    REASON_CODES,
    DetectionResult,
    Label,
    ReasonCode,
    S3FileInfo,
    VerdictWord,
)

DECIMALS: Final = 6
"""Decimal places of scores: finer than any detector is accurate."""

_NUMBERS: Final = ("raw_score", "confidence", "margin")

NOTHING_FOUND: Final = "no manipulation found"
"""Shown beside REAL: finding nothing proves nothing."""
VERDICT_REASONS: Final[Mapping[ReasonCode, str]] = {
    "above_threshold": "Looks manipulated: the score reaches the threshold.",
    "below_threshold": "No manipulation found: the score is below the threshold.",
    "between_thresholds": "The score lies where this model cannot tell: from {low:g} to {high:g}.",
    "no_face": "No face was found, and this model looks at faces.",
    "no_speech": "No speech was found, and this model judges speech.",
    "too_short": "The recording is too short for this model.",
    "too_small": "The picture is too small for this model.",
    "sound_above_threshold": "The sound looks manipulated: its score reaches the threshold.",
    "sound_between_thresholds": (
        "The score of the sound lies where its model cannot tell: from {low:g} to {high:g}."
    ),
    "declared_by_ai_tool": "A trusted signer declares that AI made or edited the file.",
}
"""Formats for ``str.format``; ``low`` and ``high`` bound the model's inconclusive scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A detector's verdict on a file; without numbers if the detector does not apply to it.

    Attributes:
        verdict: ``fake``, ``real``, ``inconclusive`` or ``not_applicable``; the first two agree
            with the label, unless a trusted declaration decides.
        reason_code: Code of the reason.
        reason: The reason as a human-readable sentence.
        label: ``FAKE`` exactly when ``score >= threshold``; None if not applicable.
        score: P(fake) in [0, 1]; None exactly when there is no label, like the fields below.
        raw_score: P(fake) before calibration, in [0, 1].
        confidence: Probability of the label, in [0, 1].
        margin: Distance of the score from the threshold, relative to the largest possible on its
            side, in [0, 1].
    """

    verdict: VerdictWord
    reason_code: ReasonCode
    reason: str
    label: Label | None = None
    score: float | None = None
    raw_score: float | None = None
    confidence: float | None = None
    margin: float | None = None


def finished_result(  # noqa: PLR0913 - one keyword for each field of the envelope
    *,
    request_id: str,
    sqs_to_ml_url: str | None,
    file_path: str | None,
    local_path: str | None,
    file_type: MediaKind,
    opinion: Opinion,
    threshold: float,
    is_s3_file: bool,
    queue_url: str | None,
    s3_file_info: Mapping[str, object] | None,
    processed_at: datetime,
    original_message: Mapping[str, object] | None,
    metadata: Mapping[str, object] | None,
    model: Mapping[str, object],
    timings_ms: Mapping[str, float],
    segments: Sequence[Mapping[str, object]],
    media: Mapping[str, object],
    tracks: Sequence[Mapping[str, object]] | None = None,
    provenance: Mapping[str, object] | None = None,
    extra: Mapping[str, object] | None = None,
) -> DetectionResult:
    """Return the envelope of a finished detection; its ``status`` is ``finished``.

    Args:
        request_id: The caller's id, or one made for the job.
        sqs_to_ml_url: URL as the caller wrote it; None for a local file.
        file_path: The requested S3 URL or path.
        local_path: Where the file was while it was analysed; None if its scores were cached.
        file_type: Media kind, by content.
        opinion: The detector's verdict.
        threshold: P(fake) from which the label is FAKE, in [0, 1].
        is_s3_file: The file came from S3.
        queue_url: URL of the queue that delivered the message; None without a queue.
        s3_file_info: See ``s3_file_info``; None for a local file.
        processed_at: End of the analysis, with a time zone.
        original_message: The message or event record, unchanged; None for a local file.
        metadata: The caller's object, unchanged.
        model: The detector's name, version, sha256 and more; see ``ModelInfo``.
        timings_ms: Duration of each stage, in milliseconds.
        segments: Scores over time.
        media: Facts about the file; see ``MediaFacts``.
        tracks: One result for each track of a video; None for other files.
        provenance: What the file says of its making; None if it says nothing.
        extra: Further fields; their names must be new.

    Raises:
        ValueError: A number is not finite or out of range, label or verdict contradict the
            score, or a value is not JSON.
    """
    _check(opinion, threshold)
    return _checked(
        {
            "request_id": request_id,
            "sqs_to_ml_url": sqs_to_ml_url,
            "file_path": file_path,
            "local_path": local_path,
            "file_type": file_type.value,
            "label": opinion.label,
            "confidence": _rounded(opinion.confidence),
            "prediction_score": _rounded_score(opinion.score, threshold=threshold),
            "is_s3_file": is_s3_file,
            "processed_at": iso_utc(processed_at),
            "queue_url": queue_url,
            "s3_file_info": s3_file_info,
            "original_message": original_message,
            "metadata": metadata,
            "status": "finished",
            "error": None,
            "threshold": threshold,
            "model": model,
            "timings_ms": timings_ms,
            "segments": list(segments),
            "media": media,
            "verdict": opinion.verdict,
            "verdict_reason": {"code": opinion.reason_code, "message": opinion.reason},
            "margin": _rounded(opinion.margin),
            "raw_score": _rounded(opinion.raw_score),
            "tracks": None if tracks is None else list(tracks),
            "provenance": provenance,
        },
        extra=extra,
    )


def failed_result(  # noqa: PLR0913 - one keyword for each field of the envelope
    *,
    request_id: str,
    processed_at: datetime,
    code: ErrorCode,
    message: str,
    sqs_to_ml_url: str | None = None,
    file_path: str | None = None,
    local_path: str | None = None,
    file_type: MediaKind | None = None,
    threshold: float | None = None,
    is_s3_file: bool = True,
    queue_url: str | None = None,
    s3_file_info: Mapping[str, object] | None = None,
    original_message: Mapping[str, object] | None = None,
    metadata: Mapping[str, object] | None = None,
    timings_ms: Mapping[str, float] | None = None,
    extra: Mapping[str, object] | None = None,
) -> DetectionResult:
    """Return the envelope of a job that failed for good; its ``status`` is ``failed``.

    It has every field of a finished one; what is unknown is null, and there is no label.

    Args:
        request_id: The caller's id, or one made for the job.
        processed_at: Time of the failure, with a time zone.
        code: Code of the failure.
        message: Human-readable reason, without secrets.
        sqs_to_ml_url: URL as the caller wrote it, if known.
        file_path: The requested S3 URL or path, if known.
        local_path: Where the file was, if it was fetched.
        file_type: Media kind, as far as known.
        threshold: P(fake) from which the label would have been FAKE, in [0, 1].
        is_s3_file: The file was to come from S3.
        queue_url: URL of the queue that delivered the message; None without a queue.
        s3_file_info: See ``s3_file_info``; None if the file was not fetched.
        original_message: The message or event record, unchanged.
        metadata: The caller's object, unchanged.
        timings_ms: Duration of each stage that was reached, in milliseconds.
        extra: Further fields; their names must be new.

    Raises:
        ValueError: A number is not finite, or a value is not JSON.
    """
    return _checked(
        {
            "request_id": request_id,
            "sqs_to_ml_url": sqs_to_ml_url,
            "file_path": file_path,
            "local_path": local_path,
            "file_type": None if file_type is None else file_type.value,
            "label": None,
            "confidence": None,
            "prediction_score": None,
            "is_s3_file": is_s3_file,
            "processed_at": iso_utc(processed_at),
            "queue_url": queue_url,
            "s3_file_info": s3_file_info,
            "original_message": original_message,
            "metadata": metadata,
            "status": "failed",
            "error": {"code": code.value, "message": message},
            "threshold": threshold,
            "model": None,
            "timings_ms": timings_ms or {},
            "segments": [],
            "media": None,
            "verdict": None,
            "verdict_reason": None,
            "margin": None,
            "raw_score": None,
            "tracks": None,
            "provenance": None,
        },
        extra=extra,
    )


def verdict_in_words(result: Mapping[str, object]) -> str:
    """Return the verdict in words; ``failed`` for a job that failed.

    Args:
        result: An envelope, also one of a version without ``verdict``.
    """
    if result.get("error") is not None:
        return "failed"
    verdict = result.get("verdict") or str(result["label"] or "not_applicable").lower()
    return str(verdict).replace("_", " ")


def s3_file_info(
    size: int, content_type: str | None, last_modified: datetime | None
) -> S3FileInfo:
    """Return the metadata of an S3 object as a result shows it.

    Args:
        size: Size in bytes.
        content_type: Type that the uploader declared.
        last_modified: Time of the upload, with a time zone.
    """
    return {
        "size": size,
        "content_type": content_type,
        "last_modified": None if last_modified is None else iso_utc(last_modified),
    }


def iso_utc(moment: datetime) -> str:
    """Return ``moment`` in UTC with milliseconds, as ``2025-01-01T12:00:00.000Z``.

    Raises:
        ValueError: ``moment`` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def iso_of(unix_s: float) -> str:
    """Return Unix seconds as ``iso_utc`` does."""
    return iso_utc(datetime.fromtimestamp(unix_s, tz=UTC))


def encode_result(result: Mapping[str, object]) -> bytes:
    """Return ``result`` as compact UTF-8 JSON in the order of its fields.

    The same result gives the same bytes in every process, so a signature can be made again.

    Raises:
        ValueError: A number is not finite, or a value is not JSON.
    """
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"the result is not JSON: {error}") from None
    # File names that are not UTF-8 contain lone surrogates; JSON can escape them.
    return text.encode("utf-8", "backslashreplace")


def _check(opinion: Opinion, threshold: float) -> None:
    if opinion.reason_code not in REASON_CODES:
        raise ValueError(f"unknown reason {opinion.reason_code}")
    numbers = {name: getattr(opinion, name) for name in ("score", *_NUMBERS)}
    if opinion.verdict == "not_applicable":
        if opinion.label is not None or any(n is not None for n in numbers.values()):
            raise ValueError("a detector that does not apply has neither label nor score")
        numbers = {}
    for name, number in {**numbers, "threshold": threshold}.items():
        if number is None or not 0.0 <= number <= 1.0:
            raise ValueError(f"{name} is {number}, not between 0 and 1")
    if opinion.score is not None:
        _check_words(opinion, fake=opinion.score >= threshold)


def _check_words(opinion: Opinion, *, fake: bool) -> None:
    label: Label = "FAKE" if fake else "REAL"
    if opinion.label != label:
        raise ValueError(f"label {opinion.label} contradicts the score; it says {label}")
    if opinion.reason_code == "declared_by_ai_tool" and opinion.verdict == "fake":
        return
    if opinion.verdict not in {label.lower(), "inconclusive"}:
        raise ValueError(f"verdict {opinion.verdict} contradicts label {label}")


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, DECIMALS)


def _rounded_score(score: float | None, *, threshold: float) -> float | None:
    """Round, but never across the threshold: the numbers must imply the label."""
    if score is None:
        return None
    rounded = round(score, DECIMALS)
    return rounded if (rounded >= threshold) == (score >= threshold) else score


def _checked(
    envelope: dict[str, object], *, extra: Mapping[str, object] | None
) -> DetectionResult:
    if taken := envelope.keys() & (extra or {}).keys():
        raise ValueError(f"the envelope has these fields already: {sorted(taken)}")
    envelope.update(extra or {})
    encode_result(envelope)
    return cast("DetectionResult", envelope)
