"""The result envelopes of the consumer: what the callback gets."""

from collections.abc import Mapping
from datetime import UTC, datetime

from detection_contract.results import failed_result, finished_result, s3_file_info
from detection_worker.core.outcome import Failure
from detection_worker.pipeline.analysis import Analysis
from detection_worker.pipeline.jobs import Job


def finished(job: Job, analysis: Analysis, *, queue_url: str) -> dict[str, object]:
    """Return the envelope of a finished detection."""
    fetched = job.fetched
    assert fetched is not None  # noqa: S101 - a scored job was downloaded
    return finished_result(
        request_id=job.request_id,
        sqs_to_ml_url=job.asked.sqs_to_ml_url,
        file_path=job.asked.sqs_to_ml_url,
        local_path=str(fetched.path),
        file_type=analysis.info.kind,
        score=analysis.verdict.score,
        label=analysis.verdict.label,
        confidence=analysis.verdict.confidence,
        threshold=job.asked.threshold,
        is_s3_file=True,
        queue_url=queue_url,
        s3_file_info=s3_file_info(fetched.size_bytes, fetched.content_type, fetched.last_modified),
        processed_at=datetime.now(tz=UTC),
        original_message=job.asked.original_message,
        metadata=job.asked.metadata,
        model=analysis.model,
        timings_ms=milliseconds(job.timings_s),
        segments=analysis.segments,
        media=analysis.media,
    )


def failed(job: Job, failure: Failure, *, queue_url: str) -> dict[str, object]:
    """Return the envelope of a job that failed for good."""
    fetched = job.fetched
    info = None
    if fetched is not None:
        info = s3_file_info(fetched.size_bytes, fetched.content_type, fetched.last_modified)
    return failed_result(
        request_id=job.request_id,
        sqs_to_ml_url=job.asked.sqs_to_ml_url,
        file_path=job.asked.sqs_to_ml_url,
        file_type=job.kind,
        threshold=job.asked.threshold,
        is_s3_file=True,
        queue_url=queue_url,
        s3_file_info=info,
        processed_at=datetime.now(tz=UTC),
        original_message=job.asked.original_message,
        metadata=job.asked.metadata,
        timings_ms=milliseconds(job.timings_s),
        code=failure.code,
        message=failure.message,
    )


def milliseconds(timings_s: Mapping[str, float]) -> dict[str, float]:
    """Return stage times in milliseconds, to the microsecond."""
    return {stage: round(seconds * 1000, 3) for stage, seconds in timings_s.items()}
