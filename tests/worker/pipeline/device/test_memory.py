"""Shared memory: what is in it, who may shrink it, when it comes back."""

import fcntl
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detection_worker.pipeline.device.memory import (
    BadMemory,
    SharedMemory,
    mapped,
    place_of,
    sealed_memory,
)

SIZE = 1 << 16


@pytest.fixture
def fd() -> Iterator[int]:
    fd = sealed_memory(SIZE)
    yield os.dup(fd)
    os.close(fd)


def descriptors() -> int:
    gc.collect()  # what tests before this one have left open
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_a_feeder_writes_the_other_side_reads(fd: int) -> None:
    there = mapped(fd)
    memory = SharedMemory(fd)
    units = memory.empty((3, 5), np.float32)
    units[:] = np.arange(15).reshape(3, 5) / 7
    place = place_of(units)

    assert place is not None
    assert place.fd is None
    seen = there[place.offset : place.offset + units.nbytes].view(np.float32).reshape(3, 5)
    assert seen.tobytes() == units.tobytes()
    assert seen.flags.writeable  # or torch would copy it
    assert repr(memory) == f"<SharedMemory free={SIZE - 64} of {SIZE}>"


def test_nobody_can_shrink_or_grow_it(fd: int) -> None:
    for size in (0, SIZE - 1, SIZE + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.close(fd)


def test_memory_that_can_shrink_is_not_mapped(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 4096)
    unsealed = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 4096)
    pipe, other = os.pipe()
    fds = [unsealed, os.open(tmp_path / "file", os.O_RDWR), pipe, other, sealed_memory(0)]

    for fd in fds:
        with pytest.raises(BadMemory, match="no sealed memory"):
            mapped(fd)
        os.close(fd)


def test_memory_that_may_be_missing_when_it_is_read_is_not_mapped() -> None:
    huge = os.memfd_create("x", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
    os.ftruncate(huge, os.fstat(huge).st_blksize)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(huge, fcntl.F_ADD_SEALS, seals)

    with pytest.raises(BadMemory, match="no sealed memory"):
        mapped(huge)
    os.close(huge)


def test_pages_that_the_node_merges_are_mapped(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``shmem_enabled`` of transparent huge pages, Linux names blocks of 2 MiB."""
    found = os.fstat(fd)
    merged = os.stat_result(found, {"st_blksize": 2 << 20, "st_size": found.st_size})
    monkeypatch.setattr(os, "fstat", lambda _: merged)

    assert mapped(fd).nbytes == SIZE


def test_an_array_that_is_gone_makes_room(fd: int) -> None:
    memory = SharedMemory(fd)
    first = memory.empty((SIZE // 2,), np.uint8)
    second = memory.empty((SIZE // 2,), np.uint8)
    part = first[100:200].reshape(10, 10)
    del first
    gc.collect()
    assert memory.free == 0
    del part
    assert memory.free == SIZE // 2
    del second
    assert memory.free == memory.size == SIZE


def test_an_array_outlives_its_memory(fd: int) -> None:
    units = SharedMemory(fd).empty((8,), np.uint8)
    gc.collect()
    units[:] = 7

    assert units.sum() == 56


def test_without_room_an_array_gets_a_block_of_its_own(fd: int) -> None:
    memory, before = SharedMemory(fd), descriptors()
    large = memory.empty((SIZE + 4,), np.uint8)
    large[:] = 9
    place = place_of(large[4:])

    assert place is not None
    assert place.offset == 4
    assert place.fd is not None
    assert mapped(place.fd)[-4:].tolist() == [9] * 4
    assert memory.free == SIZE
    del large
    gc.collect()
    assert descriptors() == before


def test_only_whole_arrays_in_shared_memory_have_a_place(fd: int) -> None:
    units = SharedMemory(fd).empty((4, 6), np.uint8)
    offset = place_of(units)
    assert offset is not None

    assert place_of(units[:, ::2]) is None
    assert place_of(units.T) is None
    assert place_of(np.empty(3)) is None
    assert place_of(np.frombuffer(b"abc", np.uint8)) is None
    tail = place_of(units[2:])
    assert tail is not None
    assert tail.offset == offset.offset + 12


def test_threads_never_share_an_array(fd: int) -> None:
    memory = SharedMemory(fd)
    wrong: list[int] = []

    def work(value: int) -> None:
        for size in range(1, 400):
            units = memory.empty((size * 8,), np.uint8)
            units[:] = value
            if (units != value).any():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert memory.free == SIZE
