"""What a worker shows outside and obeys: control server, metrics for CloudWatch, signals to stop.

The server answers /healthz /readyz /state /metrics, and POST /drain /resume for the operator.
"""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from prometheus_client import CollectorRegistry

from detection_contract.environment import DRAIN_PATH, RESUME_PATH, STATE_PATH
from detection_contract.process.emf import Family, Lines, reporting
from detection_contract.process.probes import ProbeServer
from detection_worker.errors import UsageError
from detection_worker.metrics import EMF
from detection_worker.settings import ConsumerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What the server shows and steers.

    Attributes:
        health: Named checks; a False one makes /healthz answer 503.
        readiness: Named checks of /readyz; values are True or the reason why not.
        state: The body of /state.
        drain: Stop receiving, hand back what is not started.
        resume: Receive again.
        registry: For /metrics.
        refresh: Called before the metrics are read.
    """

    health: Callable[[], Mapping[str, bool | str]]
    readiness: Callable[[], Mapping[str, bool | str]]
    state: Callable[[], Mapping[str, object]]
    drain: Callable[[], None]
    resume: Callable[[], None]
    registry: CollectorRegistry
    refresh: Callable[[], None]


def serve(controls: Controls, *, host: str, port: int) -> ProbeServer:
    """Return a running server; port 0 picks a free one.

    Raises:
        OSError: The port is taken.
    """

    def drain() -> Mapping[str, object]:
        controls.drain()
        return controls.state()

    def resume() -> Mapping[str, object]:
        controls.resume()
        return controls.state()

    return ProbeServer(
        "detection-worker",
        host=host,
        port=port,
        health=controls.health,
        readiness=controls.readiness,
        registry=controls.registry,
        refresh=controls.refresh,
        endpoints={
            ("GET", STATE_PATH): controls.state,
            ("POST", DRAIN_PATH): drain,
            ("POST", RESUME_PATH): resume,
        },
    )


@contextmanager
def shown_outside(controls: Controls, consumer: ConsumerSettings) -> Iterator[None]:
    """Serve, and write metrics for CloudWatch, while the block runs; whichever is asked for.

    Raises:
        UsageError: The port is taken.
    """
    lines = None
    if consumer.emf_namespace is not None:
        queue = consumer.queue_url.rstrip("/").rpartition("/")[2]
        # SQS's own metrics have the same dimension.
        lines = Lines(consumer.emf_namespace, EMF, {"QueueName": queue})

    def collect() -> Iterable[Family]:
        controls.refresh()
        return controls.registry.collect()

    with (
        _control_server(controls, host=consumer.control_host, port=consumer.control_port),
        reporting(lines, collect),
    ):
        yield


@contextmanager
def _control_server(controls: Controls, *, host: str, port: int) -> Iterator[None]:
    if not port:
        yield
        return
    try:
        server = serve(controls, host=host, port=port)
    except OSError as exc:
        raise UsageError(
            f"The control server cannot listen on port {port}: "
            f"{exc.strerror}\nChoose another with --control-port."
        ) from exc
    try:
        yield
    finally:
        server.close()


class Stoppable:
    """A worker that drains when it is asked to stop.

    Attributes:
        hangs: ``run`` has left a forward pass behind that does not end. The owner of the
            process ends it without waiting for threads: CUDA would wait for the pass.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self.hangs = False

    def request_stop(self) -> None:
        """Drain and return from ``run``; a second call hands everything back at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()


@contextmanager
def asking_to_stop(ask: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call ``ask`` for each SIGTERM and SIGINT; only the main thread may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        ask(signal.Signals(number))

    old = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
