import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from detection_operator.reconcile.workqueue import WorkQueue
from detection_testing.scenes.fakes import FakeClock


def test_a_key_is_handed_out_once_however_often_it_was_added() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock().monotonic_s)
    for _ in range(5):
        queue.add("a")

    assert queue.get(0) == "a"
    assert queue.get(0) is None


def test_a_key_that_is_worked_on_is_not_handed_out_beside() -> None:
    queue: WorkQueue[str] = WorkQueue(FakeClock().monotonic_s)
    queue.add("a")
    assert queue.get(0) == "a"
    queue.add("a")

    assert queue.get(0) is None
    queue.done("a")
    assert queue.get(0) == "a"


def test_the_earlier_of_two_times_counts() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock.monotonic_s)
    queue.add("a", 60)
    queue.add("a", 5)
    queue.add("a", 30)

    clock.advance(4)
    assert queue.get(0) is None
    clock.advance(1)
    assert queue.get(0) == "a"
    clock.advance(100)
    assert queue.get(0) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), min_size=1, max_size=30))
def test_every_key_comes_out_once_at_its_earliest_time(adds: list[tuple[int, float]]) -> None:
    clock = FakeClock()
    queue: WorkQueue[int] = WorkQueue(clock.monotonic_s)
    for key, after_s in adds:
        queue.add(key, after_s)
    clock.advance(100)

    seen = [queue.get(0) for _ in range(len(adds) + 1)]

    keys = [key for key in seen if key is not None]
    earliest = {key: min(s for k, s in adds if k == key) for key, _ in adds}
    assert sorted(keys) == sorted(earliest)
    assert [earliest[key] for key in keys] == sorted(earliest.values())


def test_those_who_wait_are_woken_by_work_and_by_the_end() -> None:
    queue: WorkQueue[str] = WorkQueue(time.monotonic)
    got: list[str | None] = []
    first = threading.Event()

    def work() -> None:
        got.append(queue.get())
        first.set()
        got.append(queue.get())

    thread = threading.Thread(target=work)
    thread.start()
    queue.add("a")
    assert first.wait(5)
    queue.close()
    thread.join(5)

    assert got == ["a", None]


def test_work_that_takes_long_shows() -> None:
    clock = FakeClock()
    queue: WorkQueue[str] = WorkQueue(clock.monotonic_s)
    queue.add("a")
    queue.get(0)
    clock.advance(42)

    assert queue.longest_s() == 42
    queue.done("a")
    assert queue.longest_s() == 0
