"""The result envelopes of the consumer: what the callback gets, and the opinions in them."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from detection_contract.result_types import DetectionResult, ReasonCode, S3FileInfo
from detection_contract.results import (
    DECIMALS,
    VERDICT_REASONS,
    Opinion,
    failed_result,
    finished_result,
    s3_file_info,
)
from detection_worker.core.fusion import Track, course
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.verdict import Finding
from detection_worker.pipeline.files.analysis import Analysis, NotApplicableResult, TrackAnalysis
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.stages.handovers import Fetched

_REASONS: Final[Mapping[tuple[Finding, Track], ReasonCode]] = {
    ("fake", "video"): "above_threshold",
    ("real", "video"): "below_threshold",
    ("inconclusive", "video"): "between_thresholds",
    ("fake", "audio"): "sound_above_threshold",
    # The sound can only decide for real where both tracks are.
    ("real", "audio"): "below_threshold",
    ("inconclusive", "audio"): "sound_between_thresholds",
}
"""By the track of a video that decides; for other files it is ``video``."""


def opinion_of(found: Analysis | NotApplicableResult) -> Opinion:
    """Return what a result says of the outcome of an analysis."""
    if isinstance(found, NotApplicableResult):
        return Opinion(
            verdict="not_applicable",
            reason_code=found.reason,
            reason=VERDICT_REASONS[found.reason],
        )
    verdict = found.verdict
    code = _REASONS[verdict.finding, found.decided_by]
    low, high = verdict.between
    return Opinion(
        verdict=verdict.finding,
        reason_code=code,
        reason=VERDICT_REASONS[code].format(low=low, high=high),
        label=verdict.label,
        score=verdict.score,
        raw_score=verdict.raw_score,
        confidence=verdict.confidence,
        margin=verdict.margin,
    )


def tracks_of(found: Analysis | NotApplicableResult) -> list[dict[str, object]] | None:
    """Return what a result says of each track of a video; None if the file is none."""
    return [_track(track) for track in found.tracks] or None


def _track(track: TrackAnalysis) -> dict[str, object]:
    found, opinion = track.found, opinion_of(track.found)
    told: dict[str, object] = {
        "track": track.track,
        "label": opinion.label,
        "score": _rounded(opinion.score),
        "confidence": _rounded(opinion.confidence),
        "verdict": opinion.verdict,
        "verdict_reason": {"code": opinion.reason_code, "message": opinion.reason},
        "counts": track.counts,
        "model": found.model,
        "statistics": _statistics(found),
    }
    if track.track == "audio":  # those of the pictures are the result's own
        told["segments"] = found.segments
    return told


def _statistics(found: Analysis | NotApplicableResult) -> dict[str, float] | None:
    if isinstance(found, NotApplicableResult):
        return None
    told = asdict(course(found.verdict.frame_scores))
    return {name: round(value, DECIMALS) for name, value in told.items()}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, DECIMALS)


def finished(
    ticket: Fetched,
    found: Analysis | NotApplicableResult,
    *,
    timings_s: Mapping[str, float],
    queue_url: str,
) -> DetectionResult:
    """Return the envelope of a finished detection, or of a file that the detector is not for."""
    request = ticket.job.request
    return finished_result(
        request_id=ticket.request_id,
        sqs_to_ml_url=request.sqs_to_ml_url,
        file_path=request.sqs_to_ml_url,
        local_path=None if ticket.path is None else str(ticket.path),
        file_type=found.info.kind,
        opinion=opinion_of(found),
        threshold=request.threshold,
        is_s3_file=True,
        queue_url=queue_url,
        s3_file_info=_s3_file_info(ticket),
        processed_at=datetime.now(tz=UTC),
        original_message=request.original_message,
        metadata=request.metadata,
        model=found.model,
        timings_ms=milliseconds(timings_s),
        segments=found.segments,
        media=found.media,
        tracks=tracks_of(found),
        extra={"cached": True} if ticket.cached else None,
    )


def failed(
    job: Job, failure: Failure, fetched: Fetched | None, *, queue_url: str
) -> DetectionResult:
    """Return the envelope of a job that failed for good, after its download or before."""
    request = job.request
    timings_s = dict(fetched.timings_s) if fetched else {}
    timings_s["total"] = time.monotonic() - job.message.received_s
    return failed_result(
        request_id=job.request_id,
        sqs_to_ml_url=request.sqs_to_ml_url,
        file_path=request.sqs_to_ml_url,
        file_type=fetched.kind if fetched else job.kind,
        threshold=request.threshold,
        is_s3_file=True,
        queue_url=queue_url,
        s3_file_info=_s3_file_info(fetched) if fetched else None,
        processed_at=datetime.now(tz=UTC),
        original_message=request.original_message,
        metadata=request.metadata,
        timings_ms=milliseconds(timings_s),
        code=failure.code,
        message=failure.message,
    )


def _s3_file_info(ticket: Fetched) -> S3FileInfo:
    found = ticket.file
    return s3_file_info(found.size_bytes, found.content_type, found.last_modified)


def milliseconds(timings_s: Mapping[str, float]) -> dict[str, float]:
    """Return stage times in milliseconds, to the microsecond."""
    return {stage: round(seconds * 1000, 3) for stage, seconds in timings_s.items()}
