"""The state file of a submission: what SQS has confirmed, so that a rerun goes on behind it."""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from detection_worker.batch.manifests import Position
from detection_worker.errors import UsageError

VERSION: Final = 1
_TAIL_BYTES: Final = 64 * 1024
"""Longer than any line: a key has at most 1,024 bytes."""


class Journal:
    """A line for each confirmed batch, written after SQS has confirmed it and before the next.

    A process that is killed at any moment leaves at most one batch that was sent and is not
    noted here. The file is locked while it is open.

    Args:
        path: The file; made if it does not exist.
        submission: Identity of the submission; another's file is refused.

    Attributes:
        position: Where the last confirmed batch ends; None at the start.
        sent: Messages confirmed so far, in every run.
        refused: Messages that SQS will never take.
        finished: All is sent.

    Raises:
        UsageError: The file belongs to another submission, is in use, or cannot be written.
    """

    def __init__(self, path: Path, submission: str) -> None:
        self.path = path
        self.position: Position | None = None
        self.sent = 0
        self.refused = 0
        self.finished = False
        self._header = _line({"version": VERSION, "submission": submission})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise UsageError(
                f"Cannot write the state file {path}: {exc.strerror}\n"
                "Name another with --state FILE."
            ) from exc
        try:
            self._lock()
            self._load()
        except BaseException:
            os.close(self._handle)
            raise

    def record(self, position: Position, *, sent: int, refused: int) -> None:
        """Note a confirmed batch.

        Args:
            position: Where it ends.
            sent: Messages of it that SQS has.
            refused: Messages of it that SQS will never take.
        """
        self.position = position
        self.sent += sent
        self.refused += refused
        self._append()

    def finish(self) -> None:
        """Note that all is sent."""
        self.finished = True
        self._append()

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            os.close(self._handle)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise UsageError(
                f"Another process uses the state file {self.path}\n"
                "Wait until it ends, or name another with --state FILE."
            ) from exc

    def _load(self) -> None:
        size_bytes = os.fstat(self._handle).st_size
        start = os.pread(self._handle, len(self._header), 0)
        if start != self._header:
            # A process may have been killed while it wrote the first line.
            if len(start) < size_bytes or not self._header.startswith(start):
                raise UsageError(
                    f"The state file {self.path} belongs to another submission\n"
                    "Name another with --state FILE, or remove it to start again."
                )
            os.ftruncate(self._handle, 0)
            self._write(self._header)
            return
        self._load_last(size_bytes)

    def _load_last(self, size_bytes: int) -> None:
        start = max(len(self._header), size_bytes - _TAIL_BYTES)
        tail = os.pread(self._handle, _TAIL_BYTES, start)
        whole, newline, torn = tail.rpartition(b"\n")
        if torn:
            os.ftruncate(self._handle, size_bytes - len(torn))
        os.lseek(self._handle, 0, os.SEEK_END)
        if not newline:
            return
        try:
            last: dict[str, Any] = json.loads(whole.rpartition(b"\n")[2])
            self.position, self.sent = last["after"], last["sent"]
            self.refused, self.finished = last["refused"], last["finished"]
        except (ValueError, KeyError, TypeError) as exc:
            raise UsageError(
                f"The state file {self.path} is damaged\nRemove it to start again."
            ) from exc

    def _append(self) -> None:
        self._write(
            _line(
                {
                    "after": self.position,
                    "sent": self.sent,
                    "refused": self.refused,
                    "finished": self.finished,
                }
            )
        )

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        except OSError as exc:
            raise UsageError(
                f"Cannot write the state file {self.path}: {exc.strerror}\n"
                "Make room on the disk and run the same command again: it goes on behind the "
                "last batch that is noted."
            ) from exc


def _line(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode() + b"\n"
