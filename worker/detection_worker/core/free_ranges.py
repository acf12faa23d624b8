"""Which parts of a block of memory are free: first fit, neighbours joined."""

from bisect import bisect_left

ALIGNMENT = 64
"""Bytes; a cache line. Every range begins at a multiple of it."""


class FreeRanges:
    """The free ranges of ``size`` bytes. Not thread-safe.

    Args:
        size: Bytes, a positive multiple of ``ALIGNMENT``.

    Raises:
        ValueError: The size is not.
    """

    def __init__(self, size: int) -> None:
        if size < ALIGNMENT or size % ALIGNMENT:
            raise ValueError(f"{size = } is no positive multiple of {ALIGNMENT}")
        self._size = size
        # Ascending, disjoint and never adjacent.
        self._starts = [0]
        self._stops = [size]

    def __repr__(self) -> str:
        return f"<FreeRanges free={self.free} of {self._size} ranges={len(self._starts)}>"

    @property
    def free(self) -> int:
        """Free bytes, in whatever pieces."""
        return sum(self._stops) - sum(self._starts)

    def take(self, count: int) -> int | None:
        """Return the start of ``count`` bytes that are the caller's now; None without room.

        Low addresses are taken first: what was used before is mapped already.

        Args:
            count: Bytes, >= 1; rounded up to a multiple of ``ALIGNMENT``.

        Raises:
            ValueError: The count is not positive.
        """
        wanted = _rounded(count)
        for i, start in enumerate(self._starts):
            if self._stops[i] - start >= wanted:
                self._shrink(i, wanted)
                return start
        return None

    def give(self, start: int, count: int) -> None:
        """Take back what ``take`` gave.

        Args:
            start: As ``take`` returned it.
            count: As ``take`` got it.

        Raises:
            ValueError: Some of it is free already, or lies outside.
        """
        stop = start + _rounded(count)
        i = bisect_left(self._starts, start)
        before = self._stops[i - 1] if i else 0
        after = self._starts[i] if i < len(self._starts) else self._size
        if start < before or stop > after or start % ALIGNMENT:
            raise ValueError(f"{start} to {stop} was not taken")
        joins_before, joins_after = (
            i > 0 and before == start,
            i < len(self._starts) and after == stop,
        )
        if joins_before and joins_after:
            self._stops[i - 1] = self._stops.pop(i)
            del self._starts[i]
        elif joins_before:
            self._stops[i - 1] = stop
        elif joins_after:
            self._starts[i] = start
        else:
            self._starts.insert(i, start)
            self._stops.insert(i, stop)

    def _shrink(self, i: int, wanted: int) -> None:
        self._starts[i] += wanted
        if self._starts[i] == self._stops[i]:
            del self._starts[i], self._stops[i]


def _rounded(count: int) -> int:
    if count < 1:
        raise ValueError(f"{count = } is not positive")
    return -(-count // ALIGNMENT) * ALIGNMENT
