"""``detection-worker consume`` on local services, and how much each part of it could do.

Queue, media and the receivers of callbacks have processes of their own, for one process answers
about 1,000 messages a second. Every process is one interpreter, so 1000 divided by its CPU ms a
message is the most messages a second that it could see to; decoders, and all of it together, have
the cores of the machine. The smallest of these is the limit, and its name says what to add.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.cpu import WorkerCpu, worker_cpu
from on_gpu.busy import BusyShare
from on_gpu.plan import Plan, Row, detectors_of, units_of
from throughput.media import BUCKET, MAKERS, MediaSet

CALLBACK_LATENCY_S: Final = 0.080
S3_LATENCY_S: Final = 0.040
RECEIVERS: Final = 2
MESSAGES: Final = {"images": 12_000, "photos": 4000, "videos": 2000}
"""More than can be measured in ``WINDOW_S``: what is left is thrown away."""
QUICK_MESSAGES: Final = {"images": 40, "photos": 6, "videos": 3}
WARM_SHARE: Final = 0.1
"""Share of the messages that does not count, or what is done in ``WARM_S``: batches, connections
and decoders are then as they stay."""
WARM_S: Final = 5.0
WINDOW_S: Final = 10.0
LEFT_S: Final = 10.0
"""For messages under way, once the others are thrown away."""
QUICK_S: Final = 120.0
"""For one set on a CPU."""
READY_S: Final = 60.0
LOOK_S: Final = 0.05
LAST_LINES: Final = 4


class WorkerError(Exception):
    """The worker ended by itself or was never ready; the message has its last log lines."""


@dataclass(slots=True)
class Services:
    """The queue, the media and the receivers of callbacks, each with a process of its own."""

    queue: LocalAws
    media: LocalAws
    receivers: list[LocalAws]
    queue_url: str = ""

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds of each process so far."""
        receivers = {f"receiver {i}": r for i, r in enumerate(self.receivers, 1)}
        each = {"queue": self.queue, "media": self.media, **receivers}
        return {name: aws.cpu_seconds() for name, aws in each.items()}

    def posted(self) -> int:
        """Callbacks that arrived so far."""
        return sum(int(r.stats()["requests"].get("callback.ok", 0)) for r in self.receivers)

    def send(self, media: MediaSet, count: int) -> None:
        """Send messages that name the files, and the receivers, in turn."""
        keys = list(media.files)
        urls = [receiver.callback_url("/ok") for receiver in self.receivers]
        bodies = [
            {
                "sqs_to_ml_url": f"s3://{BUCKET}/{keys[i % len(keys)]}",
                "callback_url": urls[i % len(urls)],
                "request_id": f"{media.name}-{i}",
            }
            for i in range(count)
        ]
        self.queue.send(self.queue_url, map(json.dumps, bodies))

    def environment(self) -> dict[str, str]:
        """Return the variables by which a worker finds them."""
        found = {**self.queue.environment(), "AWS_ENDPOINT_URL_S3": self.media.endpoint_url}
        found["AWS_ENDPOINT_URL_SQS"] = found.pop("AWS_ENDPOINT_URL")
        return found


@dataclass(slots=True)
class Worker:
    """A worker that was started.

    Attributes:
        process: Its main process, which owns the device.
        port: Where its control server listens.
        log: What it says.
        began_s: When it was started, monotonic.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    began_s: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise ``WorkerError`` if it ended."""
        if (code := self.process.poll()) is not None:
            told = f"the worker ended with exit code {code}"
            raise WorkerError("\n".join([told, *self.last_lines()]))

    def ready_s(self) -> float:
        """Wait for ``/readyz``; return how long the start took."""
        while time.monotonic() - self.began_s < READY_S:
            self.check()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return time.monotonic() - self.began_s
            except (urllib.error.URLError, OSError):
                time.sleep(LOOK_S)
        raise WorkerError("\n".join([f"not ready after {READY_S:g} s", *self.last_lines()]))

    def last_lines(self) -> list[str]:
        """Return the last lines that it logged."""
        return self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]


def worker(plan: Plan) -> Iterator[Row]:
    """Messages a second of each media set, and what limits them."""
    messages = QUICK_MESSAGES if plan.quick else MESSAGES
    with tempfile.TemporaryDirectory() as temporary, _services() as services:
        folder = Path(temporary)
        sets = {media: _made(folder / media, media) for media in messages}
        for media in sets.values():
            for key, content in media.files.items():
                services.media.put_object(BUCKET, key, content)
        by_kind = {detector.card.kind: detector for detector in detectors_of(plan)}
        floors = {media: _floors(plan, folder / media, by_kind) for media in sets}
        by_kind.clear()
        with _consumer(plan, services, folder / "worker.log") as running:
            ready_s = running.ready_s()
            with BusyShare(plan) as busy:
                run = Run(services, running, busy, QUICK_S if plan.quick else WINDOW_S)
                for media in sets.values():
                    used = run.consume(media, messages[media.name])
                    yield {"media": media.name, "ready_s": ready_s} | used.row(floors[media.name])


def _made(folder: Path, name: str) -> MediaSet:
    folder.mkdir()
    return MAKERS[name](folder)


@contextmanager
def _services() -> Iterator[Services]:
    with ExitStack() as stack:
        started = [stack.enter_context(LocalAws.in_process()) for _ in range(2 + RECEIVERS)]
        queue, media, *receivers = started
        media.inject(Fault(operation="s3.GetObject", kind="latency", seconds=S3_LATENCY_S))
        for receiver in receivers:
            receiver.inject(
                Fault(operation="callback.*", kind="latency", seconds=CALLBACK_LATENCY_S)
            )
        queue_url, _ = queue.create_queue("gpu", max_receive_count=100)
        yield Services(queue, media, receivers, queue_url)


@contextmanager
def _consumer(plan: Plan, services: Services, log: Path) -> Iterator[Worker]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [
        *(sys.executable, "-P", "-m", "detection_worker", "consume"),
        *("--queue-url", services.queue_url, "--device", plan.device, "--wait-time", "2"),
        *("--callback-allow-private", "--max-in-flight", "512"),
        *("--control-host", "127.0.0.1", "--control-port", str(port)),
        # On a CPU the default is one process; a GPU has feeders.
        *(() if plan.cuda else ("--feeders", "1")),
    ]
    with log.open("wb") as said:
        environment = {**os.environ, **services.environment(), "LOG_LEVEL": "WARNING"}
        process = subprocess.Popen(command, env=environment, stderr=said, stdout=said)
        try:
            yield Worker(process, port, log)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()


# -- one set of media ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a number of messages took.

    Attributes:
        messages: Results that came.
        seconds: By the clock.
        worker: CPU of the worker's processes.
        services: CPU of each local service.
        own_s: CPU of this process, which sends and counts.
        gpu_busy: Share of the time in which a kernel ran; None if it cannot be told.
        gpu_memory_mib: The most that was in use.
    """

    messages: int
    seconds: float
    worker: WorkerCpu
    services: Mapping[str, float]
    own_s: float
    gpu_busy: float | None
    gpu_memory_mib: float | None

    def row(self, floors: Row) -> Row:
        """Return the rate, the CPU ms a message by process, and what each part could do.

        Args:
            floors: Limits that were measured apart, ``forward`` and ``decode``.
        """
        cores = len(os.sched_getaffinity(0))
        parts = {
            "device": self.worker.device,
            "feeders": self.worker.feeders,
            "decoders": self.worker.decoders,
            **self.services,
            "benchmark": self.own_s,
        }
        cpu_ms = {name: 1000 * spent / self.messages for name, spent in parts.items()}
        # The device's process computes outside Python on a CPU: no limit of one core there.
        lanes = {"feeders": self.worker.feeder_count, **dict.fromkeys(self.services, 1)}
        if floors["cuda"]:
            lanes["device"] = 1
        limits = {
            "forward": floors["forward"],
            "decode": floors["decode"],
            "all cores": 1000 * cores / max(1e-9, sum(cpu_ms.values())),
            **{n: 1000 * count / cpu_ms[n] for n, count in lanes.items() if cpu_ms[n] > 0},
        }
        slowest = min(limits, key=lambda name: limits[name])
        per_s = self.messages / self.seconds
        return {
            "messages": self.messages,
            "per_s": per_s,
            "limited_by": slowest,
            "limit_per_s": limits[slowest],
            "forward_limit_per_s": limits["forward"],
            "decode_limit_per_s": limits["decode"],
            "limits_per_s": limits,
            "cpu_ms": cpu_ms,
            "cores": cores,
            "cores_used": sum(parts.values()) / self.seconds,
            "feeders": self.worker.feeder_count,
            "gpu_busy": self.gpu_busy,
            "gpu_memory_mib": self.gpu_memory_mib,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A running worker, its services, and how the GPU is watched.

    Attributes:
        services: What it works with.
        worker: The worker.
        busy: Samples the GPU.
        window_s: Longest time for one set of media.
    """

    services: Services
    worker: Worker
    busy: BusyShare
    window_s: float

    def consume(self, media: MediaSet, count: int) -> Used:
        """Send more messages than can be measured, measure after a warm-up, drop the rest."""
        services, pid = self.services, self.worker.process.pid
        known = services.posted()
        services.send(media, count)
        self._wait(known + int(count * WARM_SHARE), seconds=min(WARM_S, self.window_s))
        self.busy.forget()
        first, began_s = services.posted(), time.monotonic()
        worker, theirs, own_s = worker_cpu(pid), services.cpu_s(), time.process_time()
        last = self._wait(known + count, seconds=self.window_s)
        used = Used(
            messages=max(1, last - first),
            seconds=time.monotonic() - began_s,
            worker=worker_cpu(pid).since(worker),
            services={name: spent - theirs[name] for name, spent in services.cpu_s().items()},
            own_s=time.process_time() - own_s,
            gpu_busy=self.busy.share,
            gpu_memory_mib=self.busy.memory_mib,
        )
        services.queue.purge(services.queue_url)
        until_s = time.monotonic() + LEFT_S
        while services.queue.in_flight(services.queue_url) and time.monotonic() < until_s:
            time.sleep(LOOK_S)
        return used

    def _wait(self, results: int, *, seconds: float) -> int:
        """Wait for so many results in all, but not longer; return how many there are."""
        until_s = time.monotonic() + seconds
        while (found := self.services.posted()) < results and time.monotonic() < until_s:
            self.worker.check()
            time.sleep(LOOK_S)
        return found


def _floors(plan: Plan, folder: Path, by_kind: Mapping[Any, Any]) -> Row:
    """What decoding on all cores, and forward passes, could do with the same files."""
    import torch

    from detection_contract.media_types import MediaKind
    from detection_worker.detectors.device import timing
    from detection_worker.media.decode import decode_file
    from detection_worker.media.jail.wire import order_of
    from detection_worker.pipeline.files.analysis import decode_request
    from detection_worker.settings import MediaLimits

    where = torch.device(plan.device)
    paths = sorted(folder.iterdir())
    forward_s: dict[MediaKind, float] = {}
    spent_s = decode_s = 0.0
    for path in paths:
        request = decode_request(path, name=path.name, detectors=by_kind, limits=MediaLimits())
        cpu_s = time.process_time()
        with path.open("rb") as file:
            media = decode_file(file, order_of(request), tick=lambda: None)
        decode_s += time.process_time() - cpu_s
        kind = media.info.kind
        if kind not in forward_s:
            units = by_kind[kind].batch_units if plan.cuda else 32
            example = units_of(by_kind[kind], units, where)
            bare = timing.measure(partial(by_kind[kind].forward, example), where)
            forward_s[kind] = bare.seconds / units
        spent_s += forward_s[kind] * len(media.units)
    cores = len(os.sched_getaffinity(0))
    return {
        "forward": len(paths) / spent_s,
        "decode": cores * len(paths) / decode_s,
        "cuda": plan.cuda,
    }
