"""Stops receiving while the worker's own surroundings fail: credentials, clock, network, disk."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from detection_contract.aws.s3_urls import S3Location
from detection_worker.errors import JobError
from detection_worker.pipeline.files.downloads import job_folder
from detection_worker.storage.base import Storage

CHECK_PAUSE_S = 5.0
MAX_CHECK_PAUSE_S = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """Why and since when nothing is received.

    Attributes:
        reason: What was wrong, in a sentence.
        location: Object whose download failed; it is asked for again.
        check_at_s: When.
        pause_s: From then to the check after it.
    """

    reason: str
    location: S3Location
    check_at_s: float
    pause_s: float


class CircuitBreaker:
    """Opens at a failure that is not a message's fault. Thread-safe.

    Messages received meanwhile would fail one after the other, and each receive brings them nearer
    to the dead-letter queue. So nothing is received, and the download that failed is tried again
    without its message, until it works or fails for a reason of the object's own.

    Args:
        storage: Where media come from.
        cache_dir: Where downloads go.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        storage: Storage,
        cache_dir: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._cache_dir = cache_dir
        self._clock = clock
        self._lock = threading.Lock()
        self._open: _Open | None = None

    @property
    def reason(self) -> str | None:
        """Why nothing is received; None while all is well."""
        opened = self._open
        return opened.reason if opened else None

    def note(self, exc: JobError, location: S3Location | None) -> None:
        """Open if a download failed for a reason that is not the message's."""
        if not exc.environment or location is None:
            return
        with self._lock:
            if self._open is not None:
                return
            self._open = _Open(
                reason=exc.message,
                location=location,
                check_at_s=self._clock() + CHECK_PAUSE_S,
                pause_s=CHECK_PAUSE_S,
            )
        log.error(
            "receiving is paused until downloads work again; no message is at fault: %s",
            exc.message,
        )

    def allows(self) -> bool:
        """Return whether messages may be received; checks again when it is time to."""
        due = self._take_due()
        if due is None:
            return self._open is None
        reason = self._check(due.location)
        with self._lock:
            self._open = None if reason is None else replace(due, reason=reason)
        if reason is None:
            log.info("downloads work again: receiving goes on")
        return reason is None

    def _take_due(self) -> _Open | None:
        """Return what to check now; its next check is later, so that one thread does it."""
        with self._lock:
            opened, now_s = self._open, self._clock()
            if opened is None or now_s < opened.check_at_s:
                return None
            pause_s = min(opened.pause_s * 2, MAX_CHECK_PAUSE_S)
            self._open = replace(opened, check_at_s=now_s + opened.pause_s, pause_s=pause_s)
            return self._open

    def _check(self, location: S3Location) -> str | None:
        """Return what still stands against any download; None if nothing does."""
        try:
            folder = job_folder(self._cache_dir)
        except OSError as exc:
            return f"no room for downloads: {exc.strerror}"
        try:
            self._storage.probe(location, folder / "probe")
        except JobError as exc:
            return exc.message if exc.environment else None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return None
