"""Pollers that wait for room are woken when there is some, and only then."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from detection_worker.core.messages.admission import HoldLimits
from detection_worker.core.messages.states import Event
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Message
from detection_worker.sources.base import ReceivedMessage


class WatchedInFlight(InFlight):
    """Counts how often a poller asks."""

    asked = 0

    def _ask(self, at_most: int) -> int:
        self.asked += 1
        return super()._ask(at_most)


def full(messages: int) -> tuple[WatchedInFlight, list[Message]]:
    in_flight = WatchedInFlight(
        visibility_s=60, tick_s=1.0, limits=HoldLimits(messages=messages, seconds=1e9)
    )
    received = [
        ReceivedMessage(
            message_id=f"m{i}",
            receipt_handle=f"h{i}",
            body="{}",
            receive_count=1,
            sent_at_s=None,
            attributes={},
        )
        for i in range(messages)
    ]
    return in_flight, list(in_flight.admit(received, accept=True).new)


@contextmanager
def waiting_poller(in_flight: WatchedInFlight) -> Iterator[list[int]]:
    """Run a poller that waits for room; yields what it was told, once it waits."""
    told: list[int] = []

    def poll() -> None:
        with in_flight.room(timeout_s=60.0, at_most=10) as count:
            told.append(count)

    poller = threading.Thread(target=poll)
    poller.start()
    while not in_flight._waiting:
        poller.join(0.001)
    yield told
    poller.join(60)
    assert not poller.is_alive()


def test_a_poller_sleeps_until_there_is_room_for_a_full_batch() -> None:
    in_flight, messages = full(40)

    with waiting_poller(in_flight) as told:
        for message in messages[:9]:
            in_flight.move(message, Event.SETTLED)
        assert in_flight.asked == 1  # as it began to wait
        in_flight.move(messages[9], Event.SETTLED)

    assert told == [10]
    assert in_flight.asked == 2


def test_who_waits_for_the_last_message_is_woken_by_it() -> None:
    in_flight, messages = full(1)
    empty: list[bool] = []
    waiter = threading.Thread(target=lambda: empty.append(in_flight.wait_empty(timeout_s=60.0)))
    waiter.start()

    in_flight.move(messages[0], Event.LEASE_LOST)

    waiter.join(60)
    assert empty == [True]
