"""Object storage as the pipeline sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from detection_contract.aws.s3_urls import S3Location


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """What the storage says of an object.

    Attributes:
        size_bytes: Size of the object.
        content_type: Type that the uploader declared; may be wrong.
        last_modified: Time of the upload, UTC; None if S3 did not say.
        etag: ETag without quotes; None if S3 did not say.
    """

    size_bytes: int
    content_type: str | None
    last_modified: datetime | None
    etag: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedObject(ObjectFacts):
    """A whole object on the local disk.

    Attributes:
        path: The file, of ``size_bytes``; the caller deletes it.
        is_result: A worker wrote it: its user metadata are those of a stored result.
    """

    path: Path
    is_result: bool = False


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

    def fetch_unless(
        self,
        location: S3Location,
        known: ObjectFacts,
        target: Path,
        *,
        max_bytes: int,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> FetchedObject | None:
        """Write the object to ``target`` as ``fetch`` does, unless it is still the known one.

        Permission, existence and identity are checked by one and the same request, which is the
        first of the download if the object is another one.

        Args:
            location: The object.
            known: What an earlier fetch said of it.
            target: As for ``fetch``.
            max_bytes: As for ``fetch``.
            on_progress: As for ``fetch``.
            cancelled: As for ``fetch``.

        Returns:
            None if the object is still the known one: nothing was read, and nothing is at
            ``target``.

        Raises:
            JobError: As ``fetch``.
            Cancelled: As ``fetch``.
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
