"""Batches: every unit exactly once, in order, never more than fit."""

from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.batching import Batcher


def batcher(max_units: int = 8, max_wait_s: float = 0.01) -> Batcher[str, str]:
    return Batcher(max_units=max_units, max_wait_s=max_wait_s)


def test_units_of_several_jobs_share_a_batch() -> None:
    b = batcher()
    b.add("image", "a", units=3, now_s=0)
    b.add("image", "b", units=2, now_s=0)

    taken = b.take()

    assert taken is not None
    lane, slices = taken
    assert lane == "image"
    assert [(s.job, s.start, s.stop) for s in slices] == [("a", 0, 3), ("b", 0, 2)]


def test_a_large_job_is_cut_and_its_neighbour_fills_the_rest() -> None:
    b = batcher(max_units=8)
    b.add("video", "long", units=10, now_s=0)
    b.add("video", "short", units=4, now_s=1)

    b.take()
    second = b.take()

    assert second is not None
    assert [(s.job, s.start, s.stop) for s in second[1]] == [("long", 8, 10), ("short", 0, 4)]


def test_lanes_never_mix_and_the_longest_wait_goes_first() -> None:
    b = batcher()
    b.add("audio", "late", units=1, now_s=5)
    b.add("image", "early", units=1, now_s=1)

    first = b.take()

    assert first is not None
    assert first[0] == "image"


def test_an_idle_device_waits_for_what_is_on_its_way_but_not_long() -> None:
    b = batcher(max_wait_s=0.01)
    b.add("image", "a", units=1, now_s=0)

    assert 0 < b.wait_s(now_s=0.004, more_coming=True) <= 0.006
    assert b.wait_s(now_s=0.02, more_coming=True) == 0
    assert b.wait_s(now_s=0.004, more_coming=False) == 0


def test_a_full_lane_does_not_wait() -> None:
    b = batcher(max_units=2)
    b.add("image", "a", units=2, now_s=0)

    assert b.wait_s(now_s=0, more_coming=True) == 0


def test_a_lane_may_have_a_limit_of_its_own_that_changes() -> None:
    limits: dict[str, int | None] = {"a": 2, "b": None}
    b: Batcher[str, str] = Batcher(max_units=4, max_wait_s=1.0, limit=limits.__getitem__)
    b.add("gpu", "a", units=9, now_s=0)
    b.add("cpu", "b", units=9, now_s=1)

    assert b.wait_s(now_s=0, more_coming=True) == 0, "one lane is full"
    taken = []
    for limit in (2, 1):
        limits["a"] = limit
        batch = b.take()
        assert batch is not None
        taken.append([(s.job, s.stop - s.start) for s in batch[1]])
    limits["a"] = 9
    b.take()
    last = b.take()

    assert taken == [[("a", 2)], [("a", 1)]]
    assert last is not None
    assert last[1][0].stop == 4


def test_nothing_to_take_is_none() -> None:
    assert batcher().take() is None


@given(
    jobs=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 50)), max_size=30),
    max_units=st.integers(1, 40),
)
def test_every_unit_is_scored_exactly_once_and_in_order(
    jobs: list[tuple[str, int]], max_units: int
) -> None:
    b: Batcher[str, int] = Batcher(max_units=max_units, max_wait_s=0)
    for i, (lane, units) in enumerate(jobs):
        b.add(lane, i, units=units, now_s=i)
    done = dict.fromkeys(range(len(jobs)), 0)

    while (taken := b.take()) is not None:
        lane, slices = taken
        assert sum(s.stop - s.start for s in slices) <= max_units
        for s in slices:
            assert jobs[s.job][0] == lane
            assert s.start == done[s.job]
            done[s.job] = s.stop

    assert [done[i] for i in range(len(jobs))] == [units for _, units in jobs]
    assert len(b) == 0


def test_the_probe_tells_lanes_and_units() -> None:
    b = batcher()
    b.add("small", "a", units=3, now_s=0.0)
    b.add("large", "b", units=2, now_s=0.0)

    assert repr(b) == "<Batcher lanes=2 units=5>"
