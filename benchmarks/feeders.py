"""How many messages a second one device process takes, and what each feeder adds.

The device is a fake one: it answers at once (``0 ms``), or scores 2,000 units a second by the
clock (``--units-per-s``), so that the figures are about everything but the forward pass.

``device``: one process owns the fake device, feeder processes hand it small images (four units
each) as fast as they can and do nothing else. Measured are messages a second and the CPU of the
device's process for each message. Python runs one thread at a time, so a second of CPU is all that
there is: 1000 divided by these milliseconds is the most messages a second that the process can
take, whatever the number of cores and feeders (``limit``). The CPU of that process
(``device_cores``) is an upper bound of the time in which it holds the interpreter's lock (GIL):
copies and waits for sockets within it are done without the lock. The last rows have two feeders on
1, 2, 4, ... cores; their rates are by the clock and need an idle machine.

``worker``: whole workers on a strict local SQS, S3 and callback receiver that answer S3 reads
after 40 ms and callbacks after 80 ms; the receiver of callbacks has a process of its own. Without
feeders, with one, with two, all with a backlog; then one feeder and two, each given ``--pace``
messages a second. Measured is the CPU of each kind of process for each message: the device's, a
feeder's (without its decoders), the decoders', the local services'. A feeder too is one
interpreter, so feeders alone could move ``feeders x 1000 / feeder ms`` messages a second and the
device ``1000 / device ms``; the smaller of the two is ``capacity``. It is computed from CPU, not
from the clock: feeders, decoders, device and local services share the machine's cores, which the
rate by the clock (``per_s``) and the cores in use show. ``scaling`` is the capacity of two feeders
by that of one at the same pace for each: with a backlog on too few cores, two feeders would get
half as much work each, and smaller batches of it. What processes take while idle (threads that
look about once a second) is measured first, shown apart, and left out of the figures for a
message.

    python benchmarks/feeders.py
    python benchmarks/feeders.py --parts device --json
    python benchmarks/feeders.py --messages 200
"""

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import requests
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.cpu import worker_cpu
from detection_testing.media.sample_info import media_info
from detection_testing.media.sample_media import make_image
from detection_tracing.contexts import Carrier
from detection_worker.core.sampling import ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard, Units
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.device.client import RemoteInference, connect
from detection_worker.pipeline.device.server import DeviceServer
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, Unscored

BUCKET = "media"
FILES = 16
UNITS = 4
"""In each image."""
SAMPLING = ImageSampling(crop_px=128, max_crops=UNITS)
S3_LATENCY_S = 0.040
CALLBACK_LATENCY_S = 0.080
AT_ONCE = 10
WARM_UP_SHARE = 0.3
"""Messages before those that count: connections, caches and first calls."""
WAIT_S = 600.0


class FakeDevice:
    """Scores images by the clock, as a GPU does: passes run while the next one is gathered.

    Args:
        units_per_s: How many units a second; infinite answers at once.
    """

    batch_units = 32
    at_once = 2

    def __init__(self, units_per_s: float) -> None:
        self.card = DetectorCard(
            name="fake-device",
            version="1",
            sha256="0" * 64,
            grade="demo",
            kind=MediaKind.IMAGE,
            sampling=SAMPLING,
            pooling=Pooling(),
            calibration=Calibration(),
        )
        self._units_per_s = units_per_s
        self._free_s = 0.0

    @property
    def passes(self) -> Self:
        """Itself."""
        return self

    def logits(self, units: Units) -> NDArray[np.float32]:
        """Return zeros once the device would have them."""
        return self.gather([units]).submit().result()

    def gather(self, parts: Sequence[Units]) -> "FakePass":
        """Copy units into one array."""
        return FakePass(device=self, units=cast("Units", np.concatenate(parts)))

    def busy_until(self, units: int) -> float:
        """Return when a pass ends that is started now, on ``time.monotonic``."""
        self._free_s = max(time.monotonic(), self._free_s) + units / self._units_per_s
        return self._free_s


@dataclass(slots=True, kw_only=True)
class FakePass:
    """A pass of a ``FakeDevice``: gathered, then under way."""

    device: FakeDevice
    units: Units
    ends_s: float = 0.0

    def submit(self) -> Self:
        """Start it."""
        self.ends_s = self.device.busy_until(len(self.units))
        return self

    def result(self) -> NDArray[np.float32]:
        """Wait for it; return zeros."""
        if (left_s := self.ends_s - time.monotonic()) > 0:
            time.sleep(left_s)
        return np.zeros(len(self.units), np.float32)


def named(units_per_s: float) -> str:
    """Return how a fake device is called in the report."""
    return "0 ms" if math.isinf(units_per_s) else f"{units_per_s:g} units/s"


# -- the device alone ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """The device's process with feeders that do nothing but feed it.

    Attributes:
        device: The fake device.
        feeders: Feeder processes.
        cores: What the device's process and the feeders share.
        per_s: Messages a second by the clock.
        device_ms: CPU of the device's process for each message.
        limit_per_s: Messages a second of which that would be all of one core.
        device_cores: CPU of the device's process while it ran, in cores; it holds the GIL for at
            most this share of the time.
        share_of_clock: Part of what the fake device's own clock allows; None at 0 ms.
    """

    device: str
    feeders: int
    cores: int
    per_s: float
    device_ms: float
    limit_per_s: float
    device_cores: float
    share_of_clock: float | None


def measure_device(units_per_s: float, *, feeders: int, messages: int) -> DeviceRow:
    """Serve feeders from this process, which does nothing else."""
    server = DeviceServer(
        {MediaKind.IMAGE: FakeDevice(units_per_s)}, max_units=32, max_wait_s=0.004
    )
    each = messages // feeders
    children = [_pushing_child(server, each) for _ in range(feeders)]
    for child in children:
        _say_and_hear(child, "")
    before_s, started_s = time.process_time(), time.monotonic()
    for child in children:
        _say(child, "go")
    for child in children:
        _say_and_hear(child, "")
    wall_s, cpu_s = time.monotonic() - started_s, time.process_time() - before_s
    for child in children:
        child.communicate(timeout=WAIT_S)
    server.close()
    per_s, device_ms = each * feeders / wall_s, cpu_s / (each * feeders) * 1000
    return DeviceRow(
        device=named(units_per_s),
        feeders=feeders,
        cores=len(os.sched_getaffinity(0)),
        per_s=per_s,
        device_ms=device_ms,
        limit_per_s=1000 / device_ms,
        device_cores=cpu_s / wall_s,
        share_of_clock=None if math.isinf(units_per_s) else per_s * UNITS / units_per_s,
    )


def _pushing_child(server: DeviceServer, messages: int) -> "subprocess.Popen[str]":
    with server.connect() as sock:
        return subprocess.Popen(
            [sys.executable, __file__, "push", str(sock.fileno()), str(messages)],
            pass_fds=(sock.fileno(),),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _say(child: "subprocess.Popen[str]", text: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{text}\n")
    child.stdin.flush()


def _say_and_hear(child: "subprocess.Popen[str]", text: str) -> None:
    assert child.stdout is not None
    if text:
        _say(child, text)
    if not child.stdout.readline():
        raise SystemExit("a feeder of the benchmark ended early")


@dataclass(slots=True, eq=False)
class Pushed:
    """A file that nobody asked for."""

    request_id: str = "pushed"
    cancelled: bool = False
    facts: dict[str, object] = field(default_factory=dict)
    carrier: Carrier | None = None


def push(fd: int, messages: int) -> None:
    """Hand images to the device behind a socket as fast as it takes them; runs in a child."""
    device = connect(socket.socket(fileno=fd), timeout_s=WAIT_S)
    scored: list[int] = []

    def count(_: Pushed, outcome: Scored[Pushed] | Unscored | None) -> None:
        assert isinstance(outcome, Scored)
        scored.append(len(outcome.main.logits))

    inference: RemoteInference[Pushed] = RemoteInference(
        device, decoding=lambda: 2, on_scored=count, on_progress=lambda _: None
    )
    info = media_info(side_px=256)
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(messages):
        units = device.memory.empty((UNITS, SAMPLING.crop_px, SAMPLING.crop_px, 3), np.uint8)
        units[:] = i % 256
        media = DecodedMedia(
            info=info,
            units=units,
            frame=np.zeros(UNITS, np.int32),
            at_s=np.zeros(1),
            boxes=np.zeros((UNITS, 4), np.int32),
        )
        track = DecodedTrack(media=media, detector=device.detectors[MediaKind.IMAGE])
        inference.put(Decoded(ticket=Pushed(), main=track))
    inference.close()
    assert scored == [UNITS] * messages
    print("done", flush=True)


# -- whole workers ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker.

    Attributes:
        device: The fake device.
        feeders: Feeder processes; 0 is a worker in one process.
        pace: Messages a second that were sent for each feeder; None if they all waited before.
        per_s: Messages a second by the clock, all processes on the machine's cores.
        device_ms: CPU of the main process for each message.
        feeder_ms: CPU of the feeders for each message; None without any.
        decoders_ms: CPU of the decoding children for each message.
        local_aws_ms: CPU of the local services for each message.
        idle_ms_per_s: CPU of the main process a second while the queue is empty.
        idle_feeders_ms_per_s: The same of all feeders.
        cores: CPU of everything while it ran, in cores.
        limit_per_s: Messages a second of which ``device_ms`` would be all of one core.
        capacity_per_s: The smaller of that and of what the feeders can move, a core each.
    """

    device: str
    feeders: int
    pace: float | None
    per_s: float
    device_ms: float
    feeder_ms: float | None
    decoders_ms: float
    local_aws_ms: float
    idle_ms_per_s: float
    idle_feeders_ms_per_s: float
    cores: float
    limit_per_s: float
    capacity_per_s: float


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds so far, by kind of process."""

    device: float
    feeders: float
    decoders: float
    local_aws: float

    def since(self, other: "Cpu") -> "Cpu":
        """Return what was added."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Cpu(*(mine - theirs for mine, theirs in pairs))

    def times(self, factor: float) -> "Cpu":
        """Return a multiple."""
        return Cpu(*(seconds * factor for seconds in asdict(self).values()))


@dataclass(slots=True)
class Services:
    """Two local services: queue and media in one process, the receiver of callbacks in another."""

    aws: LocalAws
    receiver: LocalAws
    _queues: int = 0

    def cpu_s(self) -> float:
        """CPU seconds of both."""
        return self.aws.cpu_seconds() + self.receiver.cpu_seconds()

    def new_queue(self) -> str:
        """Return the URL of an empty queue."""
        self._queues += 1
        return self.aws.create_queue(f"feeders-{self._queues}", max_receive_count=100)[0]

    def send(self, queue_url: str, messages: int, *, per_s: float = math.inf) -> None:
        """Send messages for the images in turn, at a steady rate."""
        callback_url = self.receiver.callback_url("/ok")
        bodies = [
            {
                "sqs_to_ml_url": f"s3://{BUCKET}/{i % FILES}.jpg",
                "callback_url": callback_url,
                "request_id": f"{self._queues}-{i}",
            }
            for i in range(messages)
        ]
        texts, started_s = [json.dumps(body) for body in bodies], time.monotonic()
        for at in range(0, messages, AT_ONCE):
            time.sleep(max(0.0, started_s + at / per_s - time.monotonic()))
            self.aws.send(queue_url, texts[at : at + AT_ONCE])

    def posted(self) -> int:
        """Callbacks that arrived so far."""
        return int(self.receiver.stats()["requests"].get("callback.ok", 0))


@contextmanager
def services() -> Iterator[Services]:
    """Run the local services with their latency, and put the images there."""
    with (
        LocalAws.in_process() as aws,
        LocalAws.in_process() as receiver,
        tempfile.TemporaryDirectory() as name,
    ):
        for i in range(FILES):
            path = make_image(Path(name) / f"{i}.jpg", width=256, height=256, seed=i)
            aws.put_object(BUCKET, path.name, path.read_bytes())
        aws.inject(Fault(operation="s3.GetObject", kind="latency", seconds=S3_LATENCY_S))
        receiver.inject(Fault(operation="callback.*", kind="latency", seconds=CALLBACK_LATENCY_S))
        yield Services(aws, receiver)


def measure_worker(
    local: Services,
    units_per_s: float,
    *,
    feeders: int,
    messages: int,
    idle_s: float,
    pace: float | None = None,
) -> WorkerRow:
    """Let a worker consume a queue: what warms it up, nothing for a while, then what counts."""
    queue_url = local.new_queue()
    with _worker(local, queue_url, units_per_s, feeders=feeders) as pid:
        _consumed(local, queue_url, math.ceil(messages * WARM_UP_SHARE))
        time.sleep(1.0)  # for the last deletions
        before = _cpu(pid, local)
        time.sleep(idle_s)
        idle = _cpu(pid, local).since(before).times(1 / idle_s)
        before = _cpu(pid, local)
        per_s = math.inf if pace is None else pace * feeders
        wall_s = _consumed(local, queue_url, messages, per_s=per_s)
        used = _cpu(pid, local).since(before)
    each = used.since(idle.times(wall_s)).times(1000 / messages)
    limit = 1000 / max(each.device, 1e-6)
    moved = feeders * 1000 / max(each.feeders, 1e-6) if feeders else math.inf
    return WorkerRow(
        device=named(units_per_s),
        feeders=feeders,
        pace=pace,
        per_s=messages / wall_s,
        device_ms=each.device,
        feeder_ms=each.feeders if feeders else None,
        decoders_ms=each.decoders,
        local_aws_ms=each.local_aws,
        idle_ms_per_s=idle.device * 1000,
        idle_feeders_ms_per_s=idle.feeders * 1000,
        cores=sum(asdict(used).values()) / wall_s,
        limit_per_s=limit,
        capacity_per_s=min(limit, moved),
    )


def _consumed(local: Services, queue_url: str, messages: int, *, per_s: float = math.inf) -> float:
    """Send messages, wait for their results, and return how many seconds that took."""
    known, started_s = local.posted(), time.monotonic()
    local.send(queue_url, messages, per_s=per_s)
    while local.posted() - known < messages:
        if time.monotonic() - started_s > WAIT_S:
            raise SystemExit(f"the results of {messages} messages took over {WAIT_S} s")
        time.sleep(0.05)
    return time.monotonic() - started_s


@contextmanager
def _worker(local: Services, queue_url: str, units_per_s: float, *, feeders: int) -> Iterator[int]:
    """Run ``detection-worker consume`` with a fake device; yield its process id once ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", __file__, "consume", str(units_per_s)),
            *("--queue-url", queue_url),
            *("--endpoint-url", local.aws.endpoint_url),
            *("--feeders", str(feeders)),
            *("--control-port", str(port)),
            *("--wait-time", "2"),
            "--callback-allow-private",
        ],
        env={**os.environ, **local.aws.environment(), "LOG_LEVEL": "WARNING"},
    )
    try:
        _wait_until_ready(port, process)
        yield process.pid
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise SystemExit("the worker did not end cleanly")
    finally:
        process.kill()


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise SystemExit("the worker did not get ready")


def _cpu(pid: int, local: Services) -> Cpu:
    worker = worker_cpu(pid)
    return Cpu(
        device=worker.device,
        feeders=worker.feeders,
        decoders=worker.decoders,
        local_aws=local.cpu_s(),
    )


def consume(units_per_s: float, options: Sequence[str]) -> int:
    """Run ``detection-worker consume`` with a fake device; runs in a child."""
    from detection_worker.__main__ import main as worker_main
    from detection_worker.detectors.registry import LoadedDetectors
    from detection_worker.pipeline.service import startup

    device = FakeDevice(units_per_s)

    def load(*_: object, **__: object) -> LoadedDetectors:
        return LoadedDetectors(
            by_kind={MediaKind.IMAGE: device}, cards=(device.card,), problems=[]
        )

    vars(startup)["load_detectors"] = load
    return worker_main(["consume", *options])


# -- report ----------------------------------------------------------------------------------


def device_part(args: argparse.Namespace) -> dict[str, object]:
    """Measure the device's process with one and two feeders, then against cores."""
    cores = sorted(os.sched_getaffinity(0))
    fewer = [2**i for i in range(len(cores).bit_length()) if 2**i < len(cores)]
    measured = [(1, cores), (2, cores), *((2, cores[:count]) for count in fewer)]
    rows = []
    for units_per_s in args.units_per_s:
        for feeders, own in measured:
            os.sched_setaffinity(0, own)  # threads and processes that start have it too
            rows.append(measure_device(units_per_s, feeders=feeders, messages=args.pushed))
    os.sched_setaffinity(0, cores)
    lowest = min(row.limit_per_s for row in rows)
    return {"rows": [asdict(row) for row in rows], "limit_per_s": lowest}


def worker_part(args: argparse.Namespace) -> dict[str, object]:
    """Measure workers without feeders, with one and with two."""
    rows: list[WorkerRow] = []
    scaling: dict[str, float] = {}
    with services() as local:
        for units_per_s in args.units_per_s:
            measure = partial(
                measure_worker, local, units_per_s, messages=args.messages, idle_s=args.idle_s
            )
            rows += [measure(feeders=feeders) for feeders in (0, 1, 2)]
            one, two = (measure(feeders=feeders, pace=args.pace) for feeders in (1, 2))
            rows += [one, two]
            scaling[one.device] = two.capacity_per_s / one.capacity_per_s
    return {"rows": [asdict(row) for row in rows], "scaling": scaling}


def _print(name: str, report: Mapping[str, Any]) -> None:
    rows = report["rows"]
    names = list(rows[0])
    print(f"\n{name}")
    print("  " + " ".join(f"{n:>{max(14, len(n))}}" for n in names))
    for row in rows:
        print("  " + " ".join(f"{_shown(row[n]):>{max(14, len(n))}}" for n in names))
    for device, times in report.get("scaling", {}).items():
        print(f"  two feeders / one, {device}: {times:.2f}")


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def main(arguments: Sequence[str]) -> int:
    """Run the parts and print their tables."""
    if arguments[:1] == ["push"]:
        push(int(arguments[1]), int(arguments[2]))
        return 0
    if arguments[:1] == ["consume"]:
        return consume(float(arguments[1]), arguments[2:])
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "device": device_part,
        "worker": worker_part,
    }
    parser = argparse.ArgumentParser(description="The device's process, and what feeders add.")
    parser.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    parser.add_argument("--messages", type=int, default=1000, help="of each worker")
    parser.add_argument(
        "--pace", type=float, default=50.0, help="messages a second for each feeder"
    )
    parser.add_argument(
        "--idle-s", type=float, default=4.0, help="seconds for what an idle worker takes"
    )
    parser.add_argument("--pushed", type=int, default=10_000, help="in each row of the device")
    parser.add_argument(
        "--units-per-s",
        type=float,
        nargs="+",
        default=[math.inf, 2000.0],
        help="of the fake devices; inf answers at once",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(arguments)
    reports = {name: parts[name](args) for name in args.parts}
    if args.json:
        print(json.dumps(reports))
    else:
        for name, report in reports.items():
            _print(name, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
