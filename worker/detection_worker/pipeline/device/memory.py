"""Memory that a feeder shares with the process that owns the device. Linux only.

Each feeder has one block: the files that it decodes lie in it until they are scored. A file that
finds no room there gets a block of its own. Memory is given back when its last array is gone.
"""

import fcntl
import math
import mmap
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detection_worker.core.free_ranges import FreeRanges

AVAILABLE: Final = hasattr(os, "memfd_create")
"""This system has such memory; elsewhere this module can be imported, not used."""


class BadMemory(Exception):  # noqa: N818 - reads as what it says
    """A feeder sent memory that cannot be trusted to stay."""


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed_memory(size: int) -> int:
    """Return the descriptor of ``size`` bytes that nobody can shrink: reading them cannot fail.

    Raises:
        OSError: No memory or no descriptor is left.
    """
    fd = os.memfd_create("detection-units", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _seals())
    except BaseException:
        os.close(fd)
        raise
    return fd


def mapped(fd: int) -> NDArray[np.uint8]:
    """Return the bytes behind a descriptor; they stay mapped as long as the array.

    They are writable, though nobody here writes: torch copies what is not.

    Raises:
        BadMemory: They are not those of ``sealed_memory``, so that reading them might end the
            process.
        OSError: They cannot be mapped.
    """
    found = os.fstat(fd)
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as exc:
        raise BadMemory("no sealed memory") from exc
    # Pages of hugetlbfs may not be there when they are touched. Asked of the file system: the
    # block of a file in memory is as large where the node merges pages into huge ones.
    page_bytes = os.fstatvfs(fd).f_bsize
    if ~seals & _seals() or page_bytes != mmap.PAGESIZE or not found.st_size:
        raise BadMemory("no sealed memory")
    return np.frombuffer(mmap.mmap(fd, found.st_size), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an array lies.

    Attributes:
        offset: From the start of the block to its first byte.
        fd: Descriptor of a block of its own; None if it lies in the feeder's.
    """

    offset: int
    fd: int | None


class _Block:
    """Bytes that arrays are made of; ``on_gone`` is called when no array needs them any more."""

    __slots__ = ("__array_interface__", "_keep", "_on_gone", "address", "place")

    def __init__(
        self,
        keep: NDArray[np.uint8],
        *,
        at: int,
        size: int,
        place: Place,
        on_gone: Callable[[], None],
    ) -> None:
        self._keep = keep
        self._on_gone = on_gone
        self.place = place
        self.address = keep.__array_interface__["data"][0] + at
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (self.address, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._on_gone()


class SharedMemory:
    """A feeder's memory. Thread-safe.

    Args:
        fd: Descriptor of the feeder's block, of ``sealed_memory``; it is taken over.
    """

    def __init__(self, fd: int) -> None:
        try:
            size = os.fstat(fd).st_size
            self._bytes = np.frombuffer(mmap.mmap(fd, size), dtype=np.uint8)
        finally:
            os.close(fd)
        self._lock = threading.Lock()
        self._free = FreeRanges(size)
        # Arrays end in any thread at any moment, even while the lock is held.
        self._gone: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def __repr__(self) -> str:
        return f"<SharedMemory free={self.free} of {self.size}>"

    @property
    def size(self) -> int:
        """Bytes of the feeder's block."""
        return len(self._bytes)

    @property
    def free(self) -> int:
        """Bytes of it that no array lies in."""
        with self._lock:
            self._collect()
            return self._free.free

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a new array, its values undefined; never waits for room.

        Args:
            shape: At least one element.
            dtype: Type of the elements.

        Raises:
            OSError: The feeder's block has no room for it, and the machine no other.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        block = self._taken(size) or _own_block(size)
        return np.asarray(block).view(dtype).reshape(shape)

    def _taken(self, size: int) -> _Block | None:
        with self._lock:
            self._collect()
            at = self._free.take(size)
        if at is None:
            return None
        return _Block(
            self._bytes,
            at=at,
            size=size,
            place=Place(offset=at, fd=None),
            on_gone=lambda: self._gone.put((at, size)),
        )

    def _collect(self) -> None:
        while not self._gone.empty():
            self._free.give(*self._gone.get())


def _own_block(size: int) -> _Block:
    fd = sealed_memory(size)
    try:
        keep = np.frombuffer(mmap.mmap(fd, size), dtype=np.uint8)
    except BaseException:
        os.close(fd)
        raise
    return _Block(
        keep, at=0, size=size, place=Place(offset=0, fd=fd), on_gone=lambda: os.close(fd)
    )


def place_of(array: NDArray[Any]) -> Place | None:
    """Return where an array lies in shared memory; None if it does not, or in pieces."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, _Block) or not array.flags.c_contiguous:
        return None
    address: int = array.__array_interface__["data"][0]
    return Place(offset=base.place.offset + address - base.address, fd=base.place.fd)
