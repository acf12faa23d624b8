"""Manifests as files: local ones, and copies of those in S3."""

import gzip
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from detection_contract.aws.s3_urls import InvalidS3Url, parse_s3_url
from detection_worker.errors import UsageError
from detection_worker.storage.s3_listing import S3Listing

Listing = Callable[[], S3Listing]
"""Returns the S3 client; the first call needs credentials."""


class Files:
    """Opens manifests by path or ``s3://`` URL.

    Args:
        listing: S3 client.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    @contextmanager
    def opened(self, name: str) -> Iterator[BufferedReader]:
        """Open a file at its start; one in S3 is copied first, so that no connection idles.

        Raises:
            UsageError: It cannot be opened.
            JobError: It cannot be downloaded.
        """
        with ExitStack() as stack:
            try:
                if "://" in name:
                    copy = stack.enter_context(tempfile.TemporaryFile())
                    self._copy(name, cast("BinaryIO", copy))
                    file = cast("BufferedReader", copy)
                else:
                    file = stack.enter_context(Path(name).open("rb"))
            except OSError as exc:
                raise UsageError(
                    f"Cannot read the manifest {name}: {exc.strerror}\n"
                    "Name a file or an s3:// URL."
                ) from exc
            yield file

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file, in hex."""
        with self.opened(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _copy(self, url: str, file: BinaryIO) -> None:
        try:
            location = parse_s3_url(url)
        except InvalidS3Url as exc:
            raise UsageError(f"{exc}\nName a file or an s3:// URL.") from exc
        self._listing().copy_to(location, file)
        file.seek(0)


@contextmanager
def unpacked(file: BufferedReader, name: str) -> Iterator[BufferedReader]:
    """Return a stream of the content of a file that may be gzipped.

    Raises:
        UsageError: While it is read: it is cut short or damaged.
    """
    if not name.lower().endswith(".gz"):
        yield file
        return
    try:
        with gzip.GzipFile(fileobj=file) as content:
            yield cast("BufferedReader", content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise UsageError(
            f"The manifest {name} is damaged: {exc}\nCopy or download it again."
        ) from exc
