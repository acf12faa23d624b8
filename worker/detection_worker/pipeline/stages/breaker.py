"""Stops receiving while the worker's own surroundings fail: credentials, clock, network, disk.

Destinations count among them: a bucket that denies one result denies them all.
"""

import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.pipeline.files.downloads import job_folder
from detection_worker.storage.base import Storage

CHECK_PAUSE_S = 5.0
MAX_CHECK_PAUSE_S = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One step of one job, to be tried again without its message.

    Attributes:
        check: What kind of step it is, as in /readyz.
        paused: Logged at the first failure.
        works: Logged when it works again.
        again: Does the step once more; raises ``JobError`` if it fails again.
        destination: Where to. Steps of one kind to one destination share one trial.
    """

    check: str
    paused: str
    works: str
    again: Callable[[], object]
    destination: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What is tried, whatever the job."""
        return self.check, self.destination


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """Why and since when nothing is received.

    Attributes:
        reason: What was wrong, in a sentence.
        trial: The step that failed; it is tried again.
        check_at_s: When.
        pause_s: From then to the check after it.
    """

    reason: str
    trial: Trial
    check_at_s: float
    pause_s: float


class CircuitBreaker:
    """Opens at a failure that is not a message's fault. Thread-safe.

    Messages received meanwhile would fail one after the other, and each receive brings them nearer
    to the dead-letter queue. So nothing is received, and the step that failed is tried again
    without its message, until it works or fails for a reason of the message's own.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], _Open] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why nothing is received, by the kind of the step; empty while all is well."""
        with self._lock:
            return {check: opened.reason for (check, _), opened in self._open.items()}

    @property
    def reason(self) -> str | None:
        """The first of the reasons; None while all is well."""
        return next(iter(self.reasons.values()), None)

    @contextmanager
    def watching(self, trial: Trial) -> Iterator[None]:
        """Note the error of a step, and let it pass on."""
        try:
            yield
        except JobError as exc:
            self.note(exc, trial)
            raise

    def note(self, exc: JobError, trial: Trial) -> None:
        """Open if a step failed for a reason that is not the message's."""
        if not exc.environment:
            return
        with self._lock:
            if trial.key in self._open:
                return
            self._open[trial.key] = _Open(
                reason=exc.message,
                trial=trial,
                check_at_s=self._clock() + CHECK_PAUSE_S,
                pause_s=CHECK_PAUSE_S,
            )
        log.error("%s; no message is at fault: %s", trial.paused, exc.message)

    def allows(self) -> bool:
        """Return whether messages may be received; checks again when it is time to."""
        for due in self._take_due():
            self._check(due)
        return not self._open

    def _take_due(self) -> list[_Open]:
        """Return what to check now; nobody else checks it meanwhile, however long that takes."""
        with self._lock:
            now_s = self._clock()
            due = [opened for opened in self._open.values() if opened.check_at_s <= now_s]
            for opened in due:
                self._open[opened.trial.key] = replace(opened, check_at_s=math.inf)
        return due

    def _check(self, opened: _Open) -> None:
        reason: str | None = opened.reason
        try:
            reason = _reason_against(opened.trial)
        finally:
            self._note_check(opened, reason)
        if reason is None:
            log.info("%s: receiving goes on", opened.trial.works)

    def _note_check(self, opened: _Open, reason: str | None) -> None:
        with self._lock:
            if reason is None:
                del self._open[opened.trial.key]
                return
            self._open[opened.trial.key] = replace(
                opened,
                reason=reason,
                check_at_s=self._clock() + opened.pause_s,
                pause_s=min(opened.pause_s * 2, MAX_CHECK_PAUSE_S),
            )


def _reason_against(trial: Trial) -> str | None:
    """Return what still stands against every message; None if nothing does."""
    try:
        trial.again()
    except JobError as exc:
        return exc.message if exc.environment else None
    return None


def download_trial(storage: Storage, cache_dir: Path, location: S3Location) -> Trial:
    """Return the download of an object as a step that can be tried again: it fetches one byte."""

    def again() -> None:
        folder = new_folder(cache_dir)
        try:
            storage.probe(location, folder / "probe")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return Trial(
        check="downloads",
        paused="receiving is paused until downloads work again",
        works="downloads work again",
        again=again,
    )


def new_folder(cache_dir: Path) -> Path:
    """Return a new private folder for one download.

    Raises:
        JobError: ``S3_UNAVAILABLE``; the disk is full or not ours.
    """
    try:
        return job_folder(cache_dir)
    except OSError as exc:
        raise JobError(
            ErrorCode.S3_UNAVAILABLE,
            f"no room for downloads: {exc.strerror}",
            environment=True,
        ) from exc
