"""Fake queue and workers over HTTP on loopback, for an operator that is a process of its own."""

import contextlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from detection_contract.environment import DRAIN_PATH, RESUME_PATH
from detection_operator.readers.ports import Address
from detection_testing.scenes.fakes import FakeQueue, FakeWorkers


class _Server(ABC):
    """Answers JSON on a thread of its own."""

    def __init__(self, host: str) -> None:
        handler = type(
            "Handler",
            (_Handler,),
            {"owner": self, **{f"do_{verb}": _Handler.serve for verb in ("GET", "POST")}},
        )
        self._server = ThreadingHTTPServer((host, 0), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @abstractmethod
    def answer(self, place: str, path: str, target: str) -> tuple[int, Any]:
        """Return status and body for a request that came in at the address ``place``."""


class SqsEndpoint(_Server):
    """GetQueueAttributes of one queue, whatever its name.

    Args:
        queue: Queue whose counts are served; this alone changes ``reads``.
    """

    def __init__(self, queue: FakeQueue) -> None:
        self._queue = queue
        super().__init__("127.0.0.1")

    def answer(self, place: str, path: str, target: str) -> tuple[int, Any]:
        """Return the attributes, or the queue's error as SQS words it."""
        del place, path, target
        self._queue.reads += 1
        if self._queue.error is not None:
            return HTTPStatus.BAD_REQUEST, {"__type": f"com.amazonaws.sqs#{self._queue.error}"}
        counts = {
            "ApproximateNumberOfMessages": self._queue.visible,
            "ApproximateNumberOfMessagesNotVisible": self._queue.in_flight,
            "ApproximateNumberOfMessagesDelayed": 0,
            "VisibilityTimeout": 30,
            "MessageRetentionPeriod": 345_600,
        }
        return HTTPStatus.OK, {"Attributes": {name: str(count) for name, count in counts.items()}}


class WorkerEndpoint(_Server):
    """The control servers of all fake workers: one port, an address of its own for each pod.

    Args:
        workers: Behind it.

    Attributes:
        places: Uids of pods by address.
        lock: Held while the workers answer; hold it to change them.
    """

    def __init__(self, workers: FakeWorkers) -> None:
        self._workers = workers
        self.places: Mapping[str, str] = {}
        self.lock = threading.Lock()
        # Every address of 127/8 is this machine, but only a wildcard listens on all of them.
        super().__init__("0.0.0.0")  # noqa: S104 - see above

    def answer(self, place: str, path: str, target: str) -> tuple[int, Any]:
        """Let the worker of an address do what is asked and say how it is."""
        del target
        address = Address(self.places.get(place, ""), place, self.port)
        with self.lock:
            if path == DRAIN_PATH:
                self._workers.drain(address)
            elif path == RESUME_PATH:
                self._workers.resume(address)
            state = self._workers.states([address]).get(address.uid)
        if state is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, {}
        served = {kind.value: asdict(work) for kind, work in state.served.items()}
        return HTTPStatus.OK, {**asdict(state), "served": served}


class _Handler(BaseHTTPRequestHandler):
    owner: _Server

    def serve(self) -> None:
        """Answer as the owner says."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        place = str(self.connection.getsockname()[0])
        status, body = self.owner.answer(place, self.path, self.headers.get("X-Amz-Target", ""))
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Not logged."""


@contextlib.contextmanager
def served(queue: FakeQueue, workers: FakeWorkers) -> Iterator[tuple[SqsEndpoint, WorkerEndpoint]]:
    """Serve a queue and its workers."""
    with (
        contextlib.closing(SqsEndpoint(queue)) as sqs,
        contextlib.closing(WorkerEndpoint(workers)) as control,
    ):
        yield sqs, control
