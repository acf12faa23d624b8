"""What the start of a process leaves in memory, and what of it the process needs no longer."""

import ctypes
import gc
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MADV_COLD: Final = 20
"""Reclaim these pages before others (Linux 5.4, ``linux/mman.h``); Python has no name for it."""
_SMAPS: Final = Path("/proc/self/smaps")


@contextmanager
def uncollected() -> Iterator[None]:
    """Hold automatic garbage collection while modules and models are loaded; also a decorator.

    Nearly all of it stays, and Python would look through it again and again: 0.2 s of a start.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def at_work() -> Iterator[None]:
    """Give back what only the start needed, and spare what is there now from the collector.

    Modules, models and clients are a quarter of a million objects. Python would look through all
    of them every few hundred files, which stops every thread for 0.1 s and more.
    """
    gc.collect()
    gc.freeze()
    give_back()
    try:
        yield
    finally:
        gc.unfreeze()


def give_back() -> None:
    """Return freed memory to the kernel, and pages of libraries that it can read again.

    Libraries run most of their code once, when they are loaded: of torch with CUDA's that is
    200 MiB, which the kernel would keep as if it were in use. What is needed comes back from the
    page cache by a minor fault. Does nothing where the kernel does not show what is mapped.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's; musl has none
        libc.malloc_trim(0)
    for start, length in _unchanged_code():
        # Cold first: pages that seem used when they are unmapped stay in the working set.
        for advice in (_MADV_COLD, mmap.MADV_DONTNEED):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), advice)


def _unchanged_code() -> list[tuple[int, int]]:
    """Return address and length of the mappings of libraries that are as in the file.

    Shared objects alone: they stay where they are, where another mapping might be replaced before
    it is given back.
    """
    found = []
    address = ""
    try:
        lines = _SMAPS.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):  # addresses, rights, offset, device, inode, path
            is_code = rest.startswith(("r-xp", "r--p")) and ".so" in rest.rpartition("/")[2]
            address = name if is_code else ""
        elif name == "Anonymous:" and address and rest.split()[0] == "0":
            start, _, end = address.partition("-")
            found.append((int(start, 16), int(end, 16) - int(start, 16)))
    return found
