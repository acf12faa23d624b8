"""The rules of a queue, with the time passed in."""

import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detection_testing.aws.journal import JournalEvent
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.values import (
    MAX_VISIBILITY_S,
    Counts,
    Disorder,
    QueueSettings,
    Redrive,
)

ARN = "arn:aws:sqs:us-east-1:123456789012:"


def queue_of(name: str = "q", *, disorder: Disorder | None = None, **changes: Any) -> SqsQueue:
    """A queue without a journal."""
    return SqsQueue(
        name=name,
        arn=ARN + name,
        settings=QueueSettings(**changes),
        disorder=disorder or Disorder(),
    )


def pair_of(
    *, max_receive_count: int, journal: list[JournalEvent] | None = None, **changes: Any
) -> tuple[SqsQueue, SqsQueue]:
    """A queue and its dead-letter queue."""
    dead = queue_of("q-dlq")
    redrive = Redrive(target_arn=dead.arn, max_receive_count=max_receive_count)
    queue = SqsQueue(
        name="q",
        arn=ARN + "q",
        settings=QueueSettings(redrive=redrive, **changes),
        find_queue={dead.arn: dead}.get,
        journal=journal,
    )
    return queue, dead


def bodies(queue: SqsQueue, *, now_s: float, max_messages: int = 10) -> list[str]:
    """Receive; return the bodies."""
    return [d.message.body for d in queue.receive(now_s=now_s, max_messages=max_messages)]


def test_a_message_stays_hidden_for_the_visibility_timeout_and_then_comes_again() -> None:
    queue = queue_of(visibility_timeout_s=30)
    sent = queue.send("a", now_s=0.0)

    [first] = queue.receive(now_s=1.0)
    hidden = queue.receive(now_s=30.9)
    [second] = queue.receive(now_s=31.0)

    assert hidden == []
    assert first.message.message_id == second.message.message_id == sent.message_id
    assert (first.receive_count, second.receive_count) == (1, 2)
    assert first.handle != second.handle
    assert second.first_received_s == 1.0


def test_the_visibility_timeout_of_a_receive_overrides_the_queue_s() -> None:
    queue = queue_of(visibility_timeout_s=30)
    queue.send("a", now_s=0.0)

    queue.receive(now_s=0.0, visibility_s=5)

    assert bodies(queue, now_s=4.9) == []
    assert bodies(queue, now_s=5.0) == ["a"]


def test_a_receive_with_visibility_0_leaves_the_message_for_the_next_receive() -> None:
    queue = queue_of()
    queue.send("a", now_s=0.0)

    queue.receive(now_s=0.0, visibility_s=0)

    assert bodies(queue, now_s=0.0) == ["a"]


@pytest.mark.parametrize("visibility_s", [-1, 43_201])
def test_a_visibility_timeout_outside_0_to_12_hours_is_refused(visibility_s: int) -> None:
    queue = queue_of()

    with pytest.raises(SqsError, match="Must be between 0 and 43200"):
        queue.receive(now_s=0.0, visibility_s=visibility_s)


def test_a_delayed_message_appears_after_its_delay() -> None:
    queue = queue_of(delay_s=10)
    queue.send("queue's delay", now_s=0.0)
    queue.send("own delay", now_s=0.0, delay_s=5)

    assert queue.counts(now_s=0.0) == Counts(visible=0, in_flight=0, delayed=2)
    assert bodies(queue, now_s=5.0) == ["own delay"]
    assert bodies(queue, now_s=10.0) == ["queue's delay"]


def test_deleting_twice_succeeds() -> None:
    queue = queue_of()
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=0.0)

    queue.delete(got.handle, now_s=1.0)
    queue.delete(got.handle, now_s=2.0)

    assert queue.counts(now_s=100.0) == Counts(visible=0, in_flight=0, delayed=0)


def test_a_delete_with_the_handle_of_an_earlier_delivery_succeeds_but_deletes_nothing() -> None:
    journal: list[JournalEvent] = []
    queue = SqsQueue(name="q", arn=ARN, settings=QueueSettings(), journal=journal)
    queue.send("a", now_s=0.0)
    [first] = queue.receive(now_s=0.0)
    [second] = queue.receive(now_s=30.0)

    queue.delete(first.handle, now_s=31.0)

    assert queue.counts(now_s=31.0).in_flight == 1
    queue.delete(second.handle, now_s=32.0)
    assert queue.counts(now_s=32.0) == Counts(visible=0, in_flight=0, delayed=0)
    assert [e.kind for e in journal][-2:] == ["stale_delete", "deleted"]


def test_an_expired_handle_deletes_a_message_that_nobody_received_since() -> None:
    queue = queue_of()
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=0.0)

    queue.delete(got.handle, now_s=1000.0)

    assert bodies(queue, now_s=1000.0) == []


@pytest.mark.parametrize("act", ["delete", "change"])
@pytest.mark.parametrize(
    "handle", [pytest.param("garbage", id="garbage"), pytest.param("", id="other queue")]
)
def test_what_is_no_handle_of_this_queue_is_refused(act: str, handle: str) -> None:
    other = queue_of("other")
    other.send("a", now_s=0.0)
    handle = handle or other.receive(now_s=0.0)[0].handle
    queue = queue_of()

    def call() -> None:
        if act == "delete":
            queue.delete(handle, now_s=0.0)
        else:
            queue.change_visibility(handle, 5, now_s=0.0)

    with pytest.raises(SqsError) as caught:
        call()
    assert caught.value.code == "ReceiptHandleIsInvalid"


def test_a_new_visibility_timeout_counts_from_the_call() -> None:
    queue = queue_of(visibility_timeout_s=60)
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=0.0)

    queue.change_visibility(got.handle, 10, now_s=15.0)

    assert bodies(queue, now_s=24.9) == []
    assert bodies(queue, now_s=25.0) == ["a"]


def test_a_changed_visibility_timeout_is_forgotten_at_the_next_receive() -> None:
    queue = queue_of(visibility_timeout_s=30)
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=0.0)
    queue.change_visibility(got.handle, 100, now_s=0.0)

    queue.receive(now_s=100.0)

    assert queue.next_event_s() == 130.0


def test_visibility_0_shows_the_message_at_once() -> None:
    queue = queue_of()
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=0.0)

    queue.change_visibility(got.handle, 0, now_s=1.0)

    assert bodies(queue, now_s=1.0) == ["a"]


def test_12_hours_count_from_the_receive_and_an_extension_beyond_is_refused() -> None:
    queue = queue_of()
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=1000.0, visibility_s=MAX_VISIBILITY_S)

    queue.change_visibility(got.handle, MAX_VISIBILITY_S - 100, now_s=1100.0)
    with pytest.raises(SqsError) as caught:
        queue.change_visibility(got.handle, MAX_VISIBILITY_S - 99, now_s=1100.0)

    assert caught.value.code == "InvalidParameterValue"
    assert "beyond the limit" in caught.value.message
    assert queue.next_event_s() == 1000.0 + MAX_VISIBILITY_S


def test_a_message_that_is_visible_again_cannot_be_extended() -> None:
    queue = queue_of()
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=0.0)

    with pytest.raises(SqsError) as caught:
        queue.change_visibility(got.handle, 30, now_s=30.0)
    assert caught.value.code == "MessageNotInflight"


@pytest.mark.parametrize("how", ["redelivered", "deleted"])
def test_a_handle_that_holds_nothing_cannot_extend(how: str) -> None:
    queue = queue_of()
    queue.send("a", now_s=0.0)
    [got] = queue.receive(now_s=0.0)
    if how == "deleted":
        queue.delete(got.handle, now_s=30.0)
    else:
        queue.receive(now_s=30.0)

    with pytest.raises(SqsError, match="not available for visibility") as caught:
        queue.change_visibility(got.handle, 30, now_s=31.0)
    assert caught.value.code == "InvalidParameterValue"


def test_the_receive_beyond_the_limit_moves_the_message_to_the_dead_letter_queue() -> None:
    queue, dead = pair_of(max_receive_count=2)
    sent = queue.send("a", now_s=5.0, attributes={"n": {"DataType": "String"}})
    queue.receive(now_s=10.0)
    queue.receive(now_s=100.0)
    assert queue.counts(now_s=200.0).visible == 1

    third = queue.receive(now_s=200.0)

    [moved] = dead.receive(now_s=201.0)
    assert third == []
    assert moved.message.message_id == sent.message_id
    assert moved.message.attributes == {"n": {"DataType": "String"}}
    assert moved.message.source_arn == queue.arn
    assert (moved.message.sent_s, moved.first_received_s, moved.receive_count) == (5.0, 10.0, 3)
    assert queue.counts(now_s=201.0) == Counts(visible=0, in_flight=0, delayed=0)


def test_a_receive_goes_on_past_messages_that_it_dead_letters() -> None:
    queue, _ = pair_of(max_receive_count=1, visibility_timeout_s=1)
    for n in range(10):
        queue.send(f"old {n}", now_s=0.0)
    queue.receive(now_s=0.0, max_messages=10)
    queue.advance(1.0)
    queue.send("new", now_s=1.0)

    assert bodies(queue, now_s=2.0, max_messages=1) == ["new"]


def test_retention_counts_from_the_first_sending_in_the_dead_letter_queue_too() -> None:
    queue, dead = pair_of(max_receive_count=1, retention_s=1000)
    dead.settings = QueueSettings(retention_s=100)
    queue.send("a", now_s=0.0)
    queue.receive(now_s=0.0)
    queue.receive(now_s=60.0)

    assert dead.counts(now_s=99.0).visible == 1
    assert dead.counts(now_s=100.0).visible == 0


def test_retention_removes_a_message_in_flight_too() -> None:
    queue = queue_of(retention_s=60)
    queue.send("a", now_s=0.0)
    queue.receive(now_s=59.0)

    assert queue.counts(now_s=60.0) == Counts(visible=0, in_flight=0, delayed=0)


def test_too_many_in_flight_is_over_limit_and_a_smaller_room_is_filled() -> None:
    queue = queue_of(disorder=Disorder(max_in_flight=3))
    for n in range(5):
        queue.send(str(n), now_s=0.0)

    assert len(queue.receive(now_s=0.0, max_messages=10)) == 3
    with pytest.raises(SqsError) as caught:
        queue.receive(now_s=0.0)
    assert caught.value.code == "OverLimit"


def test_a_purge_removes_every_message() -> None:
    queue = queue_of()
    queue.send("in flight", now_s=0.0)
    queue.receive(now_s=0.0)
    queue.send("visible", now_s=0.0)
    queue.send("delayed", now_s=0.0, delay_s=9)

    assert queue.purge(now_s=1.0) == 3
    assert bodies(queue, now_s=100.0) == []


def test_moving_back_makes_new_messages_of_the_visible_ones() -> None:
    queue, dead = pair_of(max_receive_count=1)
    sent = queue.send("a", now_s=0.0)
    queue.receive(now_s=0.0)
    queue.receive(now_s=60.0)

    moved = dead.move(lambda _: queue, limit=10, now_s=70.0)

    [again] = queue.receive(now_s=70.0)
    assert moved == 1
    assert dead.counts(now_s=70.0).visible == 0
    assert again.message.body == "a"
    assert again.message.message_id != sent.message_id
    assert (again.receive_count, again.message.sent_s) == (1, 70.0)


def test_disorder_repeats_with_its_seed_and_loses_nothing() -> None:
    def run(seed: int) -> list[str]:
        disorder = Disorder(seed=seed, window=20, duplicate_rate=0.3)
        queue = queue_of(disorder=disorder)
        for n in range(50):
            queue.send(str(n), now_s=0.0)
        received: list[str] = []
        while got := bodies(queue, now_s=1.0):
            received += got
        return received

    one = run(1)

    assert one == run(1) != run(2)
    assert one != sorted(one, key=int)
    assert set(one) == {str(n) for n in range(50)}
    assert max(Counter(one).values()) > 1


def test_the_owner_of_a_message_delivered_twice_is_the_later_delivery() -> None:
    queue = queue_of(disorder=Disorder(duplicate_rate=1.0))
    queue.send("a", now_s=0.0)
    [first] = queue.receive(now_s=0.0)
    [second] = queue.receive(now_s=0.0)

    queue.delete(first.handle, now_s=1.0)
    assert queue.counts(now_s=1.0).in_flight == 1
    queue.delete(second.handle, now_s=1.0)
    assert bodies(queue, now_s=1.0) == []


class TestFifo:
    """Message groups."""

    def fifo(self, **changes: Any) -> SqsQueue:
        return queue_of("q.fifo", fifo=True, content_deduplication=True, **changes)

    def test_a_group_with_a_message_in_flight_waits_and_others_go_on(self) -> None:
        queue = self.fifo()
        for group, body in [("a", "a1"), ("a", "a2"), ("b", "b1")]:
            queue.send(body, now_s=0.0, group_id=group)

        assert bodies(queue, now_s=0.0, max_messages=1) == ["a1"]
        assert bodies(queue, now_s=0.0) == ["b1"]
        assert bodies(queue, now_s=0.0) == []

    def test_a_message_that_comes_back_keeps_its_place(self) -> None:
        queue = self.fifo()
        for body in ("a1", "a2", "a3"):
            queue.send(body, now_s=0.0, group_id="a")
        [first, second] = queue.receive(now_s=0.0, max_messages=2)

        queue.delete(second.handle, now_s=1.0)
        assert bodies(queue, now_s=1.0) == []
        queue.change_visibility(first.handle, 0, now_s=2.0)

        assert bodies(queue, now_s=2.0) == ["a1", "a3"]

    def test_the_same_content_within_five_minutes_is_stored_once(self) -> None:
        queue = self.fifo()
        one = queue.send("a", now_s=0.0, group_id="g")
        same = queue.send("a", now_s=299.0, group_id="g")
        later = queue.send("a", now_s=300.0, group_id="g")

        assert same.message_id == one.message_id != later.message_id
        assert queue.counts(now_s=300.0).visible == 2

    def test_an_expired_handle_does_not_delete(self) -> None:
        queue = self.fifo()
        queue.send("a", now_s=0.0, group_id="g")
        [got] = queue.receive(now_s=0.0)

        with pytest.raises(SqsError, match="expired"):
            queue.delete(got.handle, now_s=30.0)

    def test_a_message_without_a_group_is_refused(self) -> None:
        with pytest.raises(SqsError) as caught:
            self.fifo().send("a", now_s=0.0)
        assert caught.value.code == "MissingParameter"


class QueueMachine(RuleBasedStateMachine):
    """Random calls against a model that only knows which messages live and who holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.journal: list[JournalEvent] = []
        self.queue, self.dead = pair_of(max_receive_count=4, journal=self.journal)
        self.alive: set[str] = set()
        self.owner: dict[str, tuple[str, float]] = {}
        self.handles: list[tuple[str, str]] = []

    @rule(delay_s=st.integers(0, 20))
    def send(self, delay_s: int) -> None:
        sent = self.queue.send("x", now_s=self.now_s, delay_s=delay_s)
        assert sent.message_id not in self.alive
        self.alive.add(sent.message_id)

    @rule(limit=st.integers(1, 10), visibility_s=st.integers(1, 60))
    def receive(self, limit: int, visibility_s: int) -> None:
        got = self.queue.receive(now_s=self.now_s, max_messages=limit, visibility_s=visibility_s)
        assert len(got) <= limit
        for delivery in got:
            message_id = delivery.message.message_id
            assert message_id in self.alive
            assert message_id not in self.held(), "delivered while another delivery held it"
            assert delivery.handle not in {handle for _, handle in self.handles}
            assert delivery.receive_count <= 4
            self.owner[message_id] = (delivery.handle, self.now_s + visibility_s)
            self.handles.append((message_id, delivery.handle))
        for message_id in self.dead_ids():
            self.alive.discard(message_id)

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        message_id, handle = data.draw(st.sampled_from(self.handles))
        self.queue.delete(handle, now_s=self.now_s)
        if self.owner[message_id][0] == handle:
            self.alive.discard(message_id)

    @precondition(lambda self: self.handles)
    @rule(data=st.data(), seconds=st.integers(0, 60))
    def change(self, data: st.DataObject, seconds: int) -> None:
        message_id, handle = data.draw(st.sampled_from(self.handles))
        holds = message_id in self.held() and self.owner[message_id][0] == handle
        try:
            self.queue.change_visibility(handle, seconds, now_s=self.now_s)
        except SqsError:
            assert not holds
        else:
            assert holds
            self.owner[message_id] = (handle, self.now_s + seconds)

    @rule(seconds=st.floats(0.0, 40.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def the_counts_add_up(self) -> None:
        counts = self.queue.counts(now_s=self.now_s)
        assert sum(counts) == len(self.alive)
        assert counts.in_flight == len(self.held())
        assert sum(self.dead.counts(now_s=self.now_s)) == len(self.dead_ids())

    @invariant()
    def the_model_s_holders_hold(self) -> None:
        held = {h.message_id for h in self.queue.in_flight(now_s=self.now_s)}
        assert held == self.held()

    def teardown(self) -> None:
        """Nothing is lost: whatever lives can be received in the end."""
        found: set[str] = set()
        later_s = self.now_s + 1000.0
        for queue in (self.queue, self.dead):
            while got := queue.receive(now_s=later_s, max_messages=10):
                found |= {d.message.message_id for d in got}
        assert found == self.alive | self.dead_ids()

    def held(self) -> set[str]:
        return {m for m, (_, end) in self.owner.items() if end > self.now_s and m in self.alive}

    def dead_ids(self) -> set[str]:
        return {e.message_id for e in self.journal if e.kind == "dead_lettered"}


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)


@pytest.mark.slow
def test_a_call_at_a_depth_of_100_000_messages_costs_microseconds() -> None:
    queue = queue_of(visibility_timeout_s=3600)
    for n in range(100_000):
        queue.send("x", now_s=float(n) / 1000)
    started_s = time.process_time()

    for _ in range(1000):
        for delivery in queue.receive(now_s=100.0, max_messages=10):
            queue.change_visibility(delivery.handle, 60, now_s=100.0)
            queue.delete(delivery.handle, now_s=100.0)

    assert queue.counts(now_s=100.0).visible == 90_000
    assert time.process_time() - started_s < 21_000 * 100e-6
