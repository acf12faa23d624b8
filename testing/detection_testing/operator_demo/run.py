"""The demo's sequence: a queue fills, workers start, results arrive, workers stop."""

import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detection_contract.environment import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
)
from detection_contract.process.logs import JsonFormatter
from detection_operator.errors import ClusterError
from detection_testing.operator_demo import local_aws, memory, server
from detection_testing.operator_demo.local_aws import (
    QUEUE_WAIT_S,
    Depth,
    LocalAws,
    messages,
    queue_spec,
)
from detection_testing.operator_demo.node import Node
from detection_testing.operator_demo.options import Backend, Options
from detection_testing.operator_demo.outcome import Outcome, problems, summary
from detection_testing.operator_demo.pool import Stage, contend
from detection_testing.operator_demo.ports import NAMESPACE, QUEUE_NAME, Kubernetes, OperatorEnded
from detection_testing.operator_demo.screen import Screen, Snapshot
from detection_testing.operator_demo.supervisor import Interrupted

TICK_S: Final = 0.2
LEAST_S: Final = 400.0
"""For cold starts of every worker on a busy machine, and the end."""
EACH_S: Final = 0.5
"""For a message, in the worst case; one takes about 0.1 s."""
TAIL_CHARS: Final = 2000
log = logging.getLogger(__name__)


def run(options: Options) -> int:
    """Run the demonstration and return its exit code.

    It is 0 only if every result arrived, the queue is empty, all workers are gone, and none of
    them was removed while it held work.
    """
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="detection-demo-") as name:
        folder = Path(name)
        try:
            with _logging(folder / "operator.log"):
                return _run(options, folder, screen)
        except Interrupted:
            screen.conclude(["Interrupted: everything that was started has been ended."])
            return EXIT_INTERRUPTED
        except (ClusterError, RuntimeError, OSError) as exc:
            screen.conclude([f"PROBLEM: {exc}"])
            return EXIT_FAILED
        finally:
            _keep(folder, options.logs)


def _run(options: Options, folder: Path, screen: Screen) -> int:
    screen.introduce(
        ["Deepfake detection that follows its queue, all of it here: nothing leaves this machine."]
    )
    with (
        local_aws.running(folder / "local-aws.log") as aws,
        _kubernetes(options, folder) as kubernetes,
        contextlib.closing(Node(kubernetes, folder / "pods", screen.note)) as node,
    ):
        files = local_aws.samples()
        if options.pool:
            stage = Stage(aws=aws, kubernetes=kubernetes, node=node, screen=screen)
            return _ended(folder, screen, contend(stage, options, aws.upload(files)))
        bodies = messages(aws.upload(files), options.messages, aws.callback_url)
        screen.introduce(_introduction(options, aws, kubernetes, len(files)))
        kubernetes.create_queue(queue_spec(aws, options))
        outcome = Outcome(expected=[body["request_id"] for body in bodies])
        screen.begin()
        aws.send(bodies)
        watch = _Watch(aws=aws, kubernetes=kubernetes, node=node, screen=screen, outcome=outcome)
        watch.until_over(LEAST_S + EACH_S * len(bodies))
        wrong = problems(outcome, node.counts)
        screen.conclude(summary(outcome, node.counts, screen.begun_s))
        return _ended(folder, screen, wrong)


def _ended(folder: Path, screen: Screen, wrong: Sequence[str]) -> int:
    """Print what went wrong, if anything; return the exit code."""
    if not wrong:
        return EXIT_OK
    screen.conclude([f"PROBLEM: {sentence}" for sentence in wrong])
    screen.conclude(_last_words(folder))
    return EXIT_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    aws: LocalAws
    kubernetes: Kubernetes
    node: Node
    screen: Screen
    outcome: Outcome

    def until_over(self, limit_s: float) -> None:
        """Let controllers and node act, and look on, to the end or for so many seconds."""
        outcome = self.outcome
        while not (outcome.over or outcome.trouble):
            try:
                self._turn()
            except ClusterError as exc:
                # As a kubelet does: a server that is away for a moment is asked again.
                log.warning("the API server did not do as asked", extra={"error": str(exc)})
            except OperatorEnded as exc:
                outcome.trouble = str(exc)
            if self.screen.passed_s > limit_s:
                outcome.trouble = f"it is not over after {limit_s:.0f} s"
            if self.node.counts.crashed:
                outcome.trouble = "a worker crashed"
            time.sleep(TICK_S)
        outcome.dead_letters = self.aws.dead_letters()

    def _turn(self) -> None:
        self.kubernetes.control()
        self.node.tick()
        outcome, passed_s = self.outcome, self.screen.passed_s
        for result in self.aws.new_results():
            outcome.add(result)
        depth = self.aws.depth()
        outcome.left = depth.total
        outcome.pods = len(self.kubernetes.pods())
        outcome.replicas = self.kubernetes.replicas()
        if outcome.answered and outcome.results_s is None:
            outcome.results_s = passed_s
        if outcome.replicas and outcome.first_wanted_s is None:
            outcome.first_wanted_s = passed_s
        self._show(self.kubernetes.status(), depth)
        if outcome.over:
            outcome.gone_s = passed_s

    def _show(self, status: Mapping[str, Any], depth: Depth) -> None:
        self.screen.row(
            Snapshot(
                depth=depth,
                results=self.outcome.results,
                wanted=status.get("desiredReplicas", 0),
                pods=self.node.running,
                ready=self.node.ready,
                plan=status.get("plan", {}).get("message", ""),
            )
        )


def _introduction(
    options: Options, aws: LocalAws, kubernetes: Kubernetes, files: int
) -> list[str]:
    return [
        f"1. SQS, S3 and a receiver of results: local services on {aws.endpoint_url}",
        f"2. Kubernetes: {kubernetes.description}",
        "3. The operator is the real one; this process plays the node, and runs each worker pod",
        "   as a real `detection-worker consume` process.",
        f"4. DetectionQueue {NAMESPACE}/{QUEUE_NAME}: 0 to {options.max_replicas} workers, so that"
        f" 99 % of the messages wait less than {QUEUE_WAIT_S} s.",
        f"5. {options.messages} messages about {files} real images, videos and recordings come at"
        " once.",
        "Workers come, the queue drains, idle workers are asked to drain and go, to zero.",
        "It takes one to two minutes; Ctrl-C ends everything.",
    ]


@contextlib.contextmanager
def _kubernetes(options: Options, folder: Path) -> Iterator[Kubernetes]:
    why = "as asked for" if options.backend is Backend.MEMORY else server.reason_against()
    if why and options.backend is Backend.SERVER:
        raise RuntimeError(why)
    if why:
        with memory.running(why) as in_memory:
            yield in_memory
        return
    with server.running(folder / "decisions.jsonl") as real:
        yield real


@contextlib.contextmanager
def _logging(path: Path) -> Iterator[None]:
    """Send the operator's log to a file."""
    root = logging.getLogger()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _last_words(folder: Path) -> list[str]:
    """Return the ends of the logs that may say why."""
    logs = [folder / "operator.log", *sorted(folder.glob("pods/*/worker.log"))]
    return [
        f"--- {path.relative_to(folder)} ends:\n"
        + path.read_text(encoding="utf-8", errors="replace")[-TAIL_CHARS:]
        for path in logs
        if path.exists()
    ]


def _keep(folder: Path, logs: Path | None) -> None:
    if logs is None:
        return
    for path in [*folder.glob("*.log"), *folder.glob("*.jsonl"), *folder.glob("pods/*/*.log")]:
        target = logs / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
