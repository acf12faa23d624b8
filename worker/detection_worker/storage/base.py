"""Object storage as the pipeline sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from detection_contract.aws.s3_urls import S3Location


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedObject:
    """A whole object on the local disk.

    Attributes:
        path: The file; the caller deletes it.
        size_bytes: Size of object and file.
        content_type: Type that the uploader declared; may be wrong.
        last_modified: Time of the upload, UTC; None if S3 did not say.
        etag: ETag without quotes; None if S3 did not say.
    """

    path: Path
    size_bytes: int
    content_type: str | None
    last_modified: datetime | None
    etag: str | None


class Storage(Protocol):
    """Fetches objects; thread-safe."""

    def fetch(
        self,
        location: S3Location,
        target: Path,
        *,
        max_bytes: int,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> FetchedObject:
        """Write the object to ``target``, a path that does not exist yet in a folder that does.

        Args:
            location: The object.
            target: Path of the new file; nothing is left there after an error.
            max_bytes: Larger objects are refused before they are read.
            on_progress: Called after every chunk.
            cancelled: Called after every chunk; True stops the download.

        Raises:
            JobError: ``S3_*``, ``EMPTY_FILE``, ``TOO_LARGE``, ``CREDENTIALS``, ``TIMEOUT``, or
                ``UNSUPPORTED_TYPE`` for a content coding that the decoder does not know.
            Cancelled: ``cancelled`` returned True.
        """
        ...

    def probe(self, location: S3Location, target: Path) -> None:
        """Fetch one byte, to see whether downloads work at all.

        Args:
            location: An object whose download failed.
            target: Path of a temporary file; nothing is left there.

        Raises:
            JobError: ``environment`` says whether every other object would fail too.
        """
        ...
