"""What the pipeline knows of object storage."""

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
        path: The file; its owner deletes it.
        size_bytes: Length of the object and of the file.
        content_type: As S3 says; may be wrong.
        last_modified: UTC, None if S3 did not say.
        etag: Without quotes; None if S3 did not say.
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
            location: What to fetch.
            target: Where to put it; nothing is left there after an error.
            max_bytes: Larger objects are refused before they are read.
            on_progress: Called after every chunk.
            cancelled: Asked after every chunk.

        Raises:
            JobError: ``S3_*``, ``EMPTY_FILE``, ``TOO_LARGE``, ``CREDENTIALS``, ``TIMEOUT``, or
                ``UNSUPPORTED_TYPE`` for a content coding that the decoder does not know.
            Cancelled: ``cancelled`` said so.
        """
        ...

    def probe(self, location: S3Location, target: Path) -> None:
        """Fetch as little as shows whether anything can be fetched now.

        Args:
            location: An object that could not be.
            target: As for ``fetch``; nothing is left there.

        Raises:
            JobError: ``environment`` says whether every other object would fail too.
        """
        ...
