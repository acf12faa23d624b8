"""Check of the demo's outcome. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from detection_contract.schemas import load_schema
from detection_testing.worker_demo.media import Upload

REQUIRED = cast("list[str]", load_schema("result")["required"])
"""Fields of every envelope."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What the demo saw.

    Attributes:
        expected: Request id to the file that was asked for.
        results: Envelopes by request id; a second one for an id is kept too.
        seconds: From the start of the worker to the last result.
        left_in_queue: Messages that are still in the queue.
        dead_letters: Messages in the dead-letter queue.
        worker_exit_code: After SIGTERM.
    """

    expected: Mapping[str, Upload]
    results: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    webhook_ids: set[str] = field(default_factory=set)
    seconds: float = 0.0
    left_in_queue: int = 0
    dead_letters: int = 0
    worker_exit_code: int | None = None

    def add(self, result: dict[str, object], headers: Mapping[str, str]) -> None:
        """Note one callback."""
        self.results.setdefault(str(result["request_id"]), []).append(result)
        self.webhook_ids.add({k.lower(): v for k, v in headers.items()}.get("webhook-id", ""))

    def __len__(self) -> int:
        return len(self.results)

    @property
    def broken(self) -> int:
        """Requests for files that are broken on purpose."""
        return sum(u.truth == "broken" for u in self.expected.values())

    @property
    def complete(self) -> bool:
        """Every request has a result."""
        return self.results.keys() >= self.expected.keys()


def problems(outcome: Outcome) -> list[str]:
    """Return what is wrong, in sentences; empty if the demo ended as it should."""
    found: list[str] = []
    for request_id, upload in outcome.expected.items():
        results = outcome.results.get(request_id, [])
        if len(results) != 1:
            found.append(f"{request_id} ({upload.key}): {len(results)} results instead of one")
        found += [f"{request_id}: {p}" for r in results for p in _envelope_problems(r, upload)]
    if outcome.dead_letters != outcome.broken:
        found.append(f"{outcome.dead_letters} dead letters instead of {outcome.broken}")
    if outcome.left_in_queue:
        found.append(f"{outcome.left_in_queue} messages are left in the queue")
    if outcome.worker_exit_code != 0:
        found.append(f"the worker ended with exit code {outcome.worker_exit_code}")
    if len(outcome.webhook_ids) != len(outcome.expected) or "" in outcome.webhook_ids:
        found.append("callbacks lack a webhook-id of their own")
    return found


def _envelope_problems(result: Mapping[str, object], upload: Upload) -> list[str]:
    missing = [f for f in REQUIRED if f not in result]
    if missing:
        return [f"the envelope lacks {', '.join(missing)}"]
    if upload.truth == "broken":
        failed = result["status"] == "failed" and result["label"] is None and result["error"]
        return [] if failed else ["a broken file got a verdict"]
    found = []
    if result["status"] != "finished":
        found.append(f"failed: {result['error']}")
    elif result["file_type"] != upload.kind:
        found.append(f"file_type is {result['file_type']}, not {upload.kind}")
    elif result["label"] not in {"FAKE", "REAL"}:
        found.append(f"label is {result['label']}")
    elif not _is_share(result["prediction_score"]) or not _is_share(result["confidence"]):
        found.append("score or confidence is not between 0 and 1")
    return found


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
