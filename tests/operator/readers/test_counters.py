from hypothesis import given
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_operator.readers.counters import Counters
from detection_operator.readers.values import Work, WorkerState

steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans(), st.booleans()),
    max_size=40,
)


@given(steps)
def test_sums_never_fall_and_count_each_message_once(
    history: list[tuple[str, int, bool, bool]],
) -> None:
    counters = Counters()
    workers: dict[str, tuple[str, float, int]] = {}
    total, before = 0, 0
    for number, (place, more, restart, vanish) in enumerate(history):
        if vanish:
            workers.pop(place, None)
            counters.retain({uid for uid, _, _ in workers.values()})
            continue
        uid, started_s, done = workers.get(place, (f"{place}-{number}", float(number), 0))
        if restart:
            started_s, done = float(number), 0
        done, total = done + more, total + more
        workers[place] = (uid, started_s, done)
        counters.absorb(
            uid,
            WorkerState(
                busy=False,
                started_at_s=started_s,
                received=done,
                failed=done,
                served={MediaKind.IMAGE: Work(done, float(done), float(done))},
            ),
        )
        assert counters.received >= before
        before = counters.received

    assert counters.received == counters.failed == total
    assert sum(item.messages for item in counters.served()) == total


def test_a_worker_whose_counters_fell_restarted() -> None:
    counters = Counters()
    counters.absorb("a", WorkerState(busy=False, received=7))

    counters.absorb("a", WorkerState(busy=False, received=2))

    assert counters.received == 9
