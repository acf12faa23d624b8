"""Callbacks that fail for now, with an outbox and without one."""

import json
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_worker.core.outbox.hosts import OPEN_AFTER

DOWN = ErrorCode.CALLBACK_UNREACHABLE


def test_a_callback_that_fails_for_now_goes_to_the_outbox_and_its_message_is_deleted(
    rig: Any,
) -> None:
    rig.keep_results()
    rig.keep_callbacks()
    rig.callbacks.script.errors["r"] = [rig.error(DOWN, "it answered 429", retry_after_s=77.0)]
    message_id = rig.send("a.png", request_id="r")
    rig.start()

    assert rig.eventually(rig.empty)

    (taken,) = rig.outbox.taken
    (attempt,) = rig.callbacks.attempts
    assert (taken.url, taken.body) == (attempt.url, attempt.body)
    assert taken.webhook_id == attempt.webhook_id == f"msg_{message_id}_0"
    assert (taken.message_id, taken.request_id) == (message_id, "r")
    assert taken.result_url == "s3://results/r.json"
    assert (taken.code, taken.reason, taken.retry_after_s) == (DOWN, "it answered 429", 77.0)
    assert rig.journal == ["store r", "outbox r"]
    assert rig.source.dead == []
    assert rig.counts(1, "detection_worker_messages_total", outcome="deleted")
    assert rig.counts(1, "detection_worker_callbacks_total", result=DOWN.value)


def test_without_an_outbox_the_message_is_tried_again_as_ever(rig: Any) -> None:
    rig.callbacks.script.errors["r"] = [rig.error(DOWN)]
    rig.send("a.png", request_id="r")
    rig.start()

    assert rig.eventually(rig.empty)

    assert len(rig.callbacks.attempts) == 2
    assert rig.counts(1, "detection_worker_messages_total", outcome="retried")


@pytest.mark.parametrize("code", [ErrorCode.CALLBACK_REJECTED, ErrorCode.CALLBACK_FORBIDDEN])
def test_a_callback_that_never_succeeds_is_nothing_for_the_outbox(
    rig: Any, code: ErrorCode
) -> None:
    rig.keep_callbacks()
    rig.callbacks.script.errors["r"] = [rig.error(code)]
    rig.send("a.png", request_id="r")
    rig.start()

    assert rig.eventually(lambda: rig.source.dead)

    assert rig.outbox.taken == []
    assert rig.source.dead[0][1] == code.value


def test_an_outbox_that_does_not_take_a_callback_leaves_the_message_to_be_tried_again(
    rig: Any,
) -> None:
    rig.keep_callbacks()
    rig.callbacks.script.errors["r"] = [rig.error(DOWN), rig.error(DOWN)]
    rig.outbox.script.errors["r"] = [rig.error(DOWN, "the outbox did not take it")]
    rig.send("a.png", request_id="r")
    rig.start()

    assert rig.eventually(rig.empty)

    assert [p.webhook_id for p in rig.callbacks.attempts] == [rig.outbox.taken[0].webhook_id] * 2
    assert len(rig.outbox.taken) == 1
    assert rig.counts(1, "detection_worker_messages_total", outcome="retried")


def test_a_redelivery_to_the_same_worker_puts_nothing_twice(rig: Any) -> None:
    rig.keep_callbacks()
    rig.source.duplicate_deliveries()
    for number in range(4):
        rig.callbacks.script.errors[f"r{number}"] = [rig.error(DOWN)] * 5
        rig.send("a.png", request_id=f"r{number}")
    rig.start()

    assert rig.eventually(rig.empty)

    assert sorted(t.request_id for t in rig.outbox.taken) == ["r0", "r1", "r2", "r3"]


def test_a_host_that_fails_gets_no_attempt_and_its_callbacks_go_straight_to_the_outbox(
    rig: Any,
) -> None:
    rig.keep_callbacks()
    for number in range(20):
        rig.callbacks.script.errors[f"d{number}"] = [rig.error(DOWN)]
        rig.send("a.png", request_id=f"d{number}")
        rig.send("b.png", request_id=f"u{number}", callback_url="https://up.test/y")
    rig.start()

    assert rig.eventually(rig.empty)

    assert len(rig.outbox.taken) == 20
    down = [a for a in rig.callbacks.attempts if a.url == "https://cb.test/x"]
    assert OPEN_AFTER <= len(down) <= OPEN_AFTER + rig.consumer.callback_workers
    assert {p.request_id for p in rig.callbacks.posted} == {f"u{n}" for n in range(20)}
    deferred = rig.metric("detection_worker_callbacks_deferred_total", reason="circuit_open")
    assert deferred == 20 - len(down)
    assert rig.metric("detection_worker_callback_circuits_open") == 1
    late = [t for t in rig.outbox.taken if "was not tried" in t.reason]
    assert len(late) == deferred
    assert all(t.retry_after_s is not None and t.retry_after_s >= 5.0 for t in late)


def test_a_failed_envelope_takes_the_same_way(rig: Any) -> None:
    rig.keep_callbacks()
    rig.storage.script.errors["bad.png"] = [rig.error(ErrorCode.S3_NOT_FOUND)]
    rig.callbacks.script.errors["r"] = [rig.error(DOWN)]
    rig.send("bad.png", request_id="r")
    rig.start()

    assert rig.eventually(lambda: rig.source.dead)

    assert rig.source.dead[0][1] == ErrorCode.S3_NOT_FOUND.value
    assert json.loads(rig.outbox.taken[0].body)["status"] == "failed"
