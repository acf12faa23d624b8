"""Private temporary folders for downloads, and the sweep of those that a crash left behind."""

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path

PREFIX = "job-"
_NAME = re.compile(rf"^{PREFIX}(\d+)-")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

log = logging.getLogger(__name__)


def job_folder(cache_dir: Path) -> Path:
    """Make a folder that only this user can read; its name says which process owns it."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=cache_dir))


def file_name(key: str) -> str:
    """Return a harmless file name for an object key: its last part, ASCII, at most 100 characters.

    The name keeps the extension for people; decoding never trusts it.
    """
    name = _UNSAFE.sub("_", key.rsplit("/", 1)[-1]).lstrip(".")
    return name[-100:] or "object"


def sweep(cache_dir: Path) -> int:
    """Remove the folders of processes that no longer run; return how many."""
    removed = 0
    for folder in cache_dir.glob(f"{PREFIX}*"):
        match = _NAME.match(folder.name)
        if match and not _runs(int(match.group(1))):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    if removed:
        log.info("removed %d temporary folder(s) of earlier runs", removed)
    return removed


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
