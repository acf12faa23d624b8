"""Check of the demo's outcome. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detection_contract.user_messages import counted
from detection_testing.operator_demo.node import PodCounts


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was seen of the messages and the replicas.

    Attributes:
        expected: Request ids that were sent.
        counts: Results by request id.
        failed: Sentences of results that are no finished detection.
        left: Messages that are still in the queue.
        dead_letters: Messages in the dead-letter queue.
        replicas: That the Deployments still ask for.
        pods: That still exist.
        first_wanted_s: From the first message to replicas above zero; None if never.
        results_s: From the first message to the last result; None while some lack.
        gone_s: From the first message to the end of the last worker; None while some run.
        trouble: Why the demonstration was given up; empty if it was not.
    """

    expected: Sequence[str]
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    left: int = 0
    dead_letters: int = 0
    replicas: int = 0
    pods: int = 0
    first_wanted_s: float | None = None
    results_s: float | None = None
    gone_s: float | None = None
    trouble: str = ""

    def add(self, result: Mapping[str, Any]) -> None:
        """Note one result."""
        request_id = str(result.get("request_id"))
        self.counts[request_id] = self.counts.get(request_id, 0) + 1
        if result.get("status") != "finished":
            code = (result.get("error") or {}).get("code", "no error code")
            self.failed.append(f"{request_id} failed: {code}")

    @property
    def results(self) -> int:
        """Messages that have a result."""
        return sum(name in self.counts for name in self.expected)

    @property
    def duplicates(self) -> int:
        """Results beyond the first of a message."""
        return sum(count - 1 for count in self.counts.values())

    @property
    def answered(self) -> bool:
        """Every message has a result."""
        return self.results == len(self.expected)

    @property
    def over(self) -> bool:
        """Everything is answered, the queue is empty, and all workers are gone."""
        return self.answered and not (self.left or self.replicas or self.pods)


def problems(outcome: Outcome, counts: PodCounts) -> list[str]:
    """Return what is wrong, a sentence each; empty if all ended as it should."""
    found = [outcome.trouble] if outcome.trouble else []
    missing = len(outcome.expected) - outcome.results
    if missing:
        found.append(f"{missing} of {counted(len(outcome.expected), 'result')} did not arrive")
    found += outcome.failed[:5]
    if outcome.left:
        found.append(f"{counted(outcome.left, 'message is', 'messages are')} left in the queue")
    if outcome.dead_letters:
        found.append(
            counted(outcome.dead_letters, "message is a dead letter", "messages are dead letters")
        )
    if outcome.replicas or outcome.pods:
        pods = counted(outcome.pods, "pod is", "pods are")
        replicas = counted(outcome.replicas, "replica is", "replicas are")
        found.append(f"{pods} left, {replicas} asked for")
    if counts.busy:
        found.append(f"{counted(counts.busy, 'pod was', 'pods were')} removed while holding work")
    if counts.unclean:
        found.append(f"{counted(counts.unclean, 'worker')} did not end with exit code 0")
    found += [f"pod {name} crashed with exit code {code}" for name, code in counts.crashed]
    return found


def summary(outcome: Outcome, counts: PodCounts, begun_s: float) -> list[str]:
    """Return the last lines.

    Args:
        outcome: What was seen.
        counts: What became of the pods.
        begun_s: Monotonic seconds of the first message.
    """
    ready_s = None if counts.first_ready_s is None else counts.first_ready_s - begun_s
    return [
        f"Results: {outcome.results} of {len(outcome.expected)} in {_seconds(outcome.results_s)},"
        f" {outcome.duplicates} duplicates, {len(outcome.failed)} failed."
        f" Queue: {outcome.left} messages left, {outcome.dead_letters} dead letters.",
        f"Workers: first wanted after {_seconds(outcome.first_wanted_s)}, first ready after"
        f" {_seconds(ready_s)}, at most {counts.most} at a time,"
        f" all gone after {_seconds(outcome.gone_s)}.",
        f"Pods removed: {counts.removed}, drained before SIGTERM: {counts.drained},"
        f" busy pods killed: {counts.busy}.",
    ]


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
