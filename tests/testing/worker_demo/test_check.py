"""The demo notices what is wrong."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from detection_contract.schemas import load_schema
from detection_testing.worker_demo.check import (
    REQUIRED,
    Callback,
    Notification,
    Outcome,
    problems,
)
from detection_testing.worker_demo.media import BROKEN, Wanted, requests, uploads

TOPIC, FAILURES = "topic", "failures"


def envelope(wanted: Wanted, **changes: Any) -> dict[str, Any]:
    good = dict.fromkeys(REQUIRED) | {
        "request_id": wanted.request_id or f"event-{wanted.key}",
        "sqs_to_ml_url": wanted.url,
        "status": "finished",
        "file_type": wanted.upload.kind,
        "label": "REAL",
        "prediction_score": 0.25,
        "confidence": 0.75,
    }
    if wanted.upload.truth == "broken":
        good |= {"status": "failed", "label": None, "error": {"code": "undecodable"}}
    return good | changes


def asked() -> list[Wanted]:
    return requests(uploads(), 12, callback_url="http://a", late_callback_url="http://b")


def outcome_of(changes: dict[int, dict[str, Any]] | None = None) -> Outcome:
    """What the demo sees if all goes well; ``changes`` by place to some of the envelopes."""
    outcome = Outcome(
        wanted=asked(), success_place=TOPIC, failure_place=FAILURES, worker_exit_code=0
    )
    stored: dict[str, bytes] = {}
    seen: set[str] = set()
    for number, wanted in enumerate(outcome.wanted):
        again = {"cached": True} if wanted.url in seen else {}
        seen.add(wanted.url)
        result = envelope(wanted, **again, **(changes or {}).get(number, {}))
        body = json.dumps(result).encode()
        url = f"s3://results/{number}.json"
        stored[url] = body
        webhook_id = f"msg_{number}"
        broken = wanted.upload.truth == "broken"
        outcome.dead_letters += broken
        told = {
            "id": webhook_id,
            "request_id": result["request_id"],
            "sqs_to_ml_url": wanted.url,
            "result_url": url,
            "result": result,
        }
        outcome.notifications.append(Notification(FAILURES if broken else TOPIC, told))
        if wanted.late:
            outcome.callbacks.append(Callback(body, webhook_id, accepted=False))
        if not wanted.by_event:
            outcome.callbacks.append(Callback(body, webhook_id, accepted=True))
    outcome.stored = stored
    outcome.downloads = {w.url: 1 for w in outcome.wanted}
    return outcome


def test_a_good_run_has_no_problems() -> None:
    outcome = outcome_of()

    assert problems(outcome) == []
    assert outcome.complete
    assert (outcome.arrived, outcome.cached, outcome.late, outcome.broken) == (12, 2, 1, 1)


def test_half_of_the_requests_are_events_of_every_kind_and_one_is_broken() -> None:
    events = [w for w in asked() if w.by_event]

    assert len(events) == 6
    assert {w.upload.kind for w in events} == {"image", "video", "audio"}
    assert [w.upload.name for w in events if w.upload.truth == "broken"] == [BROKEN]
    assert all(w.upload.content for w in events)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_any_number_of_requests_can_be_made(count: int) -> None:
    made = requests(uploads(), count, callback_url="http://a", late_callback_url="http://b")

    assert len(made) == count
    assert sum(w.late for w in made) == (count > 1)
    ids = [w.request_id for w in made if not w.by_event]
    assert len(set(ids)) == len(ids) == count // 2
    assert all(json.loads(w.body)["sqs_to_ml_url"] == w.url for w in made if w.body)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"label": "MAYBE"}, "label is MAYBE", id="a strange label"),
        pytest.param({"prediction_score": 1.5}, "not between 0 and 1", id="no probability"),
        pytest.param({"file_type": "text"}, "file_type is text", id="the wrong kind"),
        pytest.param({"status": "failed", "error": {"code": "x"}}, "failed", id="a failure"),
    ],
)
def test_a_wrong_result_is_a_problem(change: dict[str, Any], problem: str) -> None:
    (found,) = problems(outcome_of({0: change}))

    assert problem in found


def test_a_verdict_on_a_broken_file_is_a_problem() -> None:
    place = next(n for n, w in enumerate(asked()) if w.upload.truth == "broken")

    (found,) = problems(outcome_of({place: {"status": "finished", "label": "REAL"}}))

    assert "a broken file got a verdict" in found


def test_an_incomplete_envelope_is_a_problem() -> None:
    outcome = outcome_of()
    result = outcome.notifications[0].body["result"]
    del result["threshold"]
    outcome.stored = {**outcome.stored, "s3://results/0.json": json.dumps(result).encode()}

    (found,) = problems(outcome)

    assert "the envelope lacks threshold" in found


def drop_notification(outcome: Outcome) -> None:
    outcome.notifications.pop(0)


def repeat_notification(outcome: Outcome) -> None:
    outcome.notifications.append(outcome.notifications[0])


def drop_callback(outcome: Outcome) -> None:
    outcome.callbacks.pop()


def repeat_callback(outcome: Outcome) -> None:
    outcome.callbacks.append(outcome.callbacks[-1])


def change_bytes(outcome: Outcome) -> None:
    call = outcome.callbacks[-1]
    outcome.callbacks[-1] = call._replace(body=call.body + b" ")


def change_id(outcome: Outcome) -> None:
    outcome.callbacks[-1] = outcome.callbacks[-1]._replace(webhook_id="msg_new")


def never_refuse(outcome: Outcome) -> None:
    outcome.callbacks = outcome.accepted


def lose_stored(outcome: Outcome) -> None:
    outcome.stored = {u: b for u, b in outcome.stored.items() if u != "s3://results/0.json"}


def store_more(outcome: Outcome) -> None:
    outcome.stored = {**outcome.stored, "s3://results/x.json": b"{}"}


def tell_elsewhere(outcome: Outcome) -> None:
    outcome.notifications[0] = outcome.notifications[0]._replace(place=FAILURES)


def tell_another(outcome: Outcome) -> None:
    outcome.notifications[0].body["result"] = None


def tell_strangers(outcome: Outcome) -> None:
    body = {**outcome.notifications[0].body, "request_id": "x", "sqs_to_ml_url": "s3://x/y"}
    outcome.notifications.append(Notification(TOPIC, body))


def detect_again(outcome: Outcome) -> None:
    repeated = [u for u, b in outcome.stored.items() if json.loads(b).get("cached")]
    fresh = json.loads(outcome.stored[repeated[0]]) | {"cached": False}
    body = json.dumps(fresh).encode()
    before = outcome.stored[repeated[0]]
    outcome.stored = {**outcome.stored, repeated[0]: body}
    outcome.callbacks = [
        c._replace(body=body) if c.body == before else c for c in outcome.callbacks
    ]
    for note in outcome.notifications:
        if note.body["result_url"] == repeated[0]:
            note.body["result"] = fresh


def download_again(outcome: Outcome) -> None:
    outcome.downloads = {**outcome.downloads, outcome.wanted[0].url: 2}


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (drop_notification, ["notifications instead of 1"]),
        (repeat_notification, ["2 notifications instead of 1"]),
        (drop_callback, ["0 callbacks instead of 1"]),
        (repeat_callback, ["2 callbacks instead of 1"]),
        (change_bytes, ["other bytes than the stored result"]),
        (change_id, ["different ids"]),
        (never_refuse, ["0 callbacks came later"]),
        (lose_stored, ["no result is stored at", "11 results are stored instead of 12"]),
        (store_more, ["13 results are stored instead of 12"]),
        (tell_elsewhere, ["told to failures instead of topic"]),
        (tell_another, ["another result than S3"]),
        (tell_strangers, ["a result that nobody asked for"]),
        (download_again, ["was downloaded 2 times instead of once"]),
        (detect_again, ["1 result came from the cache instead of 2"]),
    ],
)
def test_what_is_missing_doubled_or_different_is_a_problem(
    spoil: Callable[[Outcome], None], expected: list[str]
) -> None:
    outcome = outcome_of()

    spoil(outcome)

    found = problems(outcome)
    assert len(found) == len(expected)
    assert all(any(text in problem for problem in found) for text in expected)


def test_a_run_is_complete_once_every_result_is_where_it_is_wanted() -> None:
    outcome = outcome_of()
    outcome.notifications.pop(0)
    assert not outcome.complete

    outcome = outcome_of()
    drop_callback(outcome)
    assert not outcome.complete


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        pytest.param("left", {"outbox": 2}, "2 messages are left in outbox", id="an entry left"),
        pytest.param("dead_letters", 0, "0 dead letters instead of", id="no dead letter"),
        pytest.param("worker_exit_code", 1, "exit code 1", id="a worker that ended badly"),
    ],
)
def test_leftovers_are_problems(field: str, value: Any, problem: str) -> None:
    outcome = outcome_of()
    setattr(outcome, field, value)

    (found,) = problems(outcome)

    assert problem in found


def test_the_fields_come_from_the_shipped_schema() -> None:
    assert load_schema("result")["required"] == REQUIRED
