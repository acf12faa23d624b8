"""The states of a message in this worker: one table, executed by ``leases`` and ``InFlight``.

Rules
-----
1. Every change of state is a row here. Nothing else says whether a message is open, closing or
   gone; the lease keeps the state that the last row gave it.
2. A pair of state and event without a row is refused: the caller must not act on it.
3. Each event belongs to one actor. Two threads that race (a job that ends while a drain hands its
   message back) bring the same event; the first one moves the state, the second one is refused.

Theory of operation
-------------------
SQS knows three states: sent, received ("in flight") and deleted. A received message is hidden for
its visibility timeout, a lease that the worker renews, and is deleted or shown again by its
receipt handle. This table divides SQS's "in flight" by what the worker does with the message::

    DROPPED --received--> HELD ----work_begun----> WORKING <--begun-- --paused--> WAITING
       ^                    |                          |                             |
       |                    +---------stalled----------+------------> REOPENED <-----+
       |                    |                                            |
       |                    +-----------------settled--------------------+
       |                                         v
       +-------------acknowledged------------ CLOSING <--write_begun-- --received--> ADOPTED
       +-------------lease_lost------------- (any)

``HELD``, ``WORKING``, ``WAITING`` and ``REOPENED`` are open: the lease is renewed, and the outcome
is still to be decided. ``CLOSING`` and ``ADOPTED`` are closed: the outcome waits to be written to
SQS, and a crash here costs one more delivery of a finished message, never its loss. A message that
this process does not have is ``DROPPED``; it may come again.

A second delivery of a message in flight here means that its visibility timeout ran out on SQS's
side, or that SQS delivered twice (standard queues deliver "at least once"). The message is
adopted: its state and its work stay, its lease and receipt handle are those of the new delivery.
A closed one becomes ``ADOPTED``: whatever was being written with the older handle may not have
counted, so it is written again.

References:
----------
"Delete":     https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
"Change":     https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
"Receive":    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
"Visibility": https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"FIFO":       https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """Where a message is in this worker."""

    HELD = "held"
    """Received; no stage has begun to work on it."""
    WORKING = "working"
    """A stage works on it; a pause in its signs of life is a stall."""
    WAITING = "waiting"
    """Waits for its turn in front of a stage, which is no stall."""
    REOPENED = "reopened"
    """Its work hung and was cancelled; only the failure is still to be reported."""
    CLOSING = "closing"
    """Its outcome is decided and is written with the newest receipt handle."""
    ADOPTED = "adopted"
    """Received again while its outcome was being written, which has to be written again."""
    DROPPED = "dropped"
    """Not in flight here: deleted, visible to others, lost, or never seen."""


class Event(StrEnum):
    """What happens to a message."""

    RECEIVED = "received"
    WORK_BEGUN = "work_begun"
    WORK_PAUSED = "work_paused"
    STALLED = "stalled"
    SETTLED = "settled"
    WRITE_BEGUN = "write_begun"
    ACKNOWLEDGED = "acknowledged"
    LEASE_LOST = "lease_lost"


class Actor(StrEnum):
    """Who brings an event about."""

    POLLER = "poller"
    STAGES = "stages"
    VISIBILITY_EXTENDER = "visibility extender"
    SETTLEMENT = "settlement"
    ACK_WRITER = "ack writer"


class Row(NamedTuple):
    """In ``state``, ``event``, which only ``by`` brings about, leads to ``to``."""

    state: State
    event: Event
    by: Actor
    to: State


OPEN: Final = frozenset({State.HELD, State.WORKING, State.WAITING, State.REOPENED})
"""The outcome is not decided yet; the lease is renewed."""
STARTED: Final = frozenset({State.WORKING, State.WAITING})
"""Worth finishing before the worker stops; the others are handed back at once."""

SIGNS_OF_LIFE: Final = frozenset({Event.WORK_BEGUN, Event.WORK_PAUSED, Event.STALLED})
"""The work made progress, or only its failure is left to report: patience counts from here."""

_POLLER, _STAGES, _EXTENDER = Actor.POLLER, Actor.STAGES, Actor.VISIBILITY_EXTENDER
_SETTLEMENT, _WRITER = Actor.SETTLEMENT, Actor.ACK_WRITER

ROWS: Final = (
    # A delivery of a message that is not in flight here. The lease is the VisibilityTimeout that
    # the receive asks for ("Receive"), so a crashed worker's messages are soon visible again.
    # On a FIFO queue no other message of the same group is delivered until this one is deleted or
    # visible ("FIFO"): the group's order holds as long as one receive asks for one message.
    Row(State.DROPPED, Event.RECEIVED, _POLLER, State.HELD),
    # Each delivery has a handle of its own, and a delete needs that of the most recent one; with
    # an older handle the call succeeds and the message may stay ("Delete"). So the new handle is
    # adopted in every state; the work goes on.
    Row(State.HELD, Event.RECEIVED, _POLLER, State.HELD),
    Row(State.WORKING, Event.RECEIVED, _POLLER, State.WORKING),
    Row(State.WAITING, Event.RECEIVED, _POLLER, State.WAITING),
    Row(State.REOPENED, Event.RECEIVED, _POLLER, State.REOPENED),
    # A message that is made visible (timeout 0) can be delivered at once to a long poll of this
    # very worker, before the call that released it has returned.
    Row(State.CLOSING, Event.RECEIVED, _POLLER, State.ADOPTED),
    Row(State.ADOPTED, Event.RECEIVED, _POLLER, State.ADOPTED),
    # Signs of life. They gate the renewal: SQS would hide a message whose work hangs for as long
    # as it is asked to, up to 12 hours after the receive ("Visibility").
    Row(State.HELD, Event.WORK_BEGUN, _STAGES, State.WORKING),
    Row(State.WORKING, Event.WORK_BEGUN, _STAGES, State.WORKING),
    Row(State.WAITING, Event.WORK_BEGUN, _STAGES, State.WORKING),
    Row(State.REOPENED, Event.WORK_BEGUN, _STAGES, State.WORKING),
    Row(State.HELD, Event.WORK_PAUSED, _STAGES, State.HELD),
    Row(State.WORKING, Event.WORK_PAUSED, _STAGES, State.WAITING),
    Row(State.WAITING, Event.WORK_PAUSED, _STAGES, State.WAITING),
    Row(State.REOPENED, Event.WORK_PAUSED, _STAGES, State.REOPENED),
    # A late sign of life changes nothing about a decided outcome.
    Row(State.CLOSING, Event.WORK_BEGUN, _STAGES, State.CLOSING),
    Row(State.CLOSING, Event.WORK_PAUSED, _STAGES, State.CLOSING),
    Row(State.ADOPTED, Event.WORK_BEGUN, _STAGES, State.ADOPTED),
    Row(State.ADOPTED, Event.WORK_PAUSED, _STAGES, State.ADOPTED),
    # No sign of life for too long: the work is cancelled, and the message stays in flight for the
    # report of the failure. Waiting messages too, after ten times the patience.
    Row(State.HELD, Event.STALLED, _EXTENDER, State.REOPENED),
    Row(State.WORKING, Event.STALLED, _EXTENDER, State.REOPENED),
    Row(State.WAITING, Event.STALLED, _EXTENDER, State.REOPENED),
    Row(State.REOPENED, Event.STALLED, _EXTENDER, State.REOPENED),
    # The outcome is decided: delete, dead-letter, or visible again after a delay. There is no row
    # for a closed message: nothing is settled twice.
    Row(State.HELD, Event.SETTLED, _SETTLEMENT, State.CLOSING),
    Row(State.WORKING, Event.SETTLED, _SETTLEMENT, State.CLOSING),
    Row(State.WAITING, Event.SETTLED, _SETTLEMENT, State.CLOSING),
    Row(State.REOPENED, Event.SETTLED, _SETTLEMENT, State.CLOSING),
    # The writer takes the newest handle, at the moment of its call and not earlier ("Delete").
    Row(State.CLOSING, Event.WRITE_BEGUN, _WRITER, State.CLOSING),
    Row(State.ADOPTED, Event.WRITE_BEGUN, _WRITER, State.CLOSING),
    # SQS accepted the call. If the message was received since, the call used an older handle: "the
    # request will succeed, but the message might not be deleted" ("Delete").
    Row(State.CLOSING, Event.ACKNOWLEDGED, _WRITER, State.DROPPED),
    Row(State.ADOPTED, Event.ACKNOWLEDGED, _WRITER, State.ADOPTED),
    # The visibility timeout ran out, or SQS refused the newest handle: another worker may have the
    # message. SQS ends every lease 12 hours after the receive and refuses, rather than shortens,
    # an extension beyond that ("Change").
    Row(State.HELD, Event.LEASE_LOST, _EXTENDER, State.DROPPED),
    Row(State.WORKING, Event.LEASE_LOST, _EXTENDER, State.DROPPED),
    Row(State.WAITING, Event.LEASE_LOST, _EXTENDER, State.DROPPED),
    Row(State.REOPENED, Event.LEASE_LOST, _EXTENDER, State.DROPPED),
    Row(State.CLOSING, Event.LEASE_LOST, _EXTENDER, State.DROPPED),
    Row(State.ADOPTED, Event.LEASE_LOST, _EXTENDER, State.DROPPED),
)
"""Every change of state there is."""

_NEXT: Final[Mapping[tuple[State, Event], State]] = {(r.state, r.event): r.to for r in ROWS}


def after_delivery(state: State) -> State:
    """Return the state after one more delivery; the table has such a row for every state."""
    return _NEXT[state, Event.RECEIVED]


def next_state(state: State, event: Event) -> State | None:
    """Return the state that ``event`` leads to; None if the table refuses it in ``state``."""
    return _NEXT.get((state, event))
