"""Check of the demo's outcome. Pure."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from detection_contract.schemas import load_schema
from detection_contract.user_messages import counted
from detection_testing.worker_demo.media import Wanted

REQUIRED = cast("list[str]", load_schema("result")["required"])
"""Fields of every envelope."""


class Notification(NamedTuple):
    """What a subscriber got.

    Attributes:
        place: Topic or queue of the failed that told it.
        body: As ``notification.schema.json`` describes it.
    """

    place: str
    body: dict[str, Any]


class Callback(NamedTuple):
    """One POST that a receiver got, and whether it accepted it."""

    body: bytes
    webhook_id: str
    accepted: bool


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What the demo saw.

    Attributes:
        wanted: Results that must arrive.
        success_place: Where finished results are told.
        failure_place: Where failures are told.
        notifications: What subscribers got.
        callbacks: What receivers got.
        stored: Results in S3, by URL.
        downloads: How often S3 sent an object, by URL.
        seconds: From the start of the worker to the last result.
        left: Messages that are still in a queue, by its name; those that are right are left out.
        dead_letters: Messages in the dead-letter queue.
        worker_exit_code: After SIGTERM.
    """

    wanted: Sequence[Wanted]
    success_place: str
    failure_place: str
    notifications: list[Notification] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)
    stored: Mapping[str, bytes] = field(default_factory=dict)
    downloads: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    left: Mapping[str, int] = field(default_factory=dict)
    dead_letters: int = 0
    worker_exit_code: int | None = None

    @property
    def broken(self) -> int:
        """Requests for files that are broken on purpose."""
        return sum(w.upload.truth == "broken" for w in self.wanted)

    @property
    def repeated(self) -> int:
        """Requests for an object that another one asked for too, and that has a result."""
        asked = Counter(w.url for w in self.wanted if w.upload.truth != "broken")
        return sum(asked.values()) - len(asked)

    @property
    def cached(self) -> int:
        """Results that cost no detection of their own."""
        return sum(_document(body).get("cached") is True for body in self.stored.values())

    @property
    def accepted(self) -> list[Callback]:
        """Callbacks that were delivered."""
        return [call for call in self.callbacks if call.accepted]

    @property
    def late(self) -> int:
        """Callbacks that were delivered after a receiver had refused them."""
        refused = {call.webhook_id for call in self.callbacks if not call.accepted}
        return sum(call.webhook_id in refused for call in self.accepted)

    @property
    def arrived(self) -> int:
        """Results that nobody waits for any more."""
        by_callback = {_document(call.body).get("request_id") for call in self.accepted}
        told = Counter(note.body["request_id"] for note in self.notifications)
        ids = {w.request_id for w in self.wanted if not w.by_event}
        return len(ids & by_callback & told.keys()) + sum(
            count for request_id, count in told.items() if request_id not in ids
        )

    @property
    def complete(self) -> bool:
        """Every result is where it is wanted."""
        return self.arrived >= len(self.wanted)


def problems(outcome: Outcome) -> list[str]:
    """Return what is wrong, in sentences; empty if the demo ended as it should."""
    found = [*_missing_or_doubled(outcome), *_callback_problems(outcome)]
    for note in outcome.notifications:
        found += _notification_problems(note, outcome)
    if len(outcome.stored) != len(outcome.wanted):
        stored = counted(len(outcome.stored), "result is", "results are")
        found.append(f"{stored} stored instead of {len(outcome.wanted)}")
    if outcome.cached != outcome.repeated:
        cached = counted(outcome.cached, "result")
        found.append(f"{cached} came from the cache instead of {outcome.repeated}")
    found += [
        f"{url} was downloaded {counted(outcome.downloads.get(url, 0), 'time')} instead of once"
        for url in {w.url for w in outcome.wanted if w.upload.truth != "broken"}
        if outcome.downloads.get(url) != 1
    ]
    if outcome.dead_letters != outcome.broken:
        found.append(f"{counted(outcome.dead_letters, 'dead letter')} instead of {outcome.broken}")
    found += [
        f"{counted(count, 'message is', 'messages are')} left in {name}"
        for name, count in outcome.left.items()
    ]
    if outcome.worker_exit_code != 0:
        found.append(f"the worker ended with exit code {outcome.worker_exit_code}")
    return found


def result_problems(result: Mapping[str, object], wanted: Wanted) -> list[str]:
    """Return what is wrong with an envelope, in sentences."""
    missing = [f for f in REQUIRED if f not in result]
    if missing:
        return [f"the envelope lacks {', '.join(missing)}"]
    if wanted.upload.truth == "broken":
        failed = result["status"] == "failed" and result["label"] is None and result["error"]
        return [] if failed else ["a broken file got a verdict"]
    found = []
    if result["status"] != "finished":
        found.append(f"failed: {result['error']}")
    elif result["file_type"] != wanted.upload.kind:
        found.append(f"file_type is {result['file_type']}, not {wanted.upload.kind}")
    elif result["label"] not in {"FAKE", "REAL"}:
        found.append(f"label is {result['label']}")
    elif not _is_share(result["prediction_score"]) or not _is_share(result["confidence"]):
        found.append("score or confidence is not between 0 and 1")
    return found


def wanted_of(outcome: Outcome, request_id: str, url: str) -> Wanted | None:
    """Return the request that a result is of: by its id, or by the object that S3 told of."""
    named = next((w for w in outcome.wanted if w.request_id == request_id), None)
    return named or next((w for w in outcome.wanted if w.by_event and w.url == url), None)


def _missing_or_doubled(outcome: Outcome) -> list[str]:
    told = Counter(
        _name(wanted_of(outcome, n.body["request_id"], str(n.body["sqs_to_ml_url"])))
        for n in outcome.notifications
    )
    wanted = Counter(_name(w) for w in outcome.wanted)
    return [
        f"{name}: {told[name]} notifications instead of {wanted[name]}"
        for name in wanted | told
        if told[name] != wanted[name]
    ]


def _callback_problems(outcome: Outcome) -> list[str]:
    posted = Counter(str(_document(call.body).get("request_id")) for call in outcome.accepted)
    expected = Counter(w.request_id for w in outcome.wanted if not w.by_event)
    found = [
        f"{request_id}: {posted[request_id]} callbacks instead of {expected[request_id]}"
        for request_id in expected | posted
        if posted[request_id] != expected[request_id]
    ]
    if outcome.late != sum(w.late for w in outcome.wanted):
        found.append(f"{outcome.late} callbacks came later than the first attempt")
    stored = set(outcome.stored.values())
    told = {n.body["request_id"]: n.body["id"] for n in outcome.notifications}
    for call in outcome.callbacks:
        request_id = str(_document(call.body).get("request_id"))
        if call.body not in stored:
            found.append(f"{request_id}: the callback has other bytes than the stored result")
        if not call.webhook_id or call.webhook_id != told.get(request_id, call.webhook_id):
            found.append(f"{request_id}: callback and notification have different ids")
    return found


def _notification_problems(note: Notification, outcome: Outcome) -> list[str]:
    request_id = note.body["request_id"]
    wanted = wanted_of(outcome, request_id, str(note.body["sqs_to_ml_url"]))
    if wanted is None:
        return []  # already told of
    body = outcome.stored.get(str(note.body["result_url"]))
    if body is None:
        return [f"{request_id}: no result is stored at {note.body['result_url']}"]
    result = _document(body)
    found = [f"{request_id}: {problem}" for problem in result_problems(result, wanted)]
    failed = wanted.upload.truth == "broken"
    place = outcome.failure_place if failed else outcome.success_place
    if note.place != place:
        found.append(f"{request_id}: told to {note.place} instead of {place}")
    if note.body["result"] != result:
        found.append(f"{request_id}: the notification has another result than S3")
    return found


def _name(wanted: Wanted | None) -> str:
    if wanted is None:
        return "a result that nobody asked for"
    return wanted.request_id or wanted.key


def _document(body: bytes) -> dict[str, Any]:
    document = json.loads(body)
    return document if isinstance(document, dict) else {}


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
