"""One decoding child, as seen by its parent: start it, send it a file, read its checked answer."""

import array
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.jail import answers, wire
from detection_worker.media.jail.wire import ProtocolError
from detection_worker.media.values import DecodedMedia, DecodeOrder, Empty

PROGRAM = (sys.executable, "-P", "-m", "detection_worker.media.jail.child")
JAIL_PARTS = ("rlimits", "landlock", "seccomp")
LOOK_UP_MS = 50
"""Interval at which a waiting parent checks for cancellation, ms."""
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME")
CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # One malloc arena: each further one reserves 64 MiB of the bounded address space.
    "MALLOC_ARENA_MAX": "1",
    # Keep freed pages for the next file: faulting them in again took half the time of a small JPEG
    # (5.2 ms against 2.7 ms at 640 x 480). 32 MiB is the most that glibc accepts.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}
REAP_TIMEOUT_S = 5.0
_STATM_BYTES = 256
"""More than the seven numbers have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Deadline and cancellation of a wait for a child.

    Attributes:
        deadline_s: Time on ``time.monotonic``, seconds.
        check: Called several times a second; raises to stop waiting.
    """

    deadline_s: float
    check: Callable[[], None]


def scrubbed_environment() -> dict[str, str]:
    """Return the environment of a child: what Python needs and nothing else, no credentials."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    if "PYTHONPATH" in os.environ:  # absolute, because the child runs in the root directory
        entries = os.environ["PYTHONPATH"].split(os.pathsep)
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(e).absolute()) for e in entries if e)
    return kept | CHILD_ENVIRONMENT


class ChildProcess:
    """A running child; one thread at a time may use it.

    Attributes:
        decoded: Number of files sent to it.
        ready: Whether it has loaded its libraries.
        jail: Sandbox parts in effect, as the child reports; known when it is ready.

    The thread that creates it must outlive it: the kernel kills the child when that thread ends.

    Args:
        program: What to run; it gets a socket's descriptor and our process id as arguments.
        empty: Makes the arrays that units are received into.
        trust_list: Descriptor of a list as ``ManifestReader`` takes it.

    Raises:
        OSError: No process could be started.
    """

    def __init__(
        self,
        program: Sequence[str] = PROGRAM,
        *,
        empty: Empty = np.empty,
        trust_list: int | None = None,
    ) -> None:
        self._empty = empty
        self.decoded = 0
        self.ready = False
        self.jail: tuple[str, ...] = ()
        self._idle_resident_bytes = 0
        self._statm: FileIO | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _start(program, theirs, trust_list)
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._sock = ours
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process runs; reaps it if not."""
        return self._process.poll() is None

    def grown_bytes(self) -> int:
        """Memory held beyond what the child held before its first file."""
        return self._resident_bytes() - self._idle_resident_bytes

    def _resident_bytes(self) -> int:
        if self._statm is None:
            return 0
        try:
            # Kept open: looked at after every file.
            pages = os.pread(self._statm.fileno(), _STATM_BYTES, 0).split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):  # the child was killed meanwhile
            return 0

    def wait_ready(self, patience: Patience) -> None:
        """Wait until the child has loaded its libraries.

        Raises:
            JobError: DECODE_CRASHED or TIMEOUT.
        """
        if self.ready:
            return
        try:
            header = self._header(patience)
        except ProtocolError as exc:
            raise _garbage(exc) from exc
        if header["type"] != "ready":
            raise _garbage(ProtocolError("not ready"))
        self.jail = tuple(name for name in JAIL_PARTS if name in header.get("jail", ()))
        self.ready = True
        with suppress(OSError):
            self._statm = FileIO(f"/proc/{self.pid}/statm")
        self._idle_resident_bytes = self._resident_bytes()

    def decode(
        self, fd: int, order: DecodeOrder, *, patience: Patience, on_progress: Callable[[], None]
    ) -> DecodedMedia:
        """Return what the child makes of an open file.

        After an error other than the child's own report the child is in an unknown state.

        Raises:
            ReportedError: The child refused the file; it can be used again.
            JobError: TIMEOUT or DECODE_CRASHED.
        """
        self.decoded += 1
        try:
            self._send(wire.pack_order(order), fd)
            return self._answer(order, patience=patience, on_progress=on_progress)
        except ProtocolError as exc:
            raise _garbage(exc) from exc

    def _answer(
        self, order: DecodeOrder, *, patience: Patience, on_progress: Callable[[], None]
    ) -> DecodedMedia:
        header = self._header(patience)
        while header["type"] == "progress":
            on_progress()
            header = self._header(patience)
        if header["type"] == "failed":
            error = answers.parse_failed(header)
            if error.code is ErrorCode.DECODE_CRASHED:  # a bug; the child is about to end
                raise error
            raise ReportedError(error)
        if header["type"] != "done":
            raise ProtocolError("unknown type")
        announced = answers.parse_done(header, order)
        return answers.receive_arrays(
            announced, lambda b: self._fill(b, patience), empty=self._empty
        )

    def kill(self) -> None:
        """End the process now, whatever it does, and reap it."""
        self._process.kill()
        try:
            self._process.wait(REAP_TIMEOUT_S)
        finally:
            self._sock.close()
            if self._statm is not None:
                self._statm.close()

    def _send(self, frame: bytes, fd: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            sent = self._sock.sendmsg([frame], rights)
        except OSError as exc:
            raise self._crashed() from exc
        if sent != len(frame):  # an idle child has an empty buffer many times this size
            raise self._crashed()

    def _header(self, patience: Patience) -> dict[str, Any]:
        prefix = self._exactly(wire.LENGTH.size, patience)
        return wire.parse_header(self._exactly(wire.header_length(prefix), patience))

    def _exactly(self, count: int, patience: Patience) -> bytes:
        buffer = bytearray(count)
        self._fill(memoryview(buffer), patience)
        return bytes(buffer)

    def _fill(self, buffer: memoryview, patience: Patience) -> None:
        got = 0
        while got < len(buffer):
            try:
                count = self._sock.recv_into(buffer[got:])
            except BlockingIOError:
                self._wait(patience)
                continue
            except OSError as exc:
                raise self._crashed() from exc
            if not count:
                raise self._crashed()
            got += count

    def _wait(self, patience: Patience) -> None:
        patience.check()
        left_s = patience.deadline_s - time.monotonic()
        if left_s <= 0:
            raise JobError(ErrorCode.TIMEOUT, "decoding took longer than allowed")
        self._poll.poll(min(LOOK_UP_MS, left_s * 1000 + 1))

    def _crashed(self) -> JobError:
        try:
            status: int | None = self._process.wait(REAP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = None
        return JobError(ErrorCode.DECODE_CRASHED, f"the decoder {_cause(status)}")


class ReportedError(Exception):
    """A healthy child reports that the file is at fault.

    Attributes:
        error: The reported error.
    """

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


def _start(
    program: Sequence[str], theirs: socket.socket, trust_list: int | None
) -> subprocess.Popen[bytes]:
    trusted = [] if trust_list is None else [trust_list]
    return subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        [*program, str(theirs.fileno()), str(os.getpid()), *(f"/dev/fd/{fd}" for fd in trusted)],
        env=scrubbed_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # a hijacked child must not write into the worker's log
        pass_fds=(theirs.fileno(), *trusted),
        start_new_session=True,
    )


def _cause(status: int | None) -> str:
    if status is None:
        return "closed its connection"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _garbage(exc: ProtocolError) -> JobError:
    return JobError(ErrorCode.DECODE_CRASHED, f"the decoder answered nonsense: {exc}")
