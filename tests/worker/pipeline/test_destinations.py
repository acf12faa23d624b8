"""From scores to the deletion: stored, notified, posted, in this order and once each."""

import json
import logging
import threading
import time
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.pipeline.stages import breaker as breaker_module
from detection_worker.pipeline.stages import notify_step
from detection_worker.results import group_commit
from detection_worker.results.base import ResultId

TOPIC = "arn:aws:sns:us-east-1:123456789012:done"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:also-done"
FAILURES = "arn:aws:events:us-east-1:123456789012:event-bus/failures"


def s3_event(*keys: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "bucket"}, "object": {"key": key}},
            }
            for key in keys
        ]
    }


def denied(code: ErrorCode, text: str) -> JobError:

    return JobError(code, text, environment=True)


# -- order -------------------------------------------------------------------------------------


def test_a_result_is_stored_then_published_then_posted(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC, QUEUE), on_failure=(FAILURES,))
    rig.start()
    message_id = rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", f"notify {TOPIC}", f"notify {QUEUE}", "post r"]
    [post] = rig.callbacks.posted
    assert rig.store.bodies == {"r": post.body}
    assert rig.store.sought == []
    [(_, told), (_, again)] = rig.notifier.published
    assert (told.id, told.kind, told.media_arn) == (
        f"msg_{message_id}_0",
        "finished",
        "arn:aws:s3:::bucket/7_a.png",
    )
    assert again == told
    body = json.loads(told.body)
    assert body["result_url"] == "s3://results/r.json"
    assert body["result"] == post.result
    assert told.attributes["label"] == "FAKE"
    for service in ("s3", "sns", "sqs"):
        assert rig.metric("detection_worker_results_total", destination=service, result="ok") == 1
    assert [r["request_id"] for r in rig.results] == ["r"]


def test_a_failed_job_is_stored_and_told_to_those_who_want_failures(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,), on_failure=(FAILURES,))
    rig.decoder.script.errors["7_a.png"] = [rig.error(ErrorCode.UNDECODABLE)]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", f"notify {FAILURES}", "post r"]
    assert json.loads(rig.store.bodies["r"])["error"]["code"] == "undecodable"
    [(_, told)] = rig.notifier.published
    assert told.kind == "failed"
    assert [c for _, c, _ in rig.source.dead] == ["undecodable"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"sqs_to_ml_url": "s3://b-1/a.png", "callback_url": "file:///x"}, "bad_callback_url"),
        ({"sqs_to_ml_url": "ftp://x/a.png"}, "bad_url"),
        ("{", "bad_json"),
    ],
)
def test_a_bad_message_is_stored_and_told_once_and_posted_nowhere(
    body: Any, code: str, rig: Any
) -> None:
    rig.callback_url = None if code != "bad_callback_url" else "https://default.test/x"
    rig.keep_results(on_failure=(FAILURES,))
    rig.start()
    rig.source.send(body)

    assert rig.eventually(rig.empty)
    assert [c for _, c, _ in rig.source.dead] == [code]
    [stored] = rig.store.bodies.values()
    assert json.loads(stored)["error"]["code"] == code
    assert [arn for arn, _ in rig.notifier.published] == [FAILURES]
    assert rig.callbacks.attempts == []


def test_without_a_store_a_notification_holds_the_result(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,))
    rig.store = None
    rig.start()
    rig.source.send({"sqs_to_ml_url": "s3://bucket/3_a.png", "request_id": "r"})

    assert rig.eventually(rig.empty)
    [(_, told)] = rig.notifier.published
    body = json.loads(told.body)
    assert (body["result_url"], body["result"]["label"]) == (None, "REAL")


def test_a_callback_that_says_no_changes_nothing_of_what_was_stored(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,), on_failure=(FAILURES,))
    rig.callbacks.script.errors["r"] = [rig.error(ErrorCode.CALLBACK_REJECTED)]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert [c for _, c, _ in rig.source.dead] == ["callback_rejected"]
    assert json.loads(rig.store.bodies["r"])["status"] == "finished"
    assert [arn for arn, _ in rig.notifier.published] == [TOPIC]


# -- default callback --------------------------------------------------------------------------


def test_messages_without_a_callback_have_the_default_one(rig: Any) -> None:
    rig.callback_url = "https://default.test/x"
    rig.start()
    rig.source.send(s3_event("7_a.png", "3_b.png"))
    rig.send("4_c.png")
    rig.source.send({"sqs_to_ml_url": "ftp://x/a.png"})

    assert rig.eventually(rig.empty)
    assert sorted((p.url, p.result["sqs_to_ml_url"]) for p in rig.callbacks.posted) == [
        ("https://cb.test/x", "s3://bucket/4_c.png"),
        ("https://default.test/x", "ftp://x/a.png"),
        ("https://default.test/x", "s3://bucket/3_b.png"),
        ("https://default.test/x", "s3://bucket/7_a.png"),
    ]


# -- memory ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_only_what_failed_is_repeated(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC, QUEUE))
    rig.store.script.errors["r"] = [rig.error(ErrorCode.RESULT_NOT_STORED)]
    rig.notifier.script.errors[TOPIC] = [rig.error(ErrorCode.NOTIFICATION_FAILED)]
    rig.callbacks.script.errors["r"] = [rig.error(ErrorCode.CALLBACK_UNREACHABLE)]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    # The topic failed at first; the queue beside it was told anyway.
    assert rig.journal == ["store r", f"notify {QUEUE}", f"notify {TOPIC}", "post r"]
    assert rig.storage.script.count == {"7_a.png": 1}
    assert rig.store.sought == []
    assert len({body for _, body in rig.store.tried}) == 1
    assert {t.id for _, t in rig.notifier.published} == {rig.callbacks.posted[0].webhook_id}
    for service, code in (("s3", "result_not_stored"), ("sns", "notification_failed")):
        name = "detection_worker_results_total"
        assert rig.metric(name, destination=service, result=code) == 1
    assert rig.counts(3, "detection_worker_messages_total", outcome="retried")
    assert len(rig.results) == 1


@pytest.mark.slow
def test_a_handler_that_raises_costs_no_second_callback(rig: Any) -> None:
    rig.on_result_error = RuntimeError("database away")
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert (len(rig.results), rig.journal) == (1, ["post r"])


def test_a_store_that_never_works_gives_the_message_up_with_the_reason(rig: Any) -> None:
    rig.source.max_receive_count = 1
    rig.keep_results(on_success=(TOPIC,))
    rig.store.script.errors["r"] = [rig.error(ErrorCode.RESULT_NOT_STORED, "S3 is slow")]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    [(_, code, reason)] = rig.source.dead
    assert (code, "S3 is slow" in reason) == ("gave_up", True)
    assert rig.journal == []


# -- another worker ----------------------------------------------------------------------------


def after_a_crash(rig: Any, *, key: str = "7_a.png") -> Any:
    """A worker stores a result and gets no further; return another one on the same queue."""
    gate = rig.notifier.script.gate(FAILURES if key == "9_bad.png" else TOPIC)
    rig.start(visibility_timeout_s=2)
    rig.send(key, request_id="r")
    assert rig.eventually(lambda: rig.journal == ["store r"])
    rig.pipeline.stop(grace_s=0.0)  # nothing of it goes on: its message is visible at once
    gate.set()
    rig.notifier.script.gates.clear()
    other = rig.another("other")
    rig.pipeline = None
    return other


def test_another_worker_finds_the_result_and_analyses_nothing(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.keep_results(on_success=(TOPIC,))
    other = after_a_crash(rig)
    stored = rig.store.bodies["r"]

    other.start()

    assert other.eventually(other.empty)
    assert (other.storage.script.count, other.decoder.script.count) == ({}, {})
    assert [p.body for p in other.callbacks.posted] == [stored]
    assert len(other.store.tried) == 1
    assert other.journal[-2:] == [f"notify {TOPIC}", "post r"]
    assert "result found in the store for r" in caplog.messages
    found = {"destination": "s3", "result": "found"}
    assert other.metric("detection_worker_results_total", **found) == 1
    assert [r["request_id"] for r in other.results] == ["r"]
    other.stop()


def test_another_worker_finds_a_failure_and_dead_letters_it_with_the_reason(rig: Any) -> None:
    rig.keep_results(on_failure=(FAILURES,))
    rig.decoder.script.errors["9_bad.png"] = [rig.error(ErrorCode.UNDECODABLE, "no image")]
    other = after_a_crash(rig, key="9_bad.png")

    other.start()

    assert other.eventually(other.empty)
    assert [(c, r) for _, c, r in other.source.dead] == [("undecodable", "no image")]
    assert [p.body for p in other.callbacks.posted] == [rig.store.bodies["r"]]
    assert other.storage.script.count == {}
    other.stop()


def test_what_another_worker_stored_first_is_what_everybody_gets(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,))
    gate = rig.decoder.script.gate("7_a.png")
    rig.start()
    message_id = rig.send("7_a.png", request_id="r")
    assert rig.decoder.script.entered["7_a.png"].wait(30)
    first = json.dumps(
        {"request_id": "r", "status": "finished", "error": None, "file_type": "image"}
    ).encode()

    whose = ResultId(
        request_id="r", message_id=message_id, index=0, sent_at_s=time.time(), media=None
    )
    rig.store.put(whose, first)

    gate.set()

    assert rig.eventually(rig.empty)
    assert [p.body for p in rig.callbacks.posted] == [first]
    assert json.loads(rig.notifier.published[0][1].body)["result"] == json.loads(first)
    assert rig.results == [json.loads(first)]
    assert rig.metric("detection_worker_results_total", destination="s3", result="found") == 1


@pytest.mark.slow
def test_a_redelivery_that_was_never_stored_is_analysed(rig: Any) -> None:
    rig.keep_results()
    rig.storage.script.errors["7_a.png"] = [rig.error(ErrorCode.S3_UNAVAILABLE)]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.store.sought == ["r"]
    assert rig.storage.script.count == {"7_a.png": 2}
    assert [p.result["status"] for p in rig.callbacks.posted] == ["finished"]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [b"no json", b"[]", b'{"error": null}', b'{"error": 3}'])
def test_what_is_no_envelope_is_not_taken_for_one(rig: Any, kept: bytes) -> None:
    rig.keep_results()
    rig.storage.script.errors["7_a.png"] = [rig.error(ErrorCode.S3_UNAVAILABLE)]
    rig.start()
    message_id = rig.send("7_a.png", request_id="r")

    whose = ResultId(request_id="r", message_id=message_id, index=0, sent_at_s=None, media=None)
    rig.store.kept["r"] = (whose, kept)

    assert rig.eventually(rig.empty)
    assert [p.result["status"] for p in rig.callbacks.posted] == ["finished"]


@pytest.mark.slow
def test_a_store_that_cannot_be_asked_keeps_the_message_without_an_analysis(rig: Any) -> None:
    rig.keep_results()
    rig.storage.script.errors["7_a.png"] = [rig.error(ErrorCode.S3_UNAVAILABLE)]
    rig.store.find_script.errors["r"] = [rig.error(ErrorCode.RESULT_NOT_STORED)]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.store.sought == ["r", "r"]
    assert rig.storage.script.count == {"7_a.png": 2}
    assert rig.counts(2, "detection_worker_messages_total", outcome="retried")


# -- leases ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_results_that_come_together_share_calls_and_keep_their_order(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "BUSY_S", 60.0)  # also where threads start slowly
    rig.keep_results(on_success=(TOPIC, QUEUE))
    ids = [f"r{i}" for i in range(8)]
    gates = [rig.store.script.gate(request_id) for request_id in ids]
    rig.start()
    for request_id in ids:
        rig.send(f"7_{request_id}.png", request_id=request_id)
    assert rig.eventually(lambda: len(rig.store.tried) == len(ids))

    for gate in gates:
        gate.set()

    assert rig.eventually(rig.empty)
    for arn in (TOPIC, QUEUE):
        sizes = [size for told, size in rig.notifier.calls if told == arn]
        assert sum(sizes) == len(ids)
        assert len(sizes) < len(ids)
    told = [(arn, note.attributes["request_id"]) for arn, note in rig.notifier.published]
    for request_id in ids:
        assert [arn for arn, whose in told if whose == request_id] == [TOPIC, QUEUE]
        assert rig.journal.index(f"notify {QUEUE}") < rig.journal.index(f"post {request_id}")


def test_of_results_that_go_together_one_whose_lease_is_lost_is_told_no_further(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "BUSY_S", 60.0)
    rig.keep_results(on_success=(TOPIC, QUEUE))
    stored = [rig.store.script.gate(request_id) for request_id in ("r0", "r1", "r2")]
    telling = rig.notifier.script.gate(TOPIC)
    pipeline = rig.start()
    messages = [rig.send(f"7_{i}.png", request_id=f"r{i}") for i in range(3)]
    assert rig.eventually(lambda: len(rig.store.tried) == 3)
    # The first goes alone, the others together.
    for gate in stored:
        gate.set()
    assert rig.notifier.script.entered[TOPIC].wait(30)
    assert rig.eventually(lambda: sum(size for _, size in rig.notifier.calls) == 3)

    lost = pipeline.in_flight._messages[messages[2]]
    lost.cancel.set()
    telling.set()

    told = {"r0": [TOPIC, QUEUE], "r1": [TOPIC, QUEUE], "r2": [TOPIC]}
    assert rig.eventually(lambda: len(rig.notifier.published) == 5)
    for request_id, arns in told.items():
        published = rig.notifier.published
        assert [a for a, n in published if n.attributes["request_id"] == request_id] == arns
    assert rig.eventually(lambda: {p.request_id for p in rig.callbacks.posted} == {"r0", "r1"})


def test_a_result_shows_life_while_others_of_its_call_are_told_elsewhere(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "BUSY_S", 60.0)
    monkeypatch.setattr(notify_step, "LINGER_S", 0.5)
    slow = tuple(f"{FAILURES}{number}" for number in range(4))
    rig.keep_results(on_success=(TOPIC,), on_failure=slow)
    publish = rig.notifier.publish

    def publish_slowly(arn: str, notifications: Any) -> Any:
        time.sleep(0.9 if arn in slow else 0.0)
        return publish(arn, notifications)

    monkeypatch.setattr(rig.notifier, "publish", publish_slowly)
    rig.storage.script.errors["7_bad.png"] = [rig.error(ErrorCode.S3_NOT_FOUND)]
    stored = [rig.store.script.gate(request_id) for request_id in ("r0", "r1", "bad")]
    rig.start(stall_timeout_s=2.0, visibility_timeout_s=6)
    for request_id in ("r0", "r1", "bad"):
        rig.send(f"7_{request_id}.png", request_id=request_id)
    assert rig.eventually(lambda: len(rig.store.tried) == 3)

    # The first goes alone, the others together.
    stored[0].set()
    assert rig.eventually(lambda: rig.notifier.calls)
    stored[1].set()
    stored[2].set()

    assert rig.eventually(rig.empty)
    assert rig.metric("detection_worker_messages_total", outcome="retried") == 0
    assert rig.metric("detection_worker_messages_total", outcome="deleted") == 2


@pytest.mark.parametrize("before", ["it hangs", "it failed"])
def test_a_destination_in_trouble_is_told_after_the_others(
    rig: Any, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setattr(notify_step, "SLOW_S", 0.0)
    rig.keep_results(on_success=(TOPIC, QUEUE))
    if before == "it failed":
        rig.notifier.script.errors[TOPIC] = [rig.error(ErrorCode.NOTIFICATION_FAILED)]
    else:
        hanging = rig.notifier.script.gate(TOPIC)
    rig.start()
    rig.send("7_a.png", request_id="first")
    if before == "it failed":
        assert rig.eventually(lambda: rig.notifier.published)
        hanging = rig.notifier.script.gate(TOPIC)
    else:
        assert rig.notifier.script.entered[TOPIC].wait(30)

    rig.send("7_b.png", request_id="second")

    def told() -> list[str]:
        return [arn for arn, n in rig.notifier.published if n.attributes["request_id"] == "second"]

    assert rig.eventually(lambda: told() == [QUEUE])
    hanging.set()
    assert rig.eventually(lambda: told() == [QUEUE, TOPIC])
    assert rig.eventually(rig.empty)


def test_a_lease_lost_while_storing_ends_the_way(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,))
    gate = rig.store.script.gate("r")
    rig.start(visibility_timeout_s=3)
    message_id = rig.send("7_a.png", request_id="r")
    assert rig.store.script.entered["r"].wait(30)

    rig.source.steal(message_id)
    assert rig.counts(1, "detection_worker_leases_lost_total")
    gate.set()

    assert rig.eventually(lambda: rig.journal == ["store r"])
    rig.stop()
    assert rig.journal == ["store r"]
    assert rig.source.calls.count("delete") == 0


@pytest.mark.slow
def test_a_slow_store_keeps_its_lease(rig: Any) -> None:
    rig.keep_results()
    gate = rig.store.script.gate("r")
    rig.start(visibility_timeout_s=3)
    rig.send("7_a.png", request_id="r")
    assert rig.store.script.entered["r"].wait(30)

    assert rig.eventually(lambda: rig.source.calls.count("change_visibility") >= 3)
    gate.set()

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", "post r"]


def test_a_store_that_hangs_gives_its_message_back_and_is_asked_again(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,))
    gate = rig.store.script.gate("r")
    rig.start(stall_timeout_s=1.0, visibility_timeout_s=3)
    rig.send("7_a.png", request_id="r")

    assert rig.counts(1, "detection_worker_messages_total", outcome="retried")
    gate.set()

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", f"notify {TOPIC}", "post r"]
    assert rig.storage.script.count == {"7_a.png": 1}
    assert rig.callbacks.posted[0].result["status"] == "finished"


def test_a_hung_store_at_the_last_delivery_tells_nobody_of_a_failure(rig: Any) -> None:
    rig.source.max_receive_count = 1
    rig.keep_results(on_success=(TOPIC,), on_failure=(FAILURES,))
    rig.store.script.gate("r")
    rig.start(stall_timeout_s=1.0, visibility_timeout_s=3)
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(lambda: len(rig.source.dead) == 1)
    [(_, code, reason)] = rig.source.dead
    assert (code, "no progress" in reason) == ("gave_up", True)
    assert rig.journal == []


def test_what_is_being_stored_at_a_drain_is_finished(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,))
    gate = rig.store.script.gate("r")
    pipeline = rig.start()
    rig.send("7_a.png", request_id="r")
    assert rig.store.script.entered["r"].wait(30)

    pipeline.drain()
    gate.set()

    assert rig.eventually(lambda: pipeline.health.state()["drained"] is True)
    assert rig.empty()
    assert rig.journal == ["store r", f"notify {TOPIC}", "post r"]


# -- circuit breaker ---------------------------------------------------------------------------

NO_BUCKET = "the bucket results does not exist"
NO_TOPIC = f"publishing to {TOPIC} is denied"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "reason", "line"),
    [
        ("results", NO_BUCKET, "receiving is paused until results can be stored again"),
        (
            "notifications",
            NO_TOPIC,
            "receiving is paused until notifications can be published again",
        ),
    ],
)
def test_a_destination_that_takes_nothing_pauses_receiving(
    check: str,
    reason: str,
    line: str,
    rig: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(breaker_module, "CHECK_PAUSE_S", 0.2)
    rig.source.max_receive_count = 2
    rig.keep_results(on_success=(TOPIC,))
    ids = [f"r{i}" for i in range(6)]
    if check == "results":
        refusals = [[denied(ErrorCode.RESULT_NOT_STORED, reason) for _ in range(30)] for _ in ids]
        rig.store.script.errors = dict(zip(ids, refusals, strict=True))
    else:
        refusals = [[denied(ErrorCode.NOTIFICATION_FAILED, reason) for _ in range(60)]]
        rig.notifier.script.errors[TOPIC] = refusals[0]
    pipeline = rig.start(max_messages=2, max_in_flight=2, max_backoff_s=2)
    for request_id in ids[:2]:
        rig.send(f"7_{request_id}.png", request_id=request_id)
    assert rig.eventually(lambda: pipeline.health.readiness().get(check) == reason)
    assert pipeline.health.state()["last_error"] == reason
    polls = rig.source.calls.count("receive")
    for request_id in ids[2:]:
        rig.send(f"7_{request_id}.png", request_id=request_id)
    tried = rig.store.script if check == "results" else rig.notifier.script
    assert rig.eventually(lambda: sum(tried.count.values()) >= 6)

    assert rig.source.calls.count("receive") <= polls + 1
    assert rig.source.dead == []
    assert rig.callbacks.posted == []
    assert [m for m in caplog.messages if "receiving is paused" in m] == [
        f"{line}; no message is at fault: {reason}"
    ]

    for errors in refusals:
        errors.clear()

    assert rig.eventually(rig.empty)
    assert pipeline.health.readiness() == {"models and queue": True, "downloads": True}
    assert rig.source.dead == []
    # The message whose step was tried again without it was not told twice.
    assert sorted(rig.journal) == sorted(
        [line for r in ids for line in (f"store {r}", f"notify {TOPIC}", f"post {r}")]
    )
    assert len({t.id for _, t in rig.notifier.published}) == len(ids)
    assert all(rig.store.bodies[p.request_id] == p.body for p in rig.callbacks.posted)
    assert {n for c in (rig.storage, rig.decoder) for n in c.script.count.values()} == {1}


def test_a_destination_that_fails_for_one_message_stops_nobody(rig: Any) -> None:
    rig.keep_results()
    rig.store.script.errors["r0"] = [rig.error(ErrorCode.RESULT_NOT_STORED)]
    pipeline = rig.start(max_backoff_s=600)
    for i in range(4):
        rig.send(f"7_{i}.png", request_id=f"r{i}")

    assert rig.counts(3, "detection_worker_messages_total", outcome="deleted")
    assert pipeline.health.readiness() == {"models and queue": True, "downloads": True}


def test_each_kind_of_destination_has_threads_of_its_own(rig: Any) -> None:
    """With two callbacks at once, two more results can be stored, and two more published."""
    rig.keep_results(on_success=(TOPIC,))
    ids = [f"r{i}" for i in range(6)]
    gates = [rig.store.script.gate(request_id) for request_id in ids]
    rig.start(callback_workers=2)
    for request_id in ids:
        rig.send(f"7_{request_id}.png", request_id=request_id)

    assert rig.eventually(lambda: len(rig.store.tried) == len(ids))
    for gate in gates:
        gate.set()
    assert rig.eventually(rig.empty)


# -- envelopes ---------------------------------------------------------------------------------


def test_a_failed_forward_pass_says_what_it_cost(rig: Any) -> None:
    rig.source.max_receive_count = 1
    rig.start()
    rig.send("13_a.png")

    assert rig.eventually(rig.empty)
    [post] = rig.callbacks.posted
    assert "inference_failed" in post.result["error"]["message"]
    assert set(post.result["timings_ms"]) == {"download", "decode", "inference", "total"}
    assert post.result["timings_ms"]["inference"] > 0


def test_a_store_that_never_answers_does_not_hold_the_exit(rig: Any) -> None:
    rig.keep_results()
    gate = rig.store.script.gate("r")
    pipeline = rig.start()
    rig.send("1_a.png", request_id="r")
    assert rig.store.script.entered["r"].wait(30)
    assert pipeline.stop(grace_s=1.0)
    closing = threading.Thread(target=pipeline.close)

    closing.start()
    closing.join(30)

    assert not closing.is_alive(), "the hanging thread was not waited for"
    assert rig.source.counts() == (1, 0, 0)
    rig.pipeline = None
    gate.set()
