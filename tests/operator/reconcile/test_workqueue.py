import random
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
    assert first.wait(20)
    queue.close()
    thread.join(20)

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


class CountingClock:
    """The real time, and how often it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return time.monotonic()


def working(queue: WorkQueue[int], threads: int) -> tuple[list[threading.Thread], list[int]]:
    """Return threads that take keys until the queue is closed, and what they took."""
    taken: list[int] = []

    def work() -> None:
        while (key := queue.get()) is not None:
            taken.append(key)
            queue.done(key)

    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    return started, taken


def wait_for(taken: list[int], count: int) -> None:
    end_s = time.monotonic() + 20.0
    while len(taken) < count and time.monotonic() < end_s:
        time.sleep(0.001)
    assert len(taken) == count


def test_one_key_does_not_wake_every_thread() -> None:
    clock = CountingClock()
    queue: WorkQueue[int] = WorkQueue(clock)
    threads, taken = working(queue, 32)
    queue.add(0)
    wait_for(taken, 1)

    before = clock.asked
    for key in range(1, 51):
        queue.add(key, 0.002)
        wait_for(taken, key + 1)
    queue.close()
    for thread in threads:
        thread.join(20.0)

    assert clock.asked - before < 50 * 16


def test_no_key_is_forgotten_by_those_who_wait() -> None:
    queue: WorkQueue[int] = WorkQueue(time.monotonic)
    threads, taken = working(queue, 8)
    delays = random.Random(7)
    for key in range(1000):
        queue.add(key, delays.choice((0.0, 0.0, 0.001, 0.02)))
        if key % 50 == 0:
            time.sleep(0.005)
    wait_for(taken, 1000)
    queue.close()
    for thread in threads:
        thread.join(20.0)

    assert sorted(taken) == list(range(1000))
    assert not any(thread.is_alive() for thread in threads)


def test_a_key_that_comes_again_while_it_is_worked_on_wakes_who_waits() -> None:
    queue: WorkQueue[int] = WorkQueue(time.monotonic)
    queue.add(1)
    assert queue.get() == 1
    queue.add(1)
    threads, taken = working(queue, 2)
    queue.add(2, 0.01)
    wait_for(taken, 1)

    queue.done(1)

    wait_for(taken, 2)
    queue.close()
    for thread in threads:
        thread.join(20.0)
    assert taken == [2, 1]
