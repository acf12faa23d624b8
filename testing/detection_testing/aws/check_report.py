"""Check a run for lost, duplicated and unfinished messages. Pure: from the journal and callbacks.

The words are those of Jepsen's total-queue checker: everything that went in must come out.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from detection_testing.aws.journal import DEAD_LETTER_SUFFIX, JournalEvent, RecordedCallback

_GONE = frozenset({"deleted", "retired", "purged"})
_HELD = frozenset({"received", "extended"})
# Events after which a message is where it was, as far as its end is concerned.
_NEUTRAL = frozenset({"stale_delete"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What became of the messages sent to work queues.

    A message has its outcome when a callback for it was answered with success, when it or a copy
    went to a dead-letter queue, or, if it asks for no callback, when it was deleted.

    Attributes:
        sent: Messages sent to work queues.
        answered: Messages with an accepted callback.
        dead_lettered: Messages that were moved or copied to a dead-letter queue.
        lost: Gone from the queue without an outcome.
        pending: Still in the queue without an outcome.
        orphaned: Still held by a consumer when the journal ends.
        duplicated: Requests with more accepted callbacks than messages.
        extra_callbacks: How many more.
        conflicting: Duplicated messages whose callbacks differ in webhook-id or body.
        unexpected: Accepted callbacks that belong to no message.
        redeliveries: Deliveries beyond the first of each message.
        stale_deletes: Deletes with the handle of an earlier delivery.
        lost_ids: Message ids.
        orphaned_ids: Message ids.
        duplicated_ids: Request ids.
    """

    sent: int
    answered: int
    dead_lettered: int
    lost: int
    pending: int
    orphaned: int
    duplicated: int
    extra_callbacks: int
    conflicting: int
    unexpected: int
    redeliveries: int
    stale_deletes: int
    lost_ids: tuple[str, ...]
    orphaned_ids: tuple[str, ...]
    duplicated_ids: tuple[str, ...]


def check_total_queue(
    journal: Sequence[JournalEvent],
    callbacks: Sequence[RecordedCallback],
    *,
    work_queues: Collection[str] = (),
) -> CheckReport:
    """Return what became of every message.

    Callbacks belong to a message by ``request_id`` or, if the message has none, by the
    ``original_message`` that they repeat.

    Args:
        journal: From the start of the run.
        callbacks: From the start of the run.
        work_queues: Names of the queues to judge; by default all that are no dead-letter queues.
            Those are told by their names, which end in ``-dlq`` (or ``-dlq.fifo``).
    """
    history = _History.of(journal, work_queues)
    keys = {message_id: _key(body) for message_id, body in history.bodies.items()}
    expected = Counter(keys.values())
    accepted = _accepted(callbacks, expected)
    dead_keys = {_key(body) for body in history.dead_bodies}
    dead = {m for m, key in keys.items() if m in history.dead_ids or key in dead_keys}
    answered = {m for m, key in keys.items() if key in accepted}
    silent = {
        m
        for m, body in history.bodies.items()
        if history.last.get(m) == "deleted" and not _wants_callback(body)
    }
    open_ids = [m for m in keys if m not in dead | answered | silent]
    lost = tuple(m for m in open_ids if history.last[m] in _GONE)
    orphaned = tuple(m for m in keys if history.last[m] in _HELD)
    repeated = {k: c for k, c in accepted.items() if len(c) > expected[k] > 0}
    return CheckReport(
        sent=len(keys),
        answered=len(answered),
        dead_lettered=len(dead),
        lost=len(lost),
        pending=len(open_ids) - len(lost),
        orphaned=len(orphaned),
        duplicated=len(repeated),
        extra_callbacks=sum(len(c) - expected[k] for k, c in repeated.items()),
        conflicting=sum(_differ(c) > expected[k] for k, c in repeated.items()),
        unexpected=sum(len(c) for k, c in accepted.items() if k not in expected),
        redeliveries=sum(count - 1 for count in history.deliveries.values()),
        stale_deletes=history.stale_deletes,
        lost_ids=lost,
        orphaned_ids=orphaned,
        duplicated_ids=tuple(repeated),
    )


@dataclass(frozen=True, slots=True)
class _History:
    bodies: dict[str, str]
    last: dict[str, str]
    deliveries: Counter[str]
    dead_ids: set[str]
    dead_bodies: set[str]
    stale_deletes: int

    @classmethod
    def of(cls, journal: Sequence[JournalEvent], queues: Collection[str]) -> "_History":
        work = [
            e
            for e in journal
            if not _is_dead_letter_queue(e.queue) and (not queues or e.queue in queues)
        ]
        dead = [e for e in journal if _is_dead_letter_queue(e.queue)]
        return cls(
            bodies={e.message_id: e.detail for e in work if e.kind == "sent"},
            last={e.message_id: e.kind for e in work if e.kind not in _NEUTRAL},
            deliveries=Counter(e.message_id for e in work if e.kind == "received"),
            dead_ids={e.message_id for e in work if e.kind == "dead_lettered"},
            dead_bodies={e.detail for e in dead if e.kind == "sent"},
            stale_deletes=sum(e.kind == "stale_delete" for e in work),
        )


def _is_dead_letter_queue(name: str) -> bool:
    return name.removesuffix(".fifo").endswith(DEAD_LETTER_SUFFIX)


def _accepted(
    callbacks: Sequence[RecordedCallback], expected: Counter[str]
) -> dict[str, list[RecordedCallback]]:
    by_key: dict[str, list[RecordedCallback]] = defaultdict(list)
    for call in callbacks:
        if call.accepted:
            by_key[_callback_key(call, expected)].append(call)
    return by_key


def _callback_key(call: RecordedCallback, expected: Counter[str]) -> str:
    result = _json_object(call.body) or {}
    request_id = str(result.get("request_id") or call.headers.get("x-request-id", ""))
    if request_id in expected:
        return request_id
    original = _canonical(result.get("original_message"))
    return original if original in expected else request_id


def _key(body: str) -> str:
    message = _json_object(body)
    if message is None:
        return body
    request_id = message.get("request_id")
    return request_id if isinstance(request_id, str) and request_id else _canonical(message)


def _wants_callback(body: str) -> bool:
    # What is no JSON object breaks the contract: it has to be dead-lettered, not just deleted.
    message = _json_object(body)
    return message is None or "callback_url" in message


def _json_object(text: str | bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _canonical(document: object) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _differ(calls: Sequence[RecordedCallback]) -> int:
    return len({(c.headers.get("webhook-id"), hashlib.sha256(c.body).hexdigest()) for c in calls})
