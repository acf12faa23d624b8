"""Temporary folders for downloads: private, bounded in bytes, swept after a crash."""

import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from detection_worker.errors import Cancelled

PREFIX = "job-"
_NAME = re.compile(rf"^{PREFIX}(\d+)-([0-9a-f]{{8}}-)?")
_OURS = f"{secrets.token_hex(4)}-"
"""Tells our folders from those of an earlier process with the same id."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

log = logging.getLogger(__name__)


class DiskBudget:
    """Bytes of downloads that wait to be decoded. Thread-safe.

    A download starts only while less than the budget is used, so the disk holds at most the budget
    and one file for each downloader.

    Args:
        max_bytes: The budget.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._freed = threading.Condition()

    def wait(self, *, cancelled: Callable[[], bool]) -> None:
        """Return once there is room.

        Raises:
            Cancelled: ``cancelled`` said so while waiting.
        """
        with self._freed:
            while self._used_bytes >= self._max_bytes:
                if cancelled():
                    raise Cancelled
                self._freed.wait(0.2)

    def use(self, size_bytes: int) -> None:
        """Count a file."""
        with self._freed:
            self._used_bytes += size_bytes

    def free(self, size_bytes: int) -> None:
        """Stop counting a file."""
        with self._freed:
            self._used_bytes -= size_bytes
            self._freed.notify_all()


def job_folder(cache_dir: Path) -> Path:
    """Make a folder that only this user can read; its name says which process owns it."""
    prefix = f"{PREFIX}{os.getpid()}-{_OURS}"
    try:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=cache_dir))
    except FileNotFoundError:
        cache_dir.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=cache_dir))


def remove_folder(folder: Path) -> None:
    """Remove a folder of ``job_folder`` with what is in it; what cannot be removed stays."""
    try:
        # Half the CPU of rmtree, which looks at each file first.
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def file_name(key: str) -> str:
    """Return a harmless file name for an object key: its last part, ASCII, at most 100 characters.

    The name keeps the extension, which decoding never trusts.
    """
    name = _UNSAFE.sub("_", key.rsplit("/", 1)[-1]).lstrip(".")
    return name[-100:] or "object"


def sweep(cache_dir: Path) -> int:
    """Remove the folders of processes that no longer run; return how many.

    In a container every start has the same process id: folders with ours that this process did
    not make are left-overs too.
    """
    removed = 0
    for folder in cache_dir.glob(f"{PREFIX}*"):
        match = _NAME.match(folder.name)
        if match and not _lives(int(match.group(1)), match.group(2)):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    if removed:
        log.info("removed %d temporary folder(s) of earlier runs", removed)
    return removed


def sweep_after(cache_dir: Path, pid: int) -> None:
    """Remove the folders of a process that has just ended; those of others stay."""
    for folder in cache_dir.glob(f"{PREFIX}{pid}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int, mark: str | None) -> bool:
    return mark == _OURS if pid == os.getpid() else _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
