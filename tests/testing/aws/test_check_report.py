"""What a journal and the callbacks amount to."""

import json
from typing import Any

import pytest

from detection_testing.aws.check_report import CheckReport, check_total_queue
from detection_testing.aws.journal import JournalEvent, Kind, RecordedCallback


def body(request_id: str | None = "r1", **more: Any) -> str:
    document = {"sqs_to_ml_url": "s3://b/k", "callback_url": "http://h/", **more}
    return json.dumps(document if request_id is None else {**document, "request_id": request_id})


def events(*kinds: Kind, message_id: str = "m1", text: str | None = None) -> list[JournalEvent]:
    sent = JournalEvent(0.0, "sent", "q", message_id, body() if text is None else text)
    later = [JournalEvent(n + 1.0, kind, "q", message_id) for n, kind in enumerate(kinds)]
    return [sent, *later]


def callback(status: int = 200, *, webhook_id: str = "w1", **result: Any) -> RecordedCallback:
    content = json.dumps({"request_id": "r1", **result}).encode()
    return RecordedCallback(1.0, "/ok", {"webhook-id": webhook_id}, content, status)


def counts(report: CheckReport) -> dict[str, int]:
    """The counts that are not 0."""
    shown = {name: getattr(report, name) for name in report.__slots__}
    return {name: n for name, n in shown.items() if isinstance(n, int) and n}


@pytest.mark.parametrize(
    ("journal", "callbacks", "expected"),
    [
        pytest.param([], [], {}, id="nothing"),
        pytest.param(
            events("received", "deleted"),
            [callback()],
            {"sent": 1, "answered": 1},
            id="answered and deleted",
        ),
        pytest.param(
            events("received", "deleted"), [], {"sent": 1, "lost": 1}, id="deleted unanswered"
        ),
        pytest.param(
            events("received", "deleted"),
            [callback(500)],
            {"sent": 1, "lost": 1},
            id="deleted after a failed callback",
        ),
        pytest.param(events("retired"), [], {"sent": 1, "lost": 1}, id="too old"),
        pytest.param(events(), [], {"sent": 1, "pending": 1}, id="still waiting"),
        pytest.param(
            events("received", "extended"),
            [],
            {"sent": 1, "pending": 1, "orphaned": 1},
            id="still held",
        ),
        pytest.param(
            events("received", "extended", "released"),
            [],
            {"sent": 1, "pending": 1},
            id="released",
        ),
        pytest.param(
            events("received", "dead_lettered"),
            [],
            {"sent": 1, "dead_lettered": 1},
            id="dead-lettered by the queue",
        ),
        pytest.param(
            [
                *events("received", "deleted"),
                JournalEvent(9.0, "sent", "q-dlq", "m2", body()),
            ],
            [],
            {"sent": 1, "dead_lettered": 1},
            id="copied to the dead-letter queue",
        ),
        pytest.param(
            events("received", "expired", "received", "stale_delete", "deleted"),
            [callback(), callback()],
            {
                "sent": 1,
                "answered": 1,
                "duplicated": 1,
                "extra_callbacks": 1,
                "redeliveries": 1,
                "stale_deletes": 1,
            },
            id="answered twice alike",
        ),
        pytest.param(
            events("received", "deleted"),
            [callback(), callback(webhook_id="w2"), callback(label="FAKE")],
            {
                "sent": 1,
                "answered": 1,
                "duplicated": 1,
                "extra_callbacks": 2,
                "conflicting": 1,
            },
            id="answered thrice differently",
        ),
        pytest.param(
            events("received", "deleted"),
            [callback(), callback(request_id="other")],
            {"sent": 1, "answered": 1, "unexpected": 1},
            id="a callback that nobody asked for",
        ),
        pytest.param(
            events("received", "deleted", text='{"sqs_to_ml_url": "s3://b/k"}'),
            [],
            {"sent": 1},
            id="no callback wanted",
        ),
        pytest.param(
            events("received", "deleted", text="no JSON"),
            [],
            {"sent": 1, "lost": 1},
            id="nonsense just deleted",
        ),
        pytest.param(
            events("received", "deleted", text=body(None, n=1)),
            [callback(request_id="made", original_message=json.loads(body(None, n=1)))],
            {"sent": 1, "answered": 1},
            id="without a request id, by the original message",
        ),
    ],
)
def test_a_message_counts_by_its_outcome(
    journal: list[JournalEvent], callbacks: list[RecordedCallback], expected: dict[str, int]
) -> None:
    assert counts(check_total_queue(journal, callbacks)) == expected


def test_other_queues_are_left_out_when_work_queues_are_named() -> None:
    outbox = [JournalEvent(5.0, "sent", "outbox", "m9", "entry")]

    report = check_total_queue([*events(), *outbox], [], work_queues=["q"])

    assert (report.sent, report.pending) == (1, 1)


def test_the_ids_say_which() -> None:
    journal = [*events("deleted"), *events("received", message_id="m2", text=body("r2"))]

    report = check_total_queue(journal, [callback(request_id="r2"), callback(request_id="r2")])

    assert report.lost_ids == ("m1",)
    assert report.orphaned_ids == ("m2",)
    assert report.duplicated_ids == ("r2",)
