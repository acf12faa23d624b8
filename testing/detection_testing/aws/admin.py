"""The control interface of the local services, ``/_local/...``, in JSON.

GET ``stats``, ``journal?since=N``, ``callbacks?since=N``, ``calls?since=N``,
``published?since=N``, ``events?since=N``, ``in_flight?queue=NAME``, ``faults``;
POST ``faults`` (a fault), ``clear_faults``, ``clock`` ({"advance_s": 1}), ``purge``
({"queue": NAME}).
"""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from detection_testing.aws.faults import Fault
from detection_testing.aws.services import LocalServices
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.http.values import Request, Response

PREFIX = "/_local/"


class AdminHttp:
    """Answers control requests, and hands everything else to the services.

    Args:
        services: What is controlled.
    """

    def __init__(self, services: LocalServices) -> None:
        self._services = services
        self._actions: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "stats"): self._stats,
            ("GET", "journal"): self._journal,
            ("GET", "callbacks"): self._callbacks,
            ("GET", "calls"): lambda request: services.calls[_since(request) :],
            ("GET", "published"): lambda request: services.published[_since(request) :],
            ("GET", "events"): lambda request: services.events[_since(request) :],
            ("GET", "in_flight"): self._in_flight,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._add_fault,
            ("POST", "clear_faults"): self._clear_faults,
            ("POST", "clock"): self._advance,
            ("POST", "purge"): self._purge,
        }

    def handle(self, request: Request) -> Response:
        """Carry out one control request."""
        action = self._actions.get((request.method, request.path.removeprefix(PREFIX)))
        if action is None:
            return _render({"error": "no such control path"}, status=404)
        try:
            return _render(action(request))
        except (KeyError, TypeError, ValueError, SqsError) as exc:
            return _render({"error": str(exc)}, status=400)

    def _stats(self, request: Request) -> dict[str, Any]:
        del request
        now_s = self._services.clock.now_s()
        registry = self._services.registry
        queues = {name: registry.get(name).queue for name in registry.names()}
        return {
            "requests": dict(self._services.requests),
            "cpu_process_s": time.process_time(),
            "cpu_thread_s": time.thread_time(),
            "now_s": now_s,
            "queues": {
                name: queue.counts(now_s=now_s)._asdict() for name, queue in queues.items()
            },
        }

    def _journal(self, request: Request) -> list[tuple[Any, ...]]:
        registry = self._services.registry
        for name in registry.names():
            registry.get(name).queue.advance(self._services.clock.now_s())
        return [tuple(event) for event in self._services.journal[_since(request) :]]

    def _callbacks(self, request: Request) -> list[dict[str, Any]]:
        recorded = self._services.callbacks.recorded[_since(request) :]
        return [
            {**call._asdict(), "body": base64.b64encode(call.body).decode()} for call in recorded
        ]

    def _in_flight(self, request: Request) -> list[dict[str, Any]]:
        queue = self._services.registry.get(request.parameters()["queue"]).queue
        return [held._asdict() for held in queue.in_flight(now_s=self._services.clock.now_s())]

    def _faults(self, request: Request) -> list[dict[str, Any]]:
        del request
        return [fault.to_json() for fault in self._services.faults.faults()]

    def _add_fault(self, request: Request) -> dict[str, Any]:
        self._services.faults.add(Fault.from_json(json.loads(request.body)))
        return {}

    def _clear_faults(self, request: Request) -> dict[str, Any]:
        del request
        self._services.faults.clear()
        return {}

    def _advance(self, request: Request) -> dict[str, Any]:
        self._services.clock.advance(float(json.loads(request.body)["advance_s"]))
        return {"now_s": self._services.clock.now_s()}

    def _purge(self, request: Request) -> dict[str, Any]:
        queue = self._services.registry.get(json.loads(request.body)["queue"]).queue
        return {"purged": queue.purge(now_s=self._services.clock.now_s())}


def _since(request: Request) -> int:
    return max(0, int(request.parameters().get("since", "0")))


def _render(document: Any, *, status: int = 200) -> Response:
    body = json.dumps(document).encode()
    return Response(status=status, headers={"Content-Type": "application/json"}, body=body)
