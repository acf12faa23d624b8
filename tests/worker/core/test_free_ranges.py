"""Laws of the allocator of shared memory, and its refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.free_ranges import ALIGNMENT, FreeRanges

BLOCKS = 32
SIZE = BLOCKS * ALIGNMENT

Step = tuple[bool, int]
"""Take or give; how many bytes, or which of those taken."""


def rounded(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


@given(st.lists(st.tuples(st.booleans(), st.integers(1, SIZE))))
def test_ranges_are_disjoint_and_nothing_is_lost(steps: list[Step]) -> None:
    ranges = FreeRanges(SIZE)
    taken: list[tuple[int, int]] = []
    for take, number in steps:
        if take:
            start = ranges.take(number)
            if start is not None:
                taken.append((start, number))
        elif taken:
            ranges.give(*taken.pop(number % len(taken)))
        used = [b for at, count in taken for b in range(at, at + rounded(count))]
        assert len(used) == len(set(used))
        assert all(at % ALIGNMENT == 0 and at + rounded(n) <= SIZE for at, n in taken)
        assert ranges.free == SIZE - len(used)
    for each in taken:
        ranges.give(*each)
    assert ranges.take(SIZE) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, SIZE))), st.integers(1, SIZE))
def test_the_lowest_gap_that_is_large_enough_is_taken(steps: list[Step], wanted: int) -> None:
    ranges = FreeRanges(SIZE)
    taken: list[tuple[int, int]] = []
    for take, number in steps:
        if take and (at := ranges.take(number)) is not None:
            taken.append((at, number))
        elif not take and taken:
            ranges.give(*taken.pop(number % len(taken)))
    used = {b for at, count in taken for b in range(at, at + rounded(count), ALIGNMENT)}
    fitting = (
        at
        for at in range(0, SIZE - rounded(wanted) + 1, ALIGNMENT)
        if used.isdisjoint(range(at, at + rounded(wanted), ALIGNMENT))
    )

    assert ranges.take(wanted) == next(fitting, None)


def test_neighbours_are_joined_whichever_comes_back_first() -> None:
    for order in ((0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)):
        ranges = FreeRanges(3 * ALIGNMENT)
        taken = [ranges.take(ALIGNMENT) for _ in range(3)]
        assert taken == [0, ALIGNMENT, 2 * ALIGNMENT]
        for i in order:
            ranges.give(i * ALIGNMENT, ALIGNMENT)
        assert repr(ranges) == f"<FreeRanges free={3 * ALIGNMENT} of {3 * ALIGNMENT} ranges=1>"


@pytest.mark.parametrize(
    ("start", "count"),
    [(0, 64), (64, 128), (128, 64), (96, 64), (SIZE, 64), (SIZE - 64, 128), (-64, 64), (64, 0)],
)
def test_what_was_not_taken_cannot_be_given_back(start: int, count: int) -> None:
    ranges = FreeRanges(SIZE)
    assert (ranges.take(64), ranges.take(64), ranges.take(64)) == (0, 64, 128)
    ranges.give(0, 64)
    ranges.give(128, 64)

    with pytest.raises(ValueError, match="not"):
        ranges.give(start, count)
    assert ranges.free == SIZE - 64


@pytest.mark.parametrize("count", [0, -1])
def test_nothing_cannot_be_taken(count: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        FreeRanges(SIZE).take(count)


@pytest.mark.parametrize("size", [0, -64, 63, 65])
def test_a_size_must_be_whole_cache_lines(size: int) -> None:
    with pytest.raises(ValueError, match="multiple"):
        FreeRanges(size)
