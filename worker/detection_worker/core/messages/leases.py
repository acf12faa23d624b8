"""Leases on messages: which to extend now, which are lost, which show no progress.

A lease is the visibility timeout of one delivery. All times are seconds on one monotonic clock,
passed in by the caller, so that a jump of the wall clock changes nothing.
"""

from dataclasses import dataclass

MAX_LEASE_S = 43_200.0
"""SQS ends every lease 12 hours after the receive and refuses, rather than shortens, an extension
beyond it (API reference, ChangeMessageVisibility)."""

WAITING_PATIENCE = 10
"""Waiting in a queue is no stall, but nothing waits for ever: after so many times the patience
with work in progress, the message was lost sight of and is handed back."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """One message that this process holds.

    Attributes:
        message_id: Stays over redeliveries.
        receipt_handle: The newest one seen; only this one deletes or extends.
        received_s: When that delivery arrived.
        deadline_s: When the message becomes visible to others.
        progress_s: Last sign of life of the work on it.
        working: Somebody works on it now; otherwise it waits in a queue.
        closing: Its end is decided; it is extended no more.
    """

    message_id: str
    receipt_handle: str
    received_s: float
    deadline_s: float
    progress_s: float
    working: bool = False
    closing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Extend this lease to ``seconds`` from now."""

    message_id: str
    receipt_handle: str
    seconds: int


class LeaseTable:
    """Every lease of this process. Not thread-safe: its owner locks.

    Args:
        visibility_s: Length that a lease is given at the receive and by each extension.
        tick_s: How often ``due`` is asked; leases are extended early enough for two chances.
    """

    def __init__(self, *, visibility_s: float, tick_s: float) -> None:
        self._visibility_s = visibility_s
        self._renew_below_s = max(visibility_s / 3, 2 * tick_s)
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._leases

    def take(self, message_id: str, receipt_handle: str, *, now_s: float) -> bool:
        """Note a delivery; return True if the message is new here.

        A redelivery of a message in hand means that its lease ran out elsewhere: the new handle
        replaces the old one, and the work on it goes on.
        """
        known = self._leases.get(message_id)
        if known is not None:
            known.receipt_handle = receipt_handle
            known.received_s = now_s
            known.deadline_s = now_s + self._visibility_s
            return False
        self._leases[message_id] = Lease(
            message_id=message_id,
            receipt_handle=receipt_handle,
            received_s=now_s,
            deadline_s=now_s + self._visibility_s,
            progress_s=now_s,
        )
        return True

    def handle(self, message_id: str) -> str | None:
        """Return the newest receipt handle, or None if the message is not held."""
        lease = self._leases.get(message_id)
        return lease.receipt_handle if lease else None

    def open_handle(self, message_id: str) -> str | None:
        """Return the newest receipt handle, or None if the message is not held or closing."""
        lease = self._leases.get(message_id)
        return lease.receipt_handle if lease and not lease.closing else None

    def progress(self, message_id: str, *, now_s: float, working: bool) -> None:
        """Note a sign of life; ``working`` False means it now waits in a queue."""
        lease = self._leases.get(message_id)
        if lease is not None:
            lease.progress_s = now_s
            lease.working = working

    def close(self, message_id: str) -> None:
        """Extend this lease no more: its end is decided."""
        lease = self._leases.get(message_id)
        if lease is not None:
            lease.closing = True

    def drop(self, message_id: str) -> None:
        """Forget the message: deleted, released or lost."""
        self._leases.pop(message_id, None)

    def holds(self, message_id: str, *, now_s: float, margin_s: float) -> bool:
        """Say whether the message is ours for at least ``margin_s`` more seconds."""
        lease = self._leases.get(message_id)
        return lease is not None and lease.deadline_s - now_s > margin_s

    def due(self, *, now_s: float, stall_s: float) -> list[Extension]:
        """Return the leases to extend now: near their end, and their work alive.

        Once one lease is due, others past half of their time come along: ten share one call.
        """
        live = [x for x in self._leases.values() if self._extendable(x, now_s, stall_s)]
        if not any(x.deadline_s - now_s <= self._renew_below_s for x in live):
            return []
        chosen = [x for x in live if x.deadline_s - now_s <= self._visibility_s / 2]
        return [e for e in (self._extension(x, now_s) for x in chosen) if e.seconds > 0]

    def extended(self, extension: Extension, *, now_s: float) -> None:
        """Note that ``extension`` succeeded at ``now_s`` (the time before the call was made)."""
        lease = self._leases.get(extension.message_id)
        if lease is not None and lease.receipt_handle == extension.receipt_handle:
            lease.deadline_s = now_s + extension.seconds

    def expired(self, *, now_s: float) -> list[str]:
        """Return the messages whose lease has run out."""
        return [x.message_id for x in self._leases.values() if x.deadline_s <= now_s]

    def stalled(self, *, now_s: float, stall_s: float) -> list[str]:
        """Return the messages without a sign of life for ``stall_s``; waiting ones, ten times."""
        return [
            x.message_id
            for x in self._leases.values()
            if not x.closing and self._is_stalled(x, now_s, stall_s)
        ]

    def _extendable(self, lease: Lease, now_s: float, stall_s: float) -> bool:
        return not lease.closing and not self._is_stalled(lease, now_s, stall_s)

    @staticmethod
    def _is_stalled(lease: Lease, now_s: float, stall_s: float) -> bool:
        patience_s = stall_s if lease.working else stall_s * WAITING_PATIENCE
        return now_s - lease.progress_s > patience_s

    def _extension(self, lease: Lease, now_s: float) -> Extension:
        left_s = MAX_LEASE_S - (now_s - lease.received_s) - 1
        return Extension(
            message_id=lease.message_id,
            receipt_handle=lease.receipt_handle,
            seconds=int(min(self._visibility_s, left_s)),
        )
