"""The ports to SQS and to workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from detection_operator.readers.values import QueueReading, WorkerState
from detection_operator.spec.queue_spec import QueueRef


@dataclass(frozen=True, slots=True)
class Address:
    """Where a worker listens.

    Attributes:
        uid: Uid of its pod.
        host: IP address of the pod.
        port: Port of the control server.
    """

    uid: str
    host: str
    port: int


class QueueReader(Protocol):
    """Reads queues."""

    def read(
        self,
        queue: QueueRef,
        before: QueueReading,
        now_s: float,
        *,
        outbox: QueueRef | None = None,
    ) -> QueueReading:
        """Return a new reading; on failure ``before`` with its error set. Never raises."""
        ...


class Workers(Protocol):
    """Talks to workers' control servers. Never raises: None stands for no answer."""

    def states(self, addresses: Sequence[Address]) -> dict[str, WorkerState]:
        """Return the states of those that answered in time, by uid."""
        ...

    def drain(self, address: Address) -> WorkerState | None:
        """Ask a worker to drain; return its state afterwards, None when it did not answer."""
        ...

    def resume(self, address: Address) -> WorkerState | None:
        """Ask a worker to receive again; return as ``drain`` does."""
        ...
