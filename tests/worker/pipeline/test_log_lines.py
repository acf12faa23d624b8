"""Lines about a message: every one names it and its request, as fields of its JSON."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.process.logs import JsonFormatter
from detection_worker.results.base import ResultId

FOLDER = {
    "eventSource": "aws:s3",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "b-1"}, "object": {"key": "uploads/", "size": 0}},
}


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    ours = [r for r in caplog.records if r.name.startswith("detection_worker.")]
    return [json.loads(JsonFormatter().format(record)) for record in ours]


def check(found: list[dict[str, Any]], requests: Mapping[str, str | None]) -> None:
    """Every line that names a message or its request has both as fields, and an action."""
    names = {name for pair in requests.items() for name in pair if name}
    about = [e for e in found if "action" in e or any(n in e["message"] for n in names)]

    assert {e["message_id"] for e in about} == set(requests)
    for entry in about:
        assert entry["request_id"] == requests[entry["message_id"]], entry
        assert entry["action"], entry
        assert entry["receive_count"] >= 1, entry
        assert "code" in entry or entry["level"] == "INFO" or entry["action"] == "lost", entry


def test_failures_of_every_stage_carry_their_facts(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rig.source.max_receive_count = 1
    rig.storage.script.errors["2_gone.png"] = [rig.error(ErrorCode.S3_NOT_FOUND)]
    rig.decoder.script.errors["3_odd.png"] = [rig.error(ErrorCode.UNDECODABLE)]
    rig.decoder.script.errors["4_bug.png"] = [ValueError("nobody foresaw this")]
    rig.callbacks.script.errors["r-5"] = [rig.error(ErrorCode.CALLBACK_REJECTED)]
    rig.callbacks.script.errors["r-6"] = [ValueError("nobody foresaw this either")]
    requests: dict[str, str | None] = {}
    keys = (
        "1_good.png",
        "2_gone.png",
        "3_odd.png",
        "4_bug.png",
        "5_told.png",
        "6_bug.png",
        "13_x.png",
    )
    rig.start(max_backoff_s=600)
    for number, key in enumerate(keys, start=1):
        requests[rig.send(key, request_id=f"r-{number}")] = f"r-{number}"
    body = {"sqs_to_ml_url": "ftp://no", "request_id": "r-8"}
    requests[rig.source.send(body)] = "r-8"
    requests[rig.source.send({"Records": [FOLDER]})] = None

    for outcome, count in (("deleted", 2), ("dead_lettered", 5), ("retried", 2)):
        assert rig.counts(count, "detection_worker_messages_total", outcome=outcome), outcome

    found = lines(caplog)
    check(found, requests)
    codes = {
        e["request_id"]: e["code"] for e in found if e.get("action") == "fail" and "code" in e
    }
    assert codes == {
        "r-2": "s3_not_found",
        "r-3": "undecodable",
        "r-4": "internal",
        "r-6": "internal",
        "r-7": "inference_failed",
        "r-8": "bad_url",
    }
    assert {e["code"] for e in found if e.get("action") == "deliver"} == {"callback_rejected"}
    [concluded] = [e for e in found if e.get("action") == "conclude" and e["request_id"] == "r-1"]
    assert (concluded["media_type"], concluded["label"]) == ("image", "REAL")
    assert {"verdict", "score"} <= set(concluded)


def test_a_retry_says_so_in_fields(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rig.storage.script.errors["7_a.png"] = [rig.error(ErrorCode.S3_UNAVAILABLE)]
    rig.start(max_backoff_s=600)
    message_id = rig.send("7_a.png", request_id="r-1")

    assert rig.counts(1, "detection_worker_messages_total", outcome="retried")

    found = lines(caplog)
    check(found, {message_id: "r-1"})
    [retry] = [e for e in found if e.get("action") == "retry"]
    assert (retry["level"], retry["code"]) == ("WARNING", "s3_unavailable")


@pytest.mark.slow
def test_a_lost_lease_says_so_in_fields(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rig.decoder.script.gate("7_a.png")
    rig.start(visibility_timeout_s=2)
    message_id = rig.send("7_a.png", request_id="r-1")
    assert rig.decoder.script.entered["7_a.png"].wait(30)

    rig.source.steal(message_id)

    assert rig.counts(1, "detection_worker_leases_lost_total")
    assert rig.eventually(lambda: [e for e in lines(caplog) if e.get("action") == "lost"])
    check(lines(caplog), {message_id: "r-1"})


def test_destinations_that_fail_say_so_in_fields(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    topic = "arn:aws:sns:us-east-1:123456789012:done"
    rig.keep_results(on_success=(topic,))
    rig.store.script.errors["r-1"] = [rig.error(ErrorCode.RESULT_NOT_STORED)]
    rig.notifier.script.errors[topic] = [rig.error(ErrorCode.NOTIFICATION_FAILED)]
    rig.start(max_backoff_s=600, callback_workers=1)
    requests = {rig.send(f"7_{i}.png", request_id=f"r-{i}"): f"r-{i}" for i in (1, 2)}

    assert rig.counts(2, "detection_worker_messages_total", outcome="retried")

    found = lines(caplog)
    check(found, requests)
    told = {e["request_id"]: e["code"] for e in found if e.get("action") == "deliver"}
    assert told == {"r-1": "result_not_stored", "r-2": "notification_failed"}


@pytest.mark.slow
def test_a_result_found_in_the_store_says_so_in_fields(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rig.keep_results()
    rig.storage.script.errors["7_a.png"] = [rig.error(ErrorCode.S3_UNAVAILABLE)]
    rig.start(max_backoff_s=1)
    message_id = rig.send("7_a.png", request_id="r-1")
    whose = ResultId(request_id="r-1", message_id=message_id, index=0, sent_at_s=None, media=None)
    body = json.dumps({"request_id": "r-1", "error": None, "file_type": "image"}).encode()
    rig.store.kept["r-1"] = (whose, body)

    assert rig.eventually(rig.empty)

    check(lines(caplog), {message_id: "r-1"})
    [recalled] = [e for e in lines(caplog) if e.get("action") == "recall"]
    assert (recalled["level"], recalled["result_url"]) == ("INFO", "s3://results/r-1.json")
