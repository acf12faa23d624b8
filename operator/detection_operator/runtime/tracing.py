"""Traces of reconciles: adapters around what a reconcile asks and writes.

Neither the reconciler nor its decisions know of them: a span is current while its reconcile runs
in its thread, and the record of the decision says what was decided.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import urllib3

from detection_operator.errors import ClusterError, InvalidSettings
from detection_operator.kube.port import Key
from detection_operator.kube.rest import JSON, TIMEOUT, Rest
from detection_operator.readers.ports import QueueReader
from detection_operator.readers.values import QueueReading
from detection_operator.reconcile.reconciler import Reconciler
from detection_operator.scaling.records import Record
from detection_operator.spec.queue_spec import QueueRef
from detection_tracing import start
from detection_tracing.port import Span, Tracing, within
from detection_tracing.start import FLUSH_S

SERVICE: Final = "detection-operator"
_CURRENT: Final[ContextVar[Span | None]] = ContextVar("reconcile", default=None)


def tracing_here() -> Tracing | None:
    """Return the tracing that the environment asks for; None without.

    Raises:
        InvalidSettings: It is asked for, and cannot be.
    """
    return start.tracing_here(SERVICE, failed=InvalidSettings)


def flush(tracing: Tracing | None) -> None:
    """Export the last spans, in bounded time."""
    if tracing is not None:
        tracing.close(timeout_s=FLUSH_S)


@dataclass(slots=True)
class TracedReconciler(Reconciler):
    """A reconciler whose reconciles are spans.

    Attributes:
        tracing: Begins them; None makes none.
    """

    tracing: Tracing | None = None

    def reconcile(self, key: Key) -> float | None:
        """Reconcile; see ``Reconciler.reconcile``."""
        if self.tracing is None:
            return Reconciler.reconcile(self, key)
        about = {"k8s.namespace.name": key.namespace, "k8s.resource.name": key.name}
        with self.tracing.start(f"reconcile {key.kind}", attributes=about) as span:
            token = _CURRENT.set(span)
            try:
                return Reconciler.reconcile(self, key)
            finally:
                _CURRENT.reset(token)


def noting(record: Callable[[Record], None] | None) -> Callable[[Record], None]:
    """Return what notes a decision on the span of its reconcile, then takes its record.

    Args:
        record: Takes the record too; None drops it.
    """

    def note(found: Record) -> None:
        span = _CURRENT.get()
        if span is not None:
            span.set(_decision(found))
        if record is not None:
            record(found)

    return note


def _decision(found: Record) -> dict[str, str | int | float | bool]:
    plan, seen = found.plan, found.observation
    return {
        "detection_queue.wanted": plan.desired,
        "detection_queue.replicas": seen.replicas,
        "detection_queue.rule": plan.binding.value,
        "detection_queue.reason": plan.message,
        "detection_queue.applied": plan.apply,
        "detection_queue.fresh": plan.estimates.fresh,
    }


class TracedReader:
    """A ``QueueReader`` whose readings are spans.

    Args:
        reader: Reads queues.
    """

    def __init__(self, reader: QueueReader) -> None:
        self._reader = reader

    def read(
        self,
        queue: QueueRef,
        before: QueueReading,
        now_s: float,
        *,
        outbox: QueueRef | None = None,
    ) -> QueueReading:
        """Read a queue; see ``QueueReader.read``."""
        about = {
            "rpc.system": "aws-api",
            "rpc.service": "SQS",
            "rpc.method": "GetQueueAttributes",
            "messaging.system": "aws_sqs",
            "messaging.destination.name": queue.url.rpartition("/")[2],
        }
        with within(_CURRENT.get(), "read queue", "client", about) as span:
            reading = self._reader.read(queue, before, now_s, outbox=outbox)
            if span is not None and reading.error is not None:
                span.fail(str(reading.error))
        return reading


class TracedRest(Rest):
    """Requests to the API server: those that write in a reconcile are spans."""

    def call(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        timeout: urllib3.Timeout = TIMEOUT,
    ) -> Any:
        """Return the decoded answer; see ``Rest.call``."""
        span = None if verb == "GET" else _CURRENT.get()
        about = None if span is None else {"http.request.method": verb, "url.path": path}
        with within(span, f"{verb} Kubernetes", "client", about) as write:
            try:
                return super().call(
                    verb, path, body, query=query, content_type=content_type, timeout=timeout
                )
            except ClusterError as exc:
                if write is not None and exc.status:
                    write.set({"http.response.status_code": exc.status})
                raise
