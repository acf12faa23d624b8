"""A pool of decoding children behind the ``Decoder`` port: limits, cancelling, replacing."""

import logging
import os
import queue
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import Cancelled, JobError, UsageError
from detection_worker.media.jail.process import ChildProcess, Patience, ReportedError
from detection_worker.media.jail.trust import held_trust_list
from detection_worker.media.jail.wire import order_of
from detection_worker.media.values import DecodedMedia, DecodeRequest, Empty
from detection_worker.settings import MIB, MediaLimits

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""Loading the libraries from a cold disk was measured at 3 s; a throttled pod takes longer."""
RETRY_START_S = 1.0
WAIT_S = 0.05
"""Interval at which a caller that waits for a free child checks for cancellation."""
GROWTH_BYTES = 256 * MIB
"""Memory that a child may keep beyond its idle state. More is a leak or fragments: replace it."""


class ProcessDecoder:
    """Decodes in child processes. Any number of threads may call ``decode``.

    Args:
        children: Processes, and so parallel decodes, >= 1.
        recycle_after: Files after which a child is replaced, >= 1. Starting one costs as much CPU
            as a hundred and more small images.
        empty: Makes the arrays that units are received into, for example in shared memory.
        trust_list: PEM file with the issuers of trusted C2PA signatures.

    Raises:
        UsageError: The trust list cannot be read, or holds no certificate.
    """

    def __init__(
        self,
        children: int,
        *,
        recycle_after: int = 500,
        empty: Empty = np.empty,
        trust_list: Path | None = None,
    ) -> None:
        if children < 1 or recycle_after < 1:
            raise ValueError(f"{children = } and {recycle_after = } must be at least 1")
        self._count = children
        self._recycle_after = recycle_after
        self._trust_list = None if trust_list is None else held_trust_list(trust_list)
        self._empty = empty
        self._idle: deque[ChildProcess] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        # One thread starts every child: the kernel kills a child when its starter ends.
        self._starter = threading.Thread(target=self._start_children, name="decoder-starter")
        self._starter.daemon = True

    def start(self) -> None:
        """Start every child without waiting; later calls do nothing."""
        with self._changed:
            if self._starter.ident is not None or self._closed.is_set():
                return
            self._starter.start()
            wanted = self._count
        for _ in range(wanted):
            self._orders.put(True)  # noqa: FBT003 - one more child

    def grow(self, children: int) -> None:
        """Have at least ``children`` processes from now on; never fewer than before."""
        with self._changed:
            more, self._count = children - self._count, max(self._count, children)
            begun = self._starter.ident is not None and not self._closed.is_set()
        for _ in range(more if begun else 0):
            self._orders.put(True)  # noqa: FBT003 - one more child

    def warm(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start every child and wait until all are ready.

        Raises:
            UsageError: One did not get ready in time.
        """
        self.start()
        deadline_s = time.monotonic() + timeout_s
        taken: list[ChildProcess] = []
        patience = Patience(deadline_s=deadline_s, check=_expect(deadline_s))
        try:
            for _ in range(self._count):
                taken.append(
                    self._borrow(patience.check)
                )  # each counts at once: it must go back if the next fails
                taken[-1].wait_ready(patience)
        except (JobError, Cancelled) as exc:
            raise UsageError(
                "The media decoder did not start!\nCheck that the worker's packages av, numpy and "
                "pillow are installed: python -c 'import detection_worker.media.jail.child'"
            ) from exc
        finally:
            for child in taken:
                self._give_back(child)
        log.info("decoders ready", extra={"children": len(taken), "jail": taken[0].jail})

    def decode(
        self,
        request: DecodeRequest,
        *,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> DecodedMedia:
        """Return the file as units; see ``Decoder``.

        Raises:
            JobError: With a media code.
            Cancelled: ``cancelled`` said so or the pool was closed.
        """
        self.start()
        check = self._checker(cancelled)
        fd = _open(request)
        try:
            child = self._borrow(check)
            try:
                return self._decode(child, fd, request, check=check, on_progress=on_progress)
            finally:
                self._give_back(child)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Kill every child; decodes in progress raise ``Cancelled``."""
        with self._changed:
            self._closed.set()
            children = list(self._idle)
            self._idle.clear()
            self._changed.notify_all()
        for child in children:
            child.kill()
        if self._starter.ident is not None:
            self._orders.put(False)  # noqa: FBT003 - no more children
            self._starter.join()
        held, self._trust_list = self._trust_list, None
        if held is not None:
            os.close(held)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def pids(self) -> tuple[int, ...]:
        """Process ids of the children that wait for work."""
        with self._changed:
            return tuple(child.pid for child in self._idle)

    def _decode(
        self,
        child: ChildProcess,
        fd: int,
        request: DecodeRequest,
        *,
        check: Callable[[], None],
        on_progress: Callable[[], None],
    ) -> DecodedMedia:
        starting = Patience(deadline_s=time.monotonic() + START_TIMEOUT_S, check=check)
        try:
            child.wait_ready(starting)
            deadline_s = time.monotonic() + request.limits.decode_timeout_s
            return child.decode(
                fd,
                order_of(request),
                patience=Patience(deadline_s=deadline_s, check=check),
                on_progress=on_progress,
            )
        except ReportedError as exc:
            raise exc.error from None
        except BaseException as exc:
            child.kill()
            if self._closed.is_set():  # its child may have died of the closing first
                raise Cancelled("the decoder was closed") from exc
            if isinstance(exc, JobError):
                log.warning("decoding child replaced", extra={"reason": exc.code})
            raise

    def _checker(self, cancelled: Callable[[], bool]) -> Callable[[], None]:
        def check() -> None:
            if self._closed.is_set() or cancelled():
                raise Cancelled("decoding was cancelled")

        return check

    def _borrow(self, check: Callable[[], None]) -> ChildProcess:
        while True:
            with self._changed:
                while not self._idle:
                    check()
                    self._changed.wait(WAIT_S)
                check()
                child = self._idle.popleft()
            if child.alive():
                return child
            self._give_back(child)
            if not child.ready:  # or a broken installation would start children without end
                raise JobError(ErrorCode.DECODE_CRASHED, "the decoder did not start")

    def _give_back(self, child: ChildProcess) -> None:
        """Return a child to the pool, or replace it if it is dead or worn."""
        worn = child.decoded >= self._recycle_after or child.grown_bytes() > GROWTH_BYTES
        usable = child.alive() and not worn
        with self._changed:
            if usable and not self._closed.is_set():
                self._idle.appendleft(child)
                self._changed.notify()
                return
        child.kill()
        self._orders.put(True)  # noqa: FBT003 - one more child

    def _start_children(self) -> None:
        while self._orders.get() and not self._closed.is_set():
            try:
                child = ChildProcess(empty=self._empty, trust_list=self._trust_list)
            except OSError as exc:
                log.warning("cannot start a decoding child", extra={"error": exc.strerror})
                self._orders.put(True)  # noqa: FBT003 - one more child
                self._closed.wait(RETRY_START_S)
                continue
            self._add(child)
        # No child is started from here on, so none can outlive this thread.

    def _add(self, child: ChildProcess) -> None:
        with self._changed:
            if not self._closed.is_set():
                self._idle.append(child)
                self._changed.notify()
                return
        child.kill()


def _expect(deadline_s: float) -> Callable[[], None]:
    def check() -> None:
        if time.monotonic() > deadline_s:
            raise Cancelled("the children did not get ready in time")

    return check


def _open(request: DecodeRequest) -> int:
    try:
        fd = os.open(request.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise JobError(
            ErrorCode.INTERNAL, f"cannot open the file to decode: {exc.strerror}"
        ) from exc
    try:
        _check_file(os.fstat(fd), request.limits)
    except JobError:
        os.close(fd)
        raise
    return fd


def _check_file(found: os.stat_result, limits: MediaLimits) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise JobError(ErrorCode.UNSUPPORTED_TYPE, "not a regular file")
    if not found.st_size:
        raise JobError(ErrorCode.EMPTY_FILE, "the file is empty")
    if found.st_size > limits.max_bytes:
        raise JobError(
            ErrorCode.TOO_LARGE,
            f"the file has {found.st_size} bytes; at most {limits.max_bytes} are allowed",
        )
