"""``demo --pool``: two queues share a pool, and the urgent one takes over what it needs."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detection_contract.environment import LABEL_QUEUE
from detection_contract.user_messages import counted
from detection_operator.errors import ClusterError
from detection_operator.kube.objects import condition
from detection_testing.operator_demo.local_aws import Depth, LocalAws, messages, queue_spec
from detection_testing.operator_demo.node import Node
from detection_testing.operator_demo.options import Options
from detection_testing.operator_demo.outcome import Outcome, problems, summary
from detection_testing.operator_demo.ports import Kubernetes, OperatorEnded
from detection_testing.operator_demo.screen import Screen, Snapshot

POOL: Final = "gpus"
BULK: Final = "bulk"
URGENT: Final = "urgent"
PRIORITIES: Final = {BULK: 0, URGENT: 100}
URGENT_SHARE: Final = 5
"""One urgent message for so many others."""
TICK_S: Final = 0.2
LEAST_S: Final = 300.0
"""For the cold starts of every worker, twice, on a busy machine, and the end."""
EACH_S: Final = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the demonstration runs on."""

    aws: LocalAws
    kubernetes: Kubernetes
    node: Node
    screen: Screen


@dataclass(slots=True, kw_only=True)
class HandOver:
    """What was seen of the pool. Times are seconds since the first message.

    Attributes:
        capacity: Replicas of the pool.
        most_pods: Most pods that existed at a time.
        asked_s: When the urgent messages came; None before.
        first_s: When the first worker of the urgent queue was ready.
        over_s: When it had all that it wanted of the pool.
        done_s: When all urgent messages had a result.
        back_s: When the other queue had a worker more again after that.
        bulk_left: Messages that the other queue still had when the urgent ones were done.
    """

    capacity: int
    most_pods: int = 0
    asked_s: float | None = None
    first_s: float | None = None
    over_s: float | None = None
    done_s: float | None = None
    back_s: float | None = None
    bulk_left: int = 0

    def problems(self) -> list[str]:
        """Return what did not happen as it should, a sentence each."""
        found = []
        if self.most_pods > self.capacity:
            found.append(
                f"{counted(self.most_pods, 'pod')} existed at a time in a pool of {self.capacity}"
            )
        if self.first_s is None:
            found.append("the urgent queue never got a worker")
        if self.over_s is None:
            found.append("the urgent queue did not take over the pool")
        if self.done_s is not None and not self.bulk_left:
            found.append("the urgent messages came last: send more with --messages")
        elif self.back_s is None:
            found.append("the other queue did not get the pool back")
        return found

    def summary(self) -> list[str]:
        """Return what happened."""
        return [
            f"Pool: at most {counted(self.most_pods, 'pod')} at a time, capacity {self.capacity}.",
            f"Hand-over: urgent messages after {_seconds(self.asked_s)}, its first worker ready"
            f" {_later(self.asked_s, self.first_s)}, all of the pool"
            f" {_later(self.asked_s, self.over_s)}, its last result"
            f" {_later(self.asked_s, self.done_s)} ({self.bulk_left} other messages were still"
            f" waiting); the other queue had workers again {_later(self.asked_s, self.back_s)}.",
        ]


@dataclass(slots=True, kw_only=True)
class _Contest:
    stage: Stage
    seen: HandOver
    outcome: Outcome
    urls: Mapping[str, str]
    urgent: Sequence[Mapping[str, Any]]
    pods: dict[str, int] = field(default_factory=dict)

    def until_over(self, limit_s: float) -> None:
        """Let everything act, and look on, to the end or for so many seconds."""
        outcome, screen = self.outcome, self.stage.screen
        while not (outcome.over or outcome.trouble):
            try:
                self._turn()
            except ClusterError as exc:
                log.warning("the API server did not do as asked", extra={"error": str(exc)})
            except OperatorEnded as exc:
                outcome.trouble = str(exc)
            if screen.passed_s > limit_s:
                outcome.trouble = f"it is not over after {limit_s:.0f} s"
            if self.stage.node.counts.crashed:
                outcome.trouble = "a worker crashed"
            time.sleep(TICK_S)
        outcome.dead_letters = self.stage.aws.dead_letters()

    def _turn(self) -> None:
        stage, outcome = self.stage, self.outcome
        stage.kubernetes.control()
        stage.node.tick()
        for result in stage.aws.new_results():
            outcome.add(result)
        depths = {name: stage.aws.depth(url) for name, url in self.urls.items()}
        replicas = {name: stage.kubernetes.replicas(name) for name in self.urls}
        outcome.left = sum(depth.total for depth in depths.values())
        outcome.replicas = sum(replicas.values())
        outcome.pods = self._look_at_pods()
        passed_s = stage.screen.passed_s
        if outcome.answered and outcome.results_s is None:
            outcome.results_s = passed_s
        if outcome.replicas and outcome.first_wanted_s is None:
            outcome.first_wanted_s = passed_s
        self._follow(depths, passed_s)
        self._show(depths, replicas)
        if outcome.over:
            outcome.gone_s = passed_s

    def _look_at_pods(self) -> int:
        """Count the ready pods of each queue; return how many pods there are."""
        pods = self.stage.kubernetes.pods()
        self.seen.most_pods = max(self.seen.most_pods, len(pods))
        self.pods = dict.fromkeys(self.urls, 0)
        for pod in pods:
            if (condition(pod, "Ready") or {}).get("status") == "True":
                self.pods[pod["metadata"]["labels"][LABEL_QUEUE]] += 1
        return len(pods)

    def _follow(self, depths: Mapping[str, Depth], passed_s: float) -> None:
        """Note each step of the hand-over once."""
        seen, counts = self.seen, self.outcome.counts
        if seen.asked_s is None:
            if self.pods[BULK] == seen.capacity:
                self.stage.screen.note(f"{len(self.urgent)} urgent messages come")
                self.stage.aws.send(self.urgent, self.urls[URGENT])
                seen.asked_s = passed_s
            return
        if self.pods[URGENT] and seen.first_s is None:
            seen.first_s = passed_s
        if self.pods[URGENT] == seen.capacity and seen.over_s is None:
            seen.over_s = passed_s
        answered = all(body["request_id"] in counts for body in self.urgent)
        if answered and seen.done_s is None:
            seen.done_s, seen.bulk_left = passed_s, depths[BULK].total
        if seen.done_s is not None and self.pods[BULK] and seen.back_s is None:
            seen.back_s = passed_s

    def _show(self, depths: Mapping[str, Depth], replicas: Mapping[str, int]) -> None:
        kubernetes, node = self.stage.kubernetes, self.stage.node
        parts = [f"{name} {self.pods[name]} of {count} ready" for name, count in replicas.items()]
        message = kubernetes.pool_status(POOL).get("message", "")
        wanted = [kubernetes.status(name).get("desiredReplicas", 0) for name in self.urls]
        self.stage.screen.row(
            Snapshot(
                depth=Depth(
                    sum(depth.visible for depth in depths.values()),
                    sum(depth.in_flight for depth in depths.values()),
                ),
                results=self.outcome.results,
                wanted=sum(wanted),
                pods=node.running,
                ready=node.ready,
                plan=f"{', '.join(parts)}; pool: {message}",
            )
        )


def contend(stage: Stage, options: Options, files: Sequence[str]) -> list[str]:
    """Let two queues contend; return what went wrong, a sentence each.

    Args:
        stage: What it runs on.
        options: How the demonstration runs.
        files: URLs of the media.
    """
    aws, screen = stage.aws, stage.screen
    urls = {BULK: aws.queue_url, URGENT: aws.create_queue(f"demo-{URGENT}")}
    bulk = messages(files, options.messages, aws.callback_url, BULK)
    count = max(1, options.messages // URGENT_SHARE)
    urgent = messages(files, count, aws.callback_url, URGENT)
    screen.introduce(_introduction(stage, options, count))
    stage.kubernetes.create_pool({"capacity": {"replicas": options.max_replicas}}, POOL)
    for name, url in urls.items():
        spec = queue_spec(aws, options, url)
        spec["scaling"]["pool"] = {"name": POOL, "priority": PRIORITIES[name]}
        stage.kubernetes.create_queue(spec, name)
    outcome = Outcome(expected=[body["request_id"] for body in (*bulk, *urgent)])
    seen = HandOver(capacity=options.max_replicas)
    screen.begin()
    aws.send(bulk, urls[BULK])
    contest = _Contest(stage=stage, seen=seen, outcome=outcome, urls=urls, urgent=urgent)
    contest.until_over(LEAST_S + EACH_S * len(outcome.expected))
    counts = stage.node.counts
    screen.conclude([*summary(outcome, counts, screen.begun_s), *seen.summary()])
    return [*problems(outcome, counts), *seen.problems()]


def _introduction(stage: Stage, options: Options, count: int) -> list[str]:
    return [
        f"1. SQS, S3 and a receiver of results: local services on {stage.aws.endpoint_url}",
        f"2. Kubernetes: {stage.kubernetes.description}",
        "3. The operator is the real one; this process plays the node, and runs each worker pod",
        "   as a real `detection-worker consume` process.",
        f"4. WorkerPool {POOL}: {options.max_replicas} replicas for two DetectionQueues, {BULK!r}"
        f" (priority {PRIORITIES[BULK]}) and {URGENT!r} (priority {PRIORITIES[URGENT]}).",
        f"5. {options.messages} messages come to {BULK!r}; when it has the whole pool, {count}"
        f" come to {URGENT!r}.",
        "Busy workers finish what they hold before they go; no pod starts before another is gone.",
        "It takes two to four minutes; Ctrl-C ends everything.",
    ]


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _later(since_s: float | None, value: float | None) -> str:
    if since_s is None or value is None:
        return "never"
    return f"{value - since_s:.1f} s later"
