"""Measuring contenders on one load: steady rate, calls and CPU of a message."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from detection_testing.aws.local_aws import LocalAws
from throughput.media import BUCKET, WARM_SHARE, MediaSet
from throughput.processes import Running, limit

RESULTS_S: Final = 600.0
SETUP_CALLS: Final = frozenset({"sqs.CreateQueue", "sqs.SendMessageBatch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One measured row.

    Attributes:
        name: Contender.
        per_s: Messages a second after the warm-up.
        sqs_calls: For each message; None where none are made.
        s3_calls: For each message.
        local_aws_cores: CPU of the local services while it ran, in cores.
        cpu_ms: CPU of the contender's processes for each message after the warm-up.
        local_aws_ms: CPU of the local services for each message.
        stages: ``cpu_ms`` by what it was spent on; empty if that is not known.
    """

    name: str
    per_s: float
    sqs_calls: float | None = None
    s3_calls: float | None = None
    local_aws_cores: float | None = None
    cpu_ms: float | None = None
    local_aws_ms: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """One media set on a running local AWS.

    Attributes:
        callback_url: Where results go.
        rows: What was measured so far.
    """

    aws: LocalAws
    media: MediaSet
    folder: Path
    callback_url: str = ""
    rows: list[Rate] = field(default_factory=list)
    _queues: int = 0

    def __post_init__(self) -> None:
        self.callback_url = self.callback_url or self.aws.callback_url("/ok")
        for key, content in self.media.files.items():
            self.aws.put_object(BUCKET, key, content)

    def measure(
        self,
        name: str,
        messages: int,
        run: Callable[[str], Running],
        *,
        callback_url: str | None = None,
    ) -> Rate:
        """Let a contender consume a fresh queue and return its steady rate.

        Args:
            name: Label of the row.
            messages: Number of messages to send.
            run: Starts the contender on a queue URL.
            callback_url: Where results go; None for where they usually go.
        """
        self._queues += 1
        queue_url, _ = self.aws.create_queue(f"bench-{self._queues}", max_receive_count=100)
        url = callback_url or self.callback_url
        self.aws.send(queue_url, [self._body(i, url) for i in range(messages)])
        before = self.aws.stats()
        known = len(self.aws.callbacks())
        started = time.monotonic()
        running = run(queue_url)
        times, cost = self._wait_for(known, messages, running)
        wall_s = time.monotonic() - started
        running.stop()
        after = self.aws.stats()
        local_s = after["cpu_process_s"] - before["cpu_process_s"]
        calls = Counter(after["requests"])
        calls.subtract(before["requests"])
        return self._row(
            Rate(
                name=name,
                per_s=steady_rate(times),
                sqs_calls=sum(n for op, n in calls.items() if _is_consumer_call(op)) / messages,
                s3_calls=sum(n for op, n in calls.items() if _is_s3_call(op)) / messages,
                local_aws_cores=local_s / wall_s,
                cpu_ms=cost.pop(""),
                local_aws_ms=local_s / messages * 1000,
                stages=cost,
            )
        )

    def limit(self, models_dir: Path) -> Rate:
        """Decode and score from the local disk at the worker's batch size; nothing else."""
        folder = self.folder / "limit"
        folder.mkdir()
        for number, (key, content) in enumerate(self.media.files.items()):
            (folder / f"{number:03}-{key}").write_bytes(content)
        times, cpu_ms = limit(models_dir, folder, count=self.media.messages)
        return self._row(Rate(name="limit", per_s=steady_rate(times), cpu_ms=cpu_ms))

    def _body(self, number: int, callback_url: str) -> str:
        keys = list(self.media.files)
        return json.dumps(
            {
                "sqs_to_ml_url": f"s3://{BUCKET}/{keys[number % len(keys)]}",
                "callback_url": callback_url,
                "request_id": f"r{self._queues}-{number}",
            }
        )

    def _wait_for(
        self, known: int, messages: int, running: Running
    ) -> tuple[list[float], dict[str, float]]:
        """Return when each result came, and the CPU ms of each after the warm-up, by stage."""
        deadline = time.monotonic() + RESULTS_S
        times: list[float] = []
        warm: tuple[int, Mapping[str, float]] | None = None
        while len(times) < messages:
            if running.ended():
                raise SystemExit(f"a contender ended after {len(times)} of {messages} results")
            if time.monotonic() > deadline:
                raise SystemExit(f"only {len(times)} of {messages} results in {RESULTS_S:.0f} s")
            fresh = self.aws.callbacks(since=known + len(times))
            times += [c.at_s for c in fresh]
            if warm is None and len(times) >= messages * WARM_SHARE:
                warm = len(times), _spent(running)
            time.sleep(0.1)
        first, before = warm or (0, {})
        return times, {
            stage: (seconds - before.get(stage, 0.0)) / max(1, messages - first) * 1000
            for stage, seconds in _spent(running).items()
        }

    def _row(self, row: Rate) -> Rate:
        self.rows.append(row)
        print(f"  {self.media.name}: {row.name} {row.per_s:.1f}/s", file=sys.stderr, flush=True)
        return row


def steady_rate(times: Sequence[float]) -> float:
    """Return files a second after the warm-up."""
    ordered = sorted(times)
    first = max(1, int(len(ordered) * WARM_SHARE))
    return (len(ordered) - first) / (ordered[-1] - ordered[first - 1])


def show_stages(stages: Mapping[str, float]) -> None:
    """Print CPU ms by stage, the dearest first."""
    for stage, cpu_ms in sorted(stages.items(), key=lambda pair: -pair[1]):
        if cpu_ms >= 0.01:
            print(f"    {stage:20} {cpu_ms:11.2f}")


def _spent(running: Running) -> dict[str, float]:
    """Return CPU seconds by stage; all of them under the empty name."""
    return {**running.stages(), "": running.cpu_s()}


def _is_s3_call(operation: str) -> bool:
    # A call that a fault delays is counted a second time, as such.
    return operation.startswith("s3.") and not operation.endswith(" (fault)")


def _is_consumer_call(operation: str) -> bool:
    return operation.startswith("sqs.") and operation not in SETUP_CALLS
