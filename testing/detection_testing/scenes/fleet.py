"""Several queues on the nodes of one cluster, each with its own messages and workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detection_contract.environment import LABEL_QUEUE
from detection_operator.kube.objects import condition, replicas_of
from detection_operator.kube.port import Key
from detection_operator.readers.ports import Address, QueueReader, Workers
from detection_operator.readers.values import QueueReading, WorkerState
from detection_operator.spec.queue_spec import QueueRef
from detection_testing.scenes.fakes import FakeQueue, FakeWorkers
from detection_testing.scenes.world import World

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/"


@dataclass
class Side:
    """One queue with its workers.

    Attributes:
        key: The DetectionQueue.
        queue: Its messages.
        workers: Its workers.
    """

    key: Key
    queue: FakeQueue
    workers: FakeWorkers


class _Sides:
    """The ports to all queues and workers, by URL and by pod."""

    def __init__(self, fleet: "Fleet") -> None:
        self._fleet = fleet

    def read(
        self,
        queue: QueueRef,
        before: QueueReading,
        now_s: float,
        *,
        outbox: QueueRef | None = None,
    ) -> QueueReading:
        """Read one queue."""
        side = self._fleet.sides[queue.url.removeprefix(URL)]
        return side.queue.read(queue, before, now_s, outbox=outbox)

    def states(self, addresses: Sequence[Address]) -> dict[str, WorkerState]:
        """Return the states of those that answer."""
        found: dict[str, WorkerState] = {}
        for side in self._fleet.sides.values():
            found |= side.workers.states(addresses)
        return found

    def drain(self, address: Address) -> WorkerState | None:
        """Ask a worker to receive no more."""
        return next(filter(None, (s.workers.drain(address) for s in self._all(address))), None)

    def resume(self, address: Address) -> WorkerState | None:
        """Ask a worker to receive again."""
        return next(filter(None, (s.workers.resume(address) for s in self._all(address))), None)

    def _all(self, address: Address) -> list[Side]:
        sides = self._fleet.sides.values()
        return [side for side in sides if address.uid in side.workers.workers]


@dataclass
class Fleet(World):
    """A world with several queues.

    Attributes:
        sides: The queues by name.
        most_pods: Most pods that existed at a time.
    """

    sides: dict[str, Side] = field(default_factory=dict)
    most_pods: int = 0

    @property
    def loads(self) -> list[tuple[FakeQueue, FakeWorkers]]:
        """Each queue with its workers."""
        return [(side.queue, side.workers) for side in self.sides.values()]

    def ports(self) -> tuple[QueueReader, Workers]:
        """Return what operators read queues and reach workers by."""
        sides = _Sides(self)
        return sides, sides

    def add(self, name: str, spec: Mapping[str, Any], *, service_s: float = 10.0) -> Side:
        """Create a DetectionQueue with messages and workers of its own."""
        queue = FakeQueue()
        workers = FakeWorkers(queue, now_s=self.clock.wall, service_s=service_s)
        made = {**spec, "queue": {**spec.get("queue", {}), "url": f"{URL}{name}"}}
        self.sides[name] = Side(self.create_queue(name, made), queue, workers)
        return self.sides[name]

    def work(self, seconds: float) -> None:
        """Let the workers of all queues work for a while."""
        for side in self.sides.values():
            side.workers.work(seconds)

    def follow(self, pods: Sequence[dict[str, Any]]) -> None:
        """Let workers start and end with their pods."""
        self.most_pods = max(self.most_pods, len(pods))
        for name, side in self.sides.items():
            own = [p for p in pods if p["metadata"].get("labels", {}).get(LABEL_QUEUE) == name]
            ready = [
                pod["metadata"]["uid"]
                for pod in own
                if (condition(pod, "Ready") or {}).get("status") == "True"
            ]
            ending = [p["metadata"]["uid"] for p in own if "deletionTimestamp" in p["metadata"]]
            answering = [p["metadata"]["uid"] for p in own if self.nodes.answers(p)]
            self.lost += side.workers.follow(
                ready,
                loading=set(answering) - {*ready, *ending},
                ending=set(ending) & set(ready),
            )

    def replicas_of(self, name: str) -> int:
        """Return the replicas that the Deployments of a queue ask for."""
        return sum(
            replicas_of(item)
            for item in self.cluster.of_kind("Deployment")
            if item["metadata"]["labels"].get(LABEL_QUEUE) == name
        )
