"""An input, a local path or an S3 URL, as a file on this machine, and its result envelope."""

import logging
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from detection_contract.aws.s3_urls import redact_url
from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import kind_of_name
from detection_contract.result_types import DetectionResult, S3FileInfo
from detection_contract.results import failed_result, finished_result, s3_file_info
from detection_worker.api.files import S3Files
from detection_worker.errors import JobError
from detection_worker.pipeline.files.analysis import Analysis, NotApplicableResult
from detection_worker.pipeline.stages.envelopes import (
    milliseconds,
    opinion_on_file,
    provenance_of,
    tracks_of,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file on this machine, and its origin as its result reports it.

    Attributes:
        asked: Path or S3 URL as the user wrote it.
        path: Path of the file.
        name: Name with the extension that announces its media kind.
        s3_url: S3 URL; None for a local file.
        file_info: Metadata of the S3 object; None for a local file.
        download_s: Duration of the download, in seconds; None for a local file.
        remove: Removes a download; leaves a local file alone.
    """

    asked: str
    path: Path
    name: str
    s3_url: str | None = None
    file_info: S3FileInfo | None = None
    download_s: float | None = None
    remove: Callable[[], None] = lambda: None


def is_url(path_or_url: str | Path) -> bool:
    """Return whether an input is a URL and not a local path."""
    return isinstance(path_or_url, str) and "://" in path_or_url


def at_hand(path: str | Path, *, max_bytes: int) -> LocalFile:
    """Return a local file after checking that it can be read.

    Raises:
        JobError: ``BAD_URL``, ``EMPTY_FILE`` or ``TOO_LARGE``.
    """
    named = Path(os.path.expanduser(str(path)))  # noqa: PTH111 - leaves an unknown ~name as it is
    try:
        _check_readable(named, max_bytes=max_bytes)
    except (OSError, ValueError) as exc:
        # The name is too long or contains a zero byte, a folder is not searchable, the disk fails.
        why = getattr(exc, "strerror", None) or str(exc)
        raise JobError(ErrorCode.BAD_URL, f"The file cannot be opened ({why}): {named}") from exc
    return LocalFile(asked=str(path), path=named, name=named.name)


def fetched(
    files: S3Files, url: str, *, keep: bool, cancelled: Callable[[], bool] = lambda: False
) -> LocalFile:
    """Download an S3 object and return it as a local file.

    Args:
        files: S3 client.
        url: S3 URL in any documented form.
        keep: Do not remove the download.
        cancelled: Called several times a second; True stops the download.

    Raises:
        JobError: As for ``S3Files.fetch``.
        Cancelled: ``cancelled`` returned True.
    """
    started = time.perf_counter()
    found = files.fetch(url, cancelled=cancelled)
    seconds = time.perf_counter() - started
    log.debug("fetched %s: %d bytes in %.2f s", redact_url(url), found.size_bytes, seconds)
    return LocalFile(
        asked=url,
        path=found.path,
        name=files.locate(url).key,
        s3_url=url,
        file_info=s3_file_info(found.size_bytes, found.content_type, found.last_modified),
        download_s=seconds,
        remove=(lambda: None) if keep else (lambda: files.cleanup(found.path)),
    )


def finished(
    file: LocalFile,
    found: Analysis | NotApplicableResult,
    *,
    request_id: str,
    threshold: float,
    timings_s: dict[str, float],
    trust_declared: bool,
) -> DetectionResult:
    """Return the result envelope of an analysed file."""
    stages = {} if file.download_s is None else {"download": file.download_s}
    return finished_result(
        request_id=request_id,
        sqs_to_ml_url=file.s3_url,
        file_path=file.s3_url or str(file.path),
        local_path=str(file.path),
        file_type=found.info.kind,
        opinion=opinion_on_file(found, trust_declared=trust_declared),
        threshold=threshold,
        is_s3_file=file.s3_url is not None,
        queue_url=None,
        s3_file_info=file.file_info,
        processed_at=datetime.now(tz=UTC),
        original_message=None,
        metadata=None,
        model=found.model,
        timings_ms=milliseconds({**stages, **timings_s}),
        segments=found.segments,
        media=found.media,
        tracks=tracks_of(found),
        provenance=provenance_of(found),
    )


def failed(path_or_url: str | Path, exc: JobError, *, threshold: float) -> DetectionResult:
    """Return the result envelope of a file that could not be analysed."""
    text, remote = str(path_or_url), is_url(path_or_url)
    return failed_result(
        request_id=str(uuid.uuid4()),
        processed_at=datetime.now(tz=UTC),
        code=exc.code,
        message=exc.message,
        sqs_to_ml_url=text if remote else None,
        file_path=text,
        file_type=kind_of_name(text.partition("?")[0] if remote else text),
        threshold=threshold,
        is_s3_file=remote,
    )


def _check_readable(path: Path, *, max_bytes: int) -> None:
    if not path.exists():
        raise JobError(ErrorCode.BAD_URL, f"File not found: {path}")
    if not path.is_file():
        raise JobError(ErrorCode.BAD_URL, f"Not a regular file: {path}")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise JobError(ErrorCode.EMPTY_FILE, f"The file is empty: {path}")
    if size_bytes > max_bytes:
        raise JobError(
            ErrorCode.TOO_LARGE,
            f"The file has {size_bytes} bytes, {max_bytes} are allowed: {path}",
        )
    if not os.access(path, os.R_OK):
        raise JobError(ErrorCode.BAD_URL, f"No permission to read the file: {path}")
