"""The running pipeline: nothing lost, nothing done twice, nothing held for ever."""

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_contract.schemas import load_schema
from detection_worker.core.verdict import Thresholds
from detection_worker.media.declarations import C2paFacts, Provenance
from detection_worker.settings import ProvenanceSettings

in_both_ways = pytest.mark.parametrize("rig", ["here", "device"], indirect=True)
"""With a stage in the same process, and through a connection to the device's."""
pytestmark = in_both_ways


def test_a_message_is_detected_reported_and_deleted(rig: Any) -> None:
    rig.start()
    message_id = rig.send("7_a.png", request_id="r-1", metadata={"user": "u"})

    assert rig.eventually(rig.empty)
    (post,) = rig.callbacks.posted
    result = post.result
    assert post.webhook_id == f"msg_{message_id}_0"
    assert post.request_id == result["request_id"] == "r-1"
    assert (result["label"], result["status"]) == ("FAKE", "finished")
    assert result["prediction_score"] == pytest.approx(0.880797, abs=1e-6)
    assert result["metadata"] == {"user": "u"}
    assert result["queue_url"] == rig.consumer.queue_url
    assert set(result["timings_ms"]) == {"download", "decode", "inference", "total"}
    assert rig.results == [result]
    assert rig.counts(1, "detection_worker_messages_total", outcome="deleted")


def test_the_callers_threshold_decides_the_label(rig: Any) -> None:
    rig.start()
    rig.send("7_a.png", confidence_threshold=0.9)

    assert rig.eventually(rig.empty)
    assert rig.callbacks.posted[0].result["label"] == "REAL"


def test_downloads_leave_nothing_behind(rig: Any) -> None:
    rig.start()
    rig.storage.script.errors["2_b.png"] = [rig.error(ErrorCode.S3_NOT_FOUND)]
    for key in ("1_a.png", "2_b.png", "13_c.png"):
        rig.send(key)

    assert rig.eventually(lambda: rig.source.counts()[0] + rig.source.counts()[1] <= 1)
    assert rig.eventually(lambda: rig.files() == [])
    assert all(folder.name.startswith("job-") for folder in rig.decoder.folders)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param("{", "bad_json", id="malformed JSON"),
        pytest.param("[]", "bad_json", id="not an object"),
        pytest.param('{"sqs_to_ml_url": 5}', "wrong_type", id="wrong type"),
        pytest.param("{}", "missing_field", id="nothing in it"),
        pytest.param(
            '{"sqs_to_ml_url": "s3://bucket/k.png", "confidence_threshold": NaN}',
            "bad_json",
            id="NaN threshold",
        ),
        pytest.param(
            '{"sqs_to_ml_url": "s3://bucket/k.png", "confidence_threshold": 1.5}',
            "threshold_out_of_range",
            id="threshold out of range",
        ),
        pytest.param('{"sqs_to_ml_url": "ftp://x/y.png"}', "bad_url", id="no S3 URL"),
        pytest.param(
            '{"sqs_to_ml_url": "s3://bucket/k.png", "callback_url": "file:///etc/passwd"}',
            "bad_callback_url",
            id="callback that is no URL",
        ),
    ],
)
def test_a_bad_message_is_dead_lettered_with_its_reason_and_the_worker_goes_on(
    rig: Any, body: str, code: str
) -> None:
    rig.start()
    rig.source.send(body)
    rig.send("7_good.png")

    assert rig.eventually(rig.empty)
    ((message, dead_code, reason),) = rig.source.dead
    assert (message.body, dead_code) == (body, code)
    assert reason
    assert [p.result["label"] for p in rig.callbacks.posted] == ["FAKE"]
    assert rig.counts(1, "detection_worker_failures_total", code=code)


def test_a_bad_message_with_a_callback_is_told_so(rig: Any) -> None:
    rig.start()
    rig.source.send(
        {"sqs_to_ml_url": "nonsense", "callback_url": "https://cb.test/x", "request_id": "r-9"}
    )

    assert rig.eventually(rig.empty)
    (post,) = rig.callbacks.posted
    assert (post.result["status"], post.result["label"]) == ("failed", None)
    assert post.result["error"]["code"] == "bad_url"
    assert post.request_id == "r-9"


def skipped_object(key: str) -> dict[str, Any]:
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "b-1"}, "object": {"key": key, "size": 0}},
    }


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (
            {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"},
            "the test event of bucket b",
        ),
        ({"Records": [skipped_object("uploads/")]}, "the folder marker s3://b-1/uploads/"),
    ],
)
def test_what_is_no_file_is_deleted_with_a_word_about_it(
    body: dict[str, Any], what: str, rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.start()
    message_id = rig.source.send(body)

    assert rig.eventually(rig.empty)
    assert rig.callbacks.posted == []
    assert rig.source.dead == []
    # The line follows the deletion, so the queue may be empty a moment before it is written.
    deleted = f"Message skipped and deleted: message {message_id}"
    assert rig.eventually(lambda: deleted in caplog.messages)
    assert f"Skipped {what} (message {message_id})" in caplog.messages
    assert not any("Message processed" in line for line in caplog.messages)


def test_files_beside_folder_markers_are_analysed(rig: Any) -> None:
    file = skipped_object("7_a.png")
    file["s3"]["object"]["size"] = 4
    rig.start()
    rig.source.send({"Records": [skipped_object("uploads/"), file]})

    assert rig.eventually(rig.empty)
    assert [r["sqs_to_ml_url"] for r in rig.results] == ["s3://b-1/7_a.png"]
    assert rig.source.dead == []


def test_a_result_that_another_worker_stored_elsewhere_is_no_media(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.keep_results()
    rig.storage.results = {"other/r.json"}
    event = skipped_object("other/r.json")
    event["s3"]["object"]["size"] = 4
    rig.start()
    message_id = rig.source.send({"Records": [event]})

    assert rig.eventually(rig.empty)
    skipped = f"Skipped the stored result s3://b-1/other/r.json (message {message_id})"
    assert skipped in caplog.messages
    assert rig.journal == []
    assert rig.source.dead == []
    assert list(rig.cache_dir.rglob("*.json")) == []


def test_who_asks_for_a_stored_result_by_its_name_is_answered(rig: Any) -> None:
    rig.storage.results = {"7_r.png"}
    rig.start()
    rig.send("7_r.png")

    assert rig.eventually(rig.empty)
    assert [r["sqs_to_ml_url"] for r in rig.results] == ["s3://bucket/7_r.png"]


def test_the_last_line_about_a_message_names_it_and_its_request(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.start()
    message_id = rig.send("7_a.png", request_id="req-7")

    assert rig.eventually(rig.empty)
    assert rig.eventually(
        lambda: (
            f"Finished message {message_id}, request req-7"
            in [r.getMessage() for r in caplog.records]
        )
    )


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        pytest.param("storage", ErrorCode.S3_NOT_FOUND, id="missing object"),
        pytest.param("storage", ErrorCode.S3_FORBIDDEN, id="denied object"),
        pytest.param("storage", ErrorCode.S3_NO_SUCH_BUCKET, id="deleted bucket"),
        pytest.param("storage", ErrorCode.EMPTY_FILE, id="empty object"),
        pytest.param("storage", ErrorCode.TOO_LARGE, id="huge object"),
        pytest.param("decoder", ErrorCode.UNDECODABLE, id="truncated media"),
        pytest.param("decoder", ErrorCode.TOO_MANY_PIXELS, id="huge image"),
        pytest.param("decoder", ErrorCode.UNSUPPORTED_TYPE, id="unknown content"),
    ],
)
def test_a_hopeless_file_is_reported_once_and_dead_lettered(
    rig: Any, stage: str, code: ErrorCode
) -> None:
    getattr(rig, stage).script.errors["7_a.png"] = [rig.error(code)]
    rig.start()
    rig.send("7_a.png")

    assert rig.eventually(rig.empty)
    assert [(c, r) for _, c, r in rig.source.dead] == [(code.value, "scripted")]
    assert [p.result["error"]["code"] for p in rig.callbacks.posted] == [code.value]
    assert rig.decoder.script.count.get("7_a.png", 0) <= 1


@pytest.mark.slow
def test_a_passing_failure_is_tried_again_and_succeeds(rig: Any) -> None:
    rig.storage.script.errors["7_a.png"] = [rig.error(ErrorCode.S3_UNAVAILABLE)]
    rig.start()
    rig.send("7_a.png")

    assert rig.eventually(rig.empty)
    assert [p.result["status"] for p in rig.callbacks.posted] == ["finished"]
    assert rig.storage.script.count["7_a.png"] == 2
    assert rig.counts(1, "detection_worker_messages_total", outcome="retried")


@pytest.mark.slow
def test_a_failure_that_never_passes_is_given_up_with_a_reason(rig: Any) -> None:
    rig.source.max_receive_count = 2
    rig.storage.script.errors["7_a.png"] = [
        rig.error(ErrorCode.S3_UNAVAILABLE, "slow down") for _ in range(5)
    ]
    rig.start()
    rig.send("7_a.png")

    assert rig.eventually(rig.empty)
    ((_, code, reason),) = rig.source.dead
    assert code == "gave_up"
    assert "slow down" in reason
    assert [p.result["error"]["code"] for p in rig.callbacks.posted] == ["gave_up"]


def test_without_a_dead_letter_queue_a_hopeless_message_stays_in_the_queue(rig: Any) -> None:
    rig.source.max_receive_count = None
    rig.start(max_backoff_s=600)
    rig.source.send("{")

    assert rig.eventually(
        lambda: rig.metric("detection_worker_messages_total", outcome="kept") == 1
    )
    assert rig.source.counts() == (0, 1, 0)


@pytest.mark.slow
def test_a_dead_letter_queue_that_refuses_loses_nothing(rig: Any) -> None:
    rig.source.refuse["dead_letter"] = "access denied"
    rig.start()
    rig.source.send("{")
    assert rig.eventually(lambda: rig.source.calls.count("dead_letter") >= 2)

    del rig.source.refuse["dead_letter"]

    assert rig.eventually(rig.empty)
    assert len(rig.source.dead) == 1


@pytest.mark.slow
def test_a_failed_callback_costs_no_second_inference(rig: Any) -> None:
    rig.callbacks.script.errors["r"] = [rig.error(ErrorCode.CALLBACK_UNREACHABLE)]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    first, second = rig.callbacks.attempts
    assert first.body == second.body
    assert first.webhook_id == second.webhook_id
    assert rig.decoder.script.count == {"7_a.png": 1}
    assert [r["request_id"] for r in rig.results] == ["r"]


def test_a_callback_that_says_no_for_good_dead_letters_the_message(rig: Any) -> None:
    rig.callbacks.script.errors["r"] = [rig.error(ErrorCode.CALLBACK_REJECTED, "answered 404")]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert [c for _, c, _ in rig.source.dead] == ["callback_rejected"]
    assert rig.results == []


def test_a_message_without_a_callback_is_finished_too(rig: Any) -> None:
    rig.start()
    rig.source.send({"sqs_to_ml_url": "s3://bucket/3_a.png"})

    assert rig.eventually(rig.empty)
    assert [r["label"] for r in rig.results] == ["REAL"]
    assert rig.callbacks.attempts == []


@pytest.mark.slow
def test_a_result_handler_that_raises_makes_the_message_come_again(rig: Any) -> None:
    rig.on_result_error = RuntimeError("database away")
    rig.start()
    rig.send("7_a.png")

    assert rig.eventually(rig.empty)
    assert len(rig.results) == 1
    assert rig.decoder.script.count == {"7_a.png": 1}


@pytest.mark.slow
def test_only_the_failed_record_of_an_event_is_repeated(rig: Any) -> None:
    rig.storage.script.errors["8_b.png"] = [rig.error(ErrorCode.S3_UNAVAILABLE)]
    rig.start()
    rig.source.send(
        {
            "Records": [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {"bucket": {"name": "bucket"}, "object": {"key": key}},
                }
                for key in ("7_a.png", "8_b.png")
            ]
        }
    )

    assert rig.eventually(rig.empty)
    assert rig.storage.script.count == {"7_a.png": 1, "8_b.png": 2}
    assert sorted(r["sqs_to_ml_url"] for r in rig.results) == [
        "s3://bucket/7_a.png",
        "s3://bucket/8_b.png",
    ]
    assert len({r["request_id"] for r in rig.results}) == 2


def test_a_dead_letter_names_the_first_record_that_failed_and_not_the_quickest(rig: Any) -> None:
    gate = rig.storage.script.gate("7_a.png")
    rig.storage.script.errors["7_a.png"] = [rig.error(ErrorCode.S3_NOT_FOUND)]
    rig.storage.script.errors["8_b.png"] = [rig.error(ErrorCode.EMPTY_FILE)]
    rig.start()
    records = [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "bucket"}, "object": {"key": key}},
        }
        for key in ("7_a.png", "8_b.png")
    ]
    rig.source.send({"Records": records})
    assert rig.eventually(lambda: len(rig.results) == 1), "the second one has ended"
    gate.set()

    assert rig.eventually(rig.empty)
    assert [code for _, code, _ in rig.source.dead] == ["s3_not_found"]


def test_a_record_that_was_dropped_while_the_lease_seemed_lost_comes_again(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is renewed after all, and the other record ends well: nothing may be deleted."""
    gate = rig.storage.script.gate("8_b.png")
    pipeline = rig.start()
    monkeypatch.setattr(pipeline.in_flight, "_margin_s", 3600.0)
    records = [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "bucket"}, "object": {"key": key}},
        }
        for key in ("7_a.png", "8_b.png")
    ]
    rig.source.send({"Records": records})
    assert rig.storage.script.entered["8_b.png"].wait(30)
    scored = {"kind": "image", "label": "FAKE", "verdict": "fake"}
    assert rig.eventually(lambda: rig.metric("detection_worker_jobs_total", **scored) == 1)
    assert rig.eventually(lambda: pipeline.stages.callback.busy == 0)
    monkeypatch.undo()
    gate.set()

    assert rig.eventually(rig.empty)
    assert sorted(r["sqs_to_ml_url"] for r in rig.results) == [
        "s3://bucket/7_a.png",
        "s3://bucket/8_b.png",
    ]


@pytest.mark.slow
def test_a_lost_lease_cancels_the_work_and_keeps_quiet(rig: Any) -> None:
    rig.decoder.script.gate("7_a.png")
    rig.start(visibility_timeout_s=2)
    message_id = rig.send("7_a.png", request_id="r")
    assert rig.decoder.script.entered["7_a.png"].wait(30)

    rig.source.steal(message_id)

    assert rig.eventually(lambda: rig.metric("detection_worker_leases_lost_total") == 1)
    assert rig.eventually(lambda: len(rig.pipeline.in_flight) == 0)
    assert rig.eventually(lambda: rig.files() == [])
    assert rig.callbacks.attempts == []


@pytest.mark.slow
def test_a_long_job_keeps_its_short_lease(rig: Any) -> None:
    gate = rig.decoder.script.gate("7_a.png")
    rig.start(visibility_timeout_s=1)
    rig.send("7_a.png")
    assert rig.decoder.script.entered["7_a.png"].wait(30)

    released = threading.Timer(3.2, gate.set)
    released.start()

    assert rig.eventually(rig.empty)
    released.join()
    assert rig.decoder.script.count == {"7_a.png": 1}
    assert len(rig.callbacks.posted) == 1
    assert rig.source.calls.count("change_visibility") >= 3


def test_a_second_delivery_of_a_message_in_hand_is_adopted(rig: Any) -> None:
    rig.source.duplicate_deliveries()
    gate = rig.decoder.script.gate("7_a.png")
    rig.start()
    rig.send("7_a.png")
    assert rig.eventually(lambda: rig.metric("detection_worker_redeliveries_adopted_total") >= 1)

    gate.set()

    assert rig.eventually(rig.empty)
    assert rig.decoder.script.count == {"7_a.png": 1}
    assert len(rig.callbacks.posted) == 1


def test_work_that_always_hangs_is_given_up_and_reported(rig: Any) -> None:
    rig.source.max_receive_count = 1
    rig.decoder.script.gate("7_a.png")
    rig.start(visibility_timeout_s=2, stall_timeout_s=0.3)
    rig.send("7_a.png")

    assert rig.eventually(rig.empty)
    (post,) = rig.callbacks.posted
    assert post.result["error"]["code"] == "gave_up"
    assert "no progress" in post.result["error"]["message"]
    assert [c for _, c, _ in rig.source.dead] == ["gave_up"]


@pytest.mark.slow
def test_work_that_shows_no_progress_is_stopped_and_released(rig: Any) -> None:
    rig.source.max_receive_count = 50
    gate = rig.decoder.script.gate("7_a.png")
    rig.start(visibility_timeout_s=2, stall_timeout_s=0.3)
    rig.send("7_a.png")

    assert rig.eventually(
        lambda: rig.metric("detection_worker_failures_total", code="timeout") >= 1
    )
    gate.set()
    assert rig.eventually(rig.empty)
    assert len(rig.callbacks.posted) == 1


def test_a_unit_that_breaks_the_batch_hurts_only_its_own_message(rig: Any) -> None:
    rig.source.max_receive_count = 1
    gates = [rig.storage.script.gate(k) for k in ("7_a.png", "13_b.png", "3_c.png", "14_d.png")]
    rig.start(batch_wait_s=0.2)
    for key in ("7_a.png", "13_b.png", "3_c.png", "14_d.png"):
        rig.send(key, request_id=key)
    assert rig.eventually(lambda: len(rig.storage.script.count) == 4)
    for gate in gates:
        gate.set()

    assert rig.eventually(rig.empty)
    by_id = {p.request_id: p.result for p in rig.callbacks.posted}
    assert (by_id["7_a.png"]["label"], by_id["3_c.png"]["label"]) == ("FAKE", "REAL")
    assert {c for _, c, _ in rig.source.dead} == {"gave_up"}
    assert "inference_failed" in by_id["13_b.png"]["error"]["message"]
    assert "inference_failed" in by_id["14_d.png"]["error"]["message"]


def test_messages_share_forward_passes(rig: Any) -> None:
    keys = [f"{i}_x.png" for i in range(1, 9)]
    gates = [rig.decoder.script.gate(k) for k in keys]
    pipeline = rig.start(batch_wait_s=0.3)
    for key in keys:
        rig.send(key)
    # Two are being decoded, and the others wait for them: none comes alone.
    assert rig.eventually(lambda: pipeline.stages.decode.waiting == len(keys) - 2)
    for gate in gates:
        gate.set()

    assert rig.eventually(rig.empty)
    assert max(rig.detectors[MediaKind.IMAGE].batches) > 2


def test_a_kind_without_a_model_is_left_to_other_workers(rig: Any) -> None:
    del rig.detectors[MediaKind.AUDIO]
    rig.start(max_backoff_s=600)
    rig.send("3_a.wav")

    assert rig.eventually(
        lambda: rig.metric("detection_worker_failures_total", code="no_model") == 1
    )
    assert rig.eventually(lambda: len(rig.pipeline.in_flight) == 0)
    assert rig.source.dead == []
    assert rig.callbacks.attempts == []


@pytest.mark.slow
def test_a_delete_that_fails_is_repeated_without_a_second_callback(rig: Any) -> None:
    rig.source.refuse["delete"] = "internal error"
    rig.start()
    rig.send("7_a.png")
    assert rig.eventually(lambda: rig.source.calls.count("delete") >= 2)

    del rig.source.refuse["delete"]

    assert rig.eventually(rig.empty)
    assert len(rig.callbacks.posted) == 1


@pytest.mark.slow
def test_a_message_whose_delete_was_lost_is_deleted_on_sight(rig: Any) -> None:
    rig.source.refuse["delete"] = "internal error"
    rig.start(visibility_timeout_s=1)
    rig.send("7_a.png")
    assert rig.eventually(lambda: rig.metric("detection_worker_redeliveries_adopted_total") >= 1)

    del rig.source.refuse["delete"]

    assert rig.eventually(rig.empty)
    assert len(rig.callbacks.posted) == 1
    assert rig.decoder.script.count == {"7_a.png": 1}


def test_polling_goes_on_after_aws_recovers(rig: Any) -> None:
    rig.source.refuse["receive"] = "service unavailable"
    rig.start()
    rig.send("7_a.png")
    assert rig.eventually(lambda: rig.source.calls.count("receive") >= 2)
    assert rig.pipeline.health.state()["last_error"] == "service unavailable"

    del rig.source.refuse["receive"]

    assert rig.eventually(rig.empty)
    assert rig.pipeline.health.state()["last_error"] is None


def test_no_more_messages_are_held_than_allowed(rig: Any) -> None:
    keys = [f"1_{i}.png" for i in range(20)]
    gates = [rig.storage.script.gate(k) for k in keys]
    rig.start(max_in_flight=5, downloaders=16, prefetch_seconds=1000)
    for key in keys:
        rig.send(key)
    assert rig.eventually(lambda: len(rig.pipeline.in_flight) == 5)

    assert rig.source.counts()[1] == 5

    for gate in gates:
        gate.set()
    assert rig.eventually(rig.empty)
    assert len(rig.callbacks.posted) == 20


def test_no_more_seconds_of_work_are_held_than_allowed(rig: Any) -> None:
    keys = [f"1_{i}.png" for i in range(20)]
    gates = [rig.decoder.script.gate(k) for k in keys]
    rig.start(prefetch_seconds=0.35)
    for key in keys:
        rig.send(key)
    assert rig.eventually(lambda: len(rig.pipeline.in_flight) == 3)

    assert rig.source.counts()[1] == 3
    assert json.dumps(rig.pipeline.health.state())
    for gate in gates:
        gate.set()
    assert rig.eventually(rig.empty)


def test_messages_that_waited_too_long_are_counted_as_late(rig: Any) -> None:
    pipeline = rig.start(queue_wait_objective_s=0.0)
    rig.send("7_a.png")

    assert rig.eventually(rig.empty)
    assert (pipeline.poller.received, pipeline.poller.received_late) == (1, 1)
    assert rig.counts(1, "detection_worker_queue_wait_seconds_count")


@pytest.mark.parametrize(
    ("key", "verdict", "line"),
    [
        ("7_a.png", "fake", "Detection complete - FAKE (confidence: 88.1%) for r-1"),
        ("1_a.png", "real", "Detection complete - REAL (confidence: 98.2%) for r-1"),
        (
            "5_a.png",
            "inconclusive",
            "Detection complete - FAKE (confidence: 50.0%) for r-1 - the verdict is inconclusive",
        ),
    ],
)
def test_what_the_model_cannot_tell_is_logged_and_counted_as_inconclusive(
    rig: Any, caplog: pytest.LogCaptureFixture, key: str, verdict: str, line: str
) -> None:
    detector = rig.detectors[MediaKind.IMAGE]
    detector.card = replace(detector.card, thresholds=Thresholds(fake=0.5, low=0.3, high=0.7))
    caplog.set_level("INFO")
    rig.start()
    rig.send(key, request_id="r-1")

    assert rig.eventually(rig.empty)
    label = rig.callbacks.posted[0].result["label"]
    record = next(r for r in caplog.records if r.getMessage().startswith("Detection complete"))
    assert record.getMessage() == line
    assert (record.__dict__["verdict"], record.__dict__["label"]) == (verdict, label)
    counted = {"kind": "image", "label": label, "verdict": verdict}
    assert rig.counts(1, "detection_worker_jobs_total", **counted)


def test_a_verdict_that_a_trusted_signer_decides_is_logged_and_counted(
    rig: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    rig.provenance = ProvenanceSettings(trust_list=tmp_path / "a.pem", trust_declared=True)
    rig.decoder.provenance = Provenance(
        declares="ai_generated", signed=True, c2pa=C2paFacts(state="trusted", issuer="Lab")
    )
    caplog.set_level("INFO")
    rig.start()
    rig.send("1_a.png", request_id="r-1")

    assert rig.eventually(rig.empty)
    result = rig.callbacks.posted[0].result
    assert (result["verdict"], result["label"]) == ("fake", "REAL")
    jsonschema.validate(result, load_schema("result"))
    record = next(r for r in caplog.records if r.getMessage().startswith("Detection complete"))
    assert record.getMessage().endswith("REAL (confidence: 98.2%) for r-1 - the verdict is fake")
    assert record.__dict__["verdict"] == "fake"
    counted = {"kind": "image", "label": "REAL", "verdict": "fake"}
    assert rig.counts(1, "detection_worker_jobs_total", **counted)
