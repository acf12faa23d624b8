"""How many feeders a worker has, and the part of each in the worker's limits."""

from typing import Final

CORES_EACH: Final = 3
"""Decoding, and a share of the forward pass on a CPU, take two of them beside a busy feeder."""
MOST: Final = 8
"""By default: each takes memory, and more than a thousand messages a second need no more."""


def count_of(*, wanted: int | None, cores: int, gpu: bool, alone: bool) -> int:
    """Return the number of feeders; 0 does everything in one process.

    Args:
        wanted: The setting; None chooses by cores and device.
        cores: Usable ones, >= 1.
        gpu: The forward pass runs on a GPU: it needs a core that nothing else holds.
        alone: One process must do it all: it ends by itself, or hands results to its caller.
    """
    if alone:
        return 0
    if wanted is not None:
        return wanted
    if not gpu and cores < CORES_EACH:
        return 0
    return min(MOST, max(1, cores // CORES_EACH))


def share(total: int, *, feeders: int, index: int) -> int:
    """Return the part of a limit of the worker that one feeder gets, at least 1.

    Args:
        total: The limit, >= 1.
        feeders: How many feeders there are, >= 1.
        index: Which one, from 0.
    """
    return max(1, total // feeders + (index < total % feeders))
