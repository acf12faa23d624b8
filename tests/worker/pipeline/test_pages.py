"""Pages beside stored results: before anybody is told, and never at the cost of a result."""

import json
import logging
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_worker.pipeline.stages import store_step

TOPIC = "arn:aws:sns:us-east-1:123456789012:done"


def pages(rig: Any, result: str) -> float:
    found: float = rig.metric("detection_worker_results_total", destination="page", result=result)
    return found


def test_a_page_is_stored_after_the_result_and_before_anybody_is_told(rig: Any) -> None:
    rig.keep_results(on_success=(TOPIC,), pages=True)
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", "page r", f"notify {TOPIC}", "post r"]
    assert rig.decoder.script.count == {"7_a.png": 1}  # its picture costs no second decoding
    [page] = rig.pages.kept.values()
    assert "Looks manipulated" in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert pages(rig, "ok") == 1
    assert rig.metric("detection_worker_stage_seconds_count", stage="page") == 1


def test_no_page_is_made_unless_it_is_wanted(rig: Any) -> None:
    rig.keep_results()
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", "post r"]
    assert rig.decoder.previews == [False]


def test_a_failed_job_has_a_page(rig: Any) -> None:
    rig.keep_results(pages=True)
    rig.decoder.script.errors["7_a.png"] = [rig.error(ErrorCode.UNDECODABLE, "no <b>image</b>")]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    [page] = rig.pages.kept.values()
    assert "Could not be analysed" in page
    assert "no &lt;b&gt;image&lt;/b&gt;" in page


def test_a_message_that_is_none_has_a_page(rig: Any) -> None:
    rig.keep_results(pages=True)
    rig.start()
    rig.source.send("{")

    assert rig.eventually(rig.empty)
    [page] = rig.pages.kept.values()
    assert "Could not be analysed" in page
    assert "bad_json" in page


def test_a_page_that_cannot_be_stored_fails_no_result(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    rig.keep_results(pages=True)
    refused = rig.error(ErrorCode.RESULT_NOT_STORED, "Access Denied", environment=True)
    rig.pages.script.errors["r"] = [refused]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", "post r"]
    assert rig.source.dead == []
    assert pages(rig, "result_not_stored") == 1
    assert "no page was stored for r: result_not_stored: Access Denied" in caplog.messages
    rig.send("7_b.png", request_id="next")  # receiving goes on
    assert rig.eventually(rig.empty)
    assert "page next" in rig.journal


def test_a_page_that_cannot_be_made_fails_no_result(
    rig: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise ValueError("a bug")

    monkeypatch.setattr(store_step, "result_page", broken)
    rig.keep_results(pages=True)
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", "post r"]
    assert pages(rig, "internal") == 1
    assert "making the page of r failed" in caplog.text


def test_another_worker_makes_the_page_that_is_missing_and_leaves_one_that_is_there(
    rig: Any,
) -> None:
    rig.keep_results(on_success=(TOPIC,), pages=True)
    gate = rig.pages.script.gate("r")
    rig.start(visibility_timeout_s=2)
    rig.send("7_a.png", request_id="r")
    assert rig.eventually(lambda: rig.journal == ["store r"])
    rig.pipeline.stop(grace_s=0.0)  # killed between the result and its page
    rig.pages.script.gates.clear()
    other = rig.another("other")
    rig.pipeline = None

    other.start()
    assert other.eventually(other.empty)
    assert other.decoder.script.count == {}  # the result is known
    page = rig.pages.kept["r"]
    assert json.loads(rig.store.bodies["r"])["model"]["name"] in page
    assert "this page was made from the stored result alone" in page
    other.stop()
    gate.set()


def test_a_redelivery_to_the_same_worker_makes_no_second_page(rig: Any) -> None:
    rig.keep_results(pages=True)
    rig.callbacks.script.errors["r"] = [rig.error(ErrorCode.CALLBACK_UNREACHABLE)]
    rig.start()
    rig.send("7_a.png", request_id="r")

    assert rig.eventually(rig.empty)
    assert rig.journal == ["store r", "page r", "post r"]


def test_scores_from_the_cache_make_a_page_without_pictures(rig: Any) -> None:
    rig.keep_results(pages=True)
    rig.share_scores()
    rig.start()
    rig.send("7_a.png", request_id="first")
    assert rig.eventually(rig.empty)
    rig.send("7_a.png", request_id="second")
    assert rig.eventually(rig.empty)

    assert rig.decoder.script.count == {"7_a.png": 1}
    assert "data:image/jpeg" in rig.pages.kept["first"]
    assert "data:image/jpeg" not in rig.pages.kept["second"]
    assert "The file was not opened again" in rig.pages.kept["second"]


def test_events_of_pages_are_no_work(rig: Any) -> None:
    rig.keep_results(pages=True)
    rig.start()
    event = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "results"}, "object": {"key": "2026/01/31/r.html"}},
    }
    rig.source.send({"Records": [event]})

    assert rig.eventually(rig.empty)
    assert rig.journal == []
    assert rig.source.dead == []
