"""Deletes wait for each other while work goes on, and are written before a lease ends."""

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from detection_worker.core.messages.admission import HoldLimits
from detection_worker.metrics import Metrics
from detection_worker.pipeline.messages.acks import AckWriter, busy_linger_s
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Message
from detection_worker.sources.base import (
    EntryFailure,
    QueueFacts,
    ReceivedMessage,
    VisibilityChange,
)


class Queue:
    """Notes the calls that delete."""

    def __init__(self) -> None:
        self.deleted: list[list[str]] = []

    def delete(self, handles: Sequence[tuple[str, str]]) -> list[EntryFailure]:
        self.deleted.append([message_id for message_id, _ in handles])
        return []

    def receive(self, **_: object) -> list[ReceivedMessage]:
        raise AssertionError("nothing is received here")

    def change_visibility(self, changes: Sequence[VisibilityChange]) -> list[EntryFailure]:
        raise AssertionError(changes)

    def dead_letter(self, message: ReceivedMessage, **_: object) -> None:
        raise AssertionError(message)

    def facts(self) -> QueueFacts:
        raise AssertionError("read at the start only")


class Rig:
    """An ack writer over a queue, on a clock that stands still."""

    def __init__(self, *, visibility_s: int, linger_s: float) -> None:
        self.now_s = 0.0
        self.queue = Queue()
        self.in_flight = InFlight(
            visibility_s=visibility_s,
            tick_s=1.0,
            limits=HoldLimits(messages=100, seconds=1e9),
            clock=lambda: self.now_s,
        )
        self.acks = AckWriter(
            self.queue,
            self.in_flight,
            Metrics(),
            busy_linger_s=linger_s,
            clock=lambda: self.now_s,
        )

    def receive(self, count: int) -> list[Message]:
        received = [
            ReceivedMessage(
                message_id=f"m{i}",
                receipt_handle=f"h{i}",
                body="{}",
                receive_count=1,
                sent_at_s=None,
                attributes={},
            )
            for i in range(count)
        ]
        return list(self.in_flight.admit(received, accept=True).new)

    def finish(self, message: Message) -> threading.Event:
        deleted = threading.Event()
        assert self.acks.put(message, visibility_s=None, done=lambda _: deleted.set())
        return deleted


@pytest.fixture
def start() -> Iterator[Callable[..., Rig]]:
    started: list[Rig] = []

    def run(*, visibility_s: int = 30, linger_s: float = 2.0) -> Rig:
        rig = Rig(visibility_s=visibility_s, linger_s=linger_s)
        rig.acks.start()
        started.append(rig)
        return rig

    yield run
    for rig in started:
        rig.acks.close()


def test_ten_deletes_share_one_call_however_slowly_they_come(start: Callable[..., Rig]) -> None:
    rig = start()
    messages = rig.receive(12)  # two of them stay in work

    for message in messages[:10]:
        last = rig.finish(message)
        rig.now_s += 0.19

    assert last.wait(30)
    assert rig.queue.deleted == [[f"m{i}" for i in range(10)]]


def test_fewer_are_deleted_when_the_first_has_waited_long_enough(
    start: Callable[..., Rig],
) -> None:
    rig = start()
    first, second, _ = rig.receive(3)

    rig.finish(first)
    rig.now_s += 1.9
    deleted = rig.finish(second)
    rig.now_s += 0.2

    assert deleted.wait(30)
    assert rig.queue.deleted == [["m0", "m1"]]


def test_a_lease_that_ends_soon_is_not_waited_for(start: Callable[..., Rig]) -> None:
    rig = start(visibility_s=30)
    first, second, _ = rig.receive(3)
    rig.finish(first)
    rig.now_s = 26.1  # of the lease 3.9 s are left

    assert rig.finish(second).wait(30)
    assert [m for call in rig.queue.deleted for m in call] in (["m1", "m0"], ["m0", "m1"])


@pytest.mark.parametrize(
    ("visibility_s", "fifo", "linger_s"),
    [
        pytest.param(30, False, 2.0, id="the default"),
        pytest.param(12, False, 1.0, id="a short lease"),
        pytest.param(3, False, 0.5, id="the shortest"),
        pytest.param(43_200, False, 2.0, id="the longest"),
        pytest.param(30, True, 0.5, id="FIFO"),
    ],
)
def test_how_long_a_delete_may_linger(*, visibility_s: int, fifo: bool, linger_s: float) -> None:
    assert busy_linger_s(visibility_s, fifo=fifo) == linger_s
