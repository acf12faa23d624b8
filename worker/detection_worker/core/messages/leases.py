"""Leases on messages: which to extend now, which are lost, which show no progress.

A lease is the visibility timeout of one delivery. All times are seconds on one monotonic clock,
passed in by the caller, so that a jump of the wall clock changes nothing.
"""

from dataclasses import dataclass

from detection_worker.core.messages.states import (
    OPEN,
    SIGNS_OF_LIFE,
    Event,
    State,
    after_delivery,
    next_state,
)

MAX_LEASE_S = 43_200.0
"""SQS ends every lease 12 hours after the receive and refuses, rather than shortens, an extension
beyond it (API reference, ChangeMessageVisibility)."""

WAITING_PATIENCE = 10
"""Waiting in a queue is no stall, but no message waits without end: after this many times the
patience with work in progress it was lost track of and is handed back."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """One message in flight here.

    Attributes:
        message_id: Stays over redeliveries.
        receipt_handle: The newest one seen; only this one deletes or extends.
        received_s: When that delivery arrived.
        deadline_s: When the message becomes visible to others.
        progress_s: Last sign of life of the work on it.
        state: Moved by the table only.
    """

    message_id: str
    receipt_handle: str
    received_s: float
    deadline_s: float
    progress_s: float
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Extend this lease to ``seconds`` from now."""

    message_id: str
    receipt_handle: str
    seconds: int


class LeaseTable:
    """Every lease of this process, by message id. Not thread-safe: its owner locks.

    Args:
        visibility_s: Length that a lease is given at the receive and by each extension.
        tick_s: How often ``due`` is called; leases are extended early enough for two chances.
    """

    def __init__(self, *, visibility_s: float, tick_s: float) -> None:
        self._visibility_s = visibility_s
        self._renew_below_s = max(visibility_s / 3, 2 * tick_s)
        self._leases: dict[str, Lease] = {}
        self._open = 0

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._leases

    @property
    def open(self) -> int:
        """Leases whose outcome is not decided."""
        return self._open

    def take(self, message_id: str, receipt_handle: str, *, now_s: float) -> bool:
        """Note a delivery; return True if the message is new here.

        The newest handle of a message in flight replaces the older one, and its work goes on.
        """
        known = self._leases.get(message_id)
        deadline_s = now_s + self._visibility_s
        if known is None:
            self._leases[message_id] = Lease(
                message_id=message_id,
                receipt_handle=receipt_handle,
                received_s=now_s,
                deadline_s=deadline_s,
                progress_s=now_s,
                state=after_delivery(State.DROPPED),
            )
            self._open += self._leases[message_id].state in OPEN
            return True
        known.receipt_handle, known.received_s = receipt_handle, now_s
        known.deadline_s = deadline_s
        self._set(known, after_delivery(known.state))
        return False

    def state(self, message_id: str) -> State:
        """Return where a message is; ``DROPPED`` for one that is not in flight here."""
        lease = self._leases.get(message_id)
        return State.DROPPED if lease is None else lease.state

    def handle(self, message_id: str) -> str | None:
        """Return the newest receipt handle, or None if the message is not in flight here."""
        lease = self._leases.get(message_id)
        return lease.receipt_handle if lease else None

    def move(self, message_id: str, event: Event, *, now_s: float) -> State | None:
        """Execute a row of the table; return the new state, None if the table refuses the event.

        Args:
            message_id: SQS message id.
            event: What happened.
            now_s: When; a sign of life counts from then.
        """
        lease = self._leases.get(message_id)
        to = None if lease is None else next_state(lease.state, event)
        if lease is None or to is None:
            return None
        self._set(lease, to)
        if event in SIGNS_OF_LIFE:
            lease.progress_s = now_s
        if to is State.DROPPED:
            del self._leases[message_id]
        return to

    def _set(self, lease: Lease, state: State) -> None:
        self._open += (state in OPEN) - (lease.state in OPEN)
        lease.state = state

    def holds(self, message_id: str, *, now_s: float, margin_s: float) -> bool:
        """Say whether the message is ours for at least ``margin_s`` more seconds."""
        lease = self._leases.get(message_id)
        return lease is not None and lease.deadline_s - now_s > margin_s

    def due(self, *, now_s: float, stall_s: float) -> list[Extension]:
        """Return the leases to extend now: near their end, and their work alive.

        Once one lease is due, others past half of their time come along: ten share one call.
        """
        live = [
            x
            for x in self._leases.values()
            if x.state in OPEN and not _is_stalled(x, now_s, stall_s)
        ]
        if not any(x.deadline_s - now_s <= self._renew_below_s for x in live):
            return []
        chosen = [x for x in live if x.deadline_s - now_s <= self._visibility_s / 2]
        return [e for e in (self._extension(x, now_s) for x in chosen) if e.seconds > 0]

    def extended(self, extension: Extension, *, now_s: float) -> None:
        """Note that ``extension`` succeeded at ``now_s`` (the time before the call was made)."""
        lease = self._leases.get(extension.message_id)
        if lease is not None and lease.receipt_handle == extension.receipt_handle:
            lease.deadline_s = now_s + extension.seconds

    def is_loss(self, refused: Extension) -> bool:
        """Say whether a refused extension means that the lease is lost.

        A newer handle may have arrived, or the outcome may have been decided, while the call was
        under way: only the refusal of the newest handle of an open message is a loss.
        """
        lease = self._leases.get(refused.message_id)
        return (
            lease is not None
            and lease.state in OPEN
            and lease.receipt_handle == refused.receipt_handle
        )

    def expired(self, *, now_s: float) -> list[str]:
        """Return the messages whose lease has run out."""
        return [x.message_id for x in self._leases.values() if x.deadline_s <= now_s]

    def stalled(self, *, now_s: float, stall_s: float) -> list[str]:
        """Return the messages without a sign of life for ``stall_s``; waiting ones, ten times."""
        return [
            x.message_id
            for x in self._leases.values()
            if x.state in OPEN and _is_stalled(x, now_s, stall_s)
        ]

    def _extension(self, lease: Lease, now_s: float) -> Extension:
        left_s = MAX_LEASE_S - (now_s - lease.received_s) - 1
        return Extension(
            message_id=lease.message_id,
            receipt_handle=lease.receipt_handle,
            seconds=int(min(self._visibility_s, left_s)),
        )


def _is_stalled(lease: Lease, now_s: float, stall_s: float) -> bool:
    patience_s = stall_s if lease.state is State.WORKING else stall_s * WAITING_PATIENCE
    return now_s - lease.progress_s > patience_s
