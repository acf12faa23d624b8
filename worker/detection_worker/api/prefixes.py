"""S3 prefixes and wildcards among the inputs, replaced by the objects that they mean."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detection_contract.aws.s3_urls import s3_uri
from detection_contract.error_codes import ErrorCode
from detection_worker.api.files import S3Files
from detection_worker.core.batch.objects import S3Pattern, location_of, parse_pattern
from detection_worker.errors import JobError


@dataclass(frozen=True, slots=True)
class Unlisted:
    """An input whose objects are not known.

    Attributes:
        asked: The input.
        error: Why.
    """

    asked: str
    error: JobError


def pattern_of(asked: str | Path) -> S3Pattern | None:
    """Return what an input means if it is an S3 prefix or has a wildcard; else None."""
    return parse_pattern(asked) if isinstance(asked, str) else None


def expanded(
    inputs: Iterable[str | Path], files: Callable[[], S3Files]
) -> Iterator[str | Path | Unlisted]:
    """Yield every input, and in place of a prefix the URLs of the media objects below it.

    Prefixes are listed as the objects are needed, a page at a time. One that cannot be listed, or
    that holds no media, is yielded as ``Unlisted`` and stops no other input.

    Args:
        inputs: Paths, S3 URLs and S3 prefixes.
        files: Returns the S3 client; called for prefixes only.
    """
    for asked in inputs:
        pattern = pattern_of(asked)
        if pattern is None:
            yield asked
            continue
        found = False
        try:
            for item, skipped in files().objects(pattern):
                location = location_of(item)
                if skipped is None and location is not None:
                    found = True
                    yield s3_uri(location)
        except JobError as exc:
            yield Unlisted(str(asked), exc)
            continue
        if not found:
            yield Unlisted(str(asked), nothing_in(pattern))


def nothing_in(pattern: S3Pattern) -> JobError:
    """Return the error about a prefix without media."""
    return JobError(ErrorCode.S3_NOT_FOUND, f"No media files in {pattern.url}")
