"""Scores from the cache in a running pipeline: nothing analysed twice, nothing from the past."""

import threading
import time
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_worker.cache.base import CacheError

LOOKUPS = "detection_worker_cache_lookups_total"


@pytest.fixture
def cached(rig: Any) -> Any:
    """A rig with a cache."""
    rig.share_scores()
    return rig


def units(rig: Any) -> int:
    return sum(sum(detector.batches) for detector in rig.detectors.values())


def results(rig: Any) -> dict[str, Any]:
    return {post.request_id: post.result for post in rig.callbacks.posted}


def lose(rig: Any, message_id: str) -> None:
    """Let SQS say that the lease on a message is over."""
    pipeline = rig.pipeline
    pipeline._extender._lose(pipeline.in_flight._messages[message_id])


def test_a_second_request_costs_no_download_and_no_inference(cached: Any) -> None:
    cached.start()
    cached.send("7_a.png", request_id="first")
    assert cached.eventually(cached.empty)
    cached.send("7_a.png", request_id="second", confidence_threshold=0.9, metadata={"m": 1})
    assert cached.eventually(cached.empty)

    first, second = results(cached)["first"], results(cached)["second"]
    assert cached.decoder.script.count == {"7_a.png": 1}
    assert cached.storage.kept == {"7_a.png": 1}
    assert units(cached) == 2
    assert (first["label"], second["label"]) == ("FAKE", "REAL")
    assert first["prediction_score"] == second["prediction_score"]
    assert "cached" not in first
    assert second["cached"] is True
    assert (second["local_path"], second["metadata"]) == (None, {"m": 1})
    assert second["s3_file_info"] == first["s3_file_info"]
    assert set(second["timings_ms"]) == set(first["timings_ms"])
    assert (second["timings_ms"]["decode"], second["timings_ms"]["inference"]) == (0, 0)
    assert second["timings_ms"]["download"] > 0
    for field in ("media", "model", "segments", "file_type", "raw_score"):
        assert first[field] == second[field]
    assert cached.entries.calls == ["get", "put"]
    assert cached.counts(1, LOOKUPS, result="memory")
    model = first["model"]
    scored = {"kind": "image", "model": model["name"], "version": model["version"]}
    assert cached.metric("detection_worker_score_count", **scored) == 1
    jobs = {"kind": "image", "verdict": "fake", "label": "FAKE"}
    assert cached.metric("detection_worker_jobs_total", **jobs) == 1
    assert cached.eventually(lambda: cached.files() == [])


def test_another_worker_needs_neither(cached: Any) -> None:
    cached.start()
    cached.send("7_a.png")
    assert cached.eventually(cached.empty)
    cached.stop()

    other = cached.another("other")
    other.start()
    try:
        other.send("7_a.png", request_id="again")
        assert other.eventually(other.empty)
    finally:
        other.stop()

    assert results(other)["again"]["cached"] is True
    assert other.decoder.script.count == {}
    assert units(other) == 2
    assert other.entries.calls == ["get", "put", "get"]
    assert other.counts(1, LOOKUPS, result="hit")


def test_an_overwritten_object_is_analysed_again(cached: Any) -> None:
    cached.start()
    for etag in ("one", "two"):
        cached.storage.etags["7_a.png"] = etag
        cached.send("7_a.png", request_id=etag)
        assert cached.eventually(cached.empty)
    cached.send("7_a.png", request_id="again")
    assert cached.eventually(cached.empty)

    assert cached.decoder.script.count == {"7_a.png": 2}
    assert ["cached" in results(cached)[i] for i in ("one", "two", "again")] == [0, 0, 1]
    assert cached.counts(1, LOOKUPS, result="stale")
    assert len(cached.entries.entries) == 1
    assert cached.entries.calls == ["get", "put", "put"]


def test_an_object_that_may_not_be_read_any_more_is_not_answered(cached: Any) -> None:
    cached.start()
    cached.send("7_a.png")
    assert cached.eventually(cached.empty)
    cached.storage.script.errors["7_a.png"] = [cached.error(ErrorCode.S3_FORBIDDEN, "denied")]
    cached.send("7_a.png", request_id="later")
    assert cached.eventually(cached.empty)

    assert results(cached)["later"]["error"]["code"] == "s3_forbidden"


def test_jobs_about_one_object_wait_for_the_first_without_a_thread(cached: Any) -> None:
    gate = cached.decoder.script.gate("7_a.png")
    cached.start(downloaders=1)
    for number in range(6):
        cached.send("7_a.png", request_id=f"same-{number}")
    assert cached.decoder.script.entered["7_a.png"].wait(10)
    cached.send("3_b.png", request_id="other")
    assert cached.eventually(lambda: "other" in results(cached))
    waiting = cached.pipeline.flights.waiting
    gate.set()
    assert cached.eventually(cached.empty)

    assert waiting == 5
    assert len(results(cached)) == 7
    assert cached.decoder.script.count["7_a.png"] == 1
    assert cached.storage.kept == {"7_a.png": 5}
    assert units(cached) == 4
    assert cached.entries.calls.count("get") == 2
    assert sum("cached" in result for result in results(cached).values()) == 5
    assert cached.eventually(lambda: len(cached.pipeline.flights) == 0)


def test_records_of_one_message_about_one_object_wait_too(cached: Any) -> None:
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "b-1"}, "object": {"key": "7_a.png", "size": 4}},
    }
    cached.start()
    cached.source.send({"Records": [record, record, record]})

    assert cached.eventually(cached.empty)
    assert len(cached.results) == 3
    assert cached.decoder.script.count == {"7_a.png": 1}


def test_the_next_one_leads_if_the_first_fails(cached: Any) -> None:
    cached.decoder.script.errors["7_a.png"] = [cached.error(ErrorCode.UNDECODABLE, "no")]
    gate = cached.decoder.script.gate("7_a.png")
    cached.start()
    for number in range(3):
        cached.send("7_a.png", request_id=f"r-{number}")
    assert cached.eventually(lambda: cached.pipeline.flights.waiting == 2)
    gate.set()
    assert cached.eventually(cached.empty)

    assert sorted(result["status"] for result in results(cached).values()) == [
        "failed",
        "finished",
        "finished",
    ]
    assert cached.decoder.script.count["7_a.png"] == 2


def test_a_failure_that_is_slow_to_report_holds_nobody(cached: Any) -> None:
    cached.decoder.script.errors["7_a.png"] = [cached.error(ErrorCode.UNDECODABLE, "no")]
    gate = cached.decoder.script.gate("7_a.png")
    slow = [cached.callbacks.script.gate(f"r-{number}") for number in range(2)]
    cached.start()
    cached.send("7_a.png", request_id="r-0")
    assert cached.decoder.script.entered["7_a.png"].wait(10)
    cached.send("7_a.png", request_id="r-1")
    assert cached.eventually(lambda: cached.pipeline.flights.waiting == 1)
    gate.set()

    assert cached.callbacks.script.entered["r-0"].wait(10)
    assert cached.callbacks.script.entered["r-1"].wait(10)
    for each in slow:
        each.set()
    assert cached.eventually(cached.empty)


def test_each_of_several_that_fail_in_the_network_leads_in_its_turn(cached: Any) -> None:
    cached.start()
    for number in range(3):
        cached.send("14_a.png", request_id=f"r-{number}")

    assert cached.eventually(lambda: len(cached.source.dead) + len(results(cached)) >= 3)
    assert cached.eventually(lambda: len(cached.pipeline.flights) == 0)
    assert cached.entries.entries == {}


def test_the_next_one_leads_if_the_first_loses_its_lease(cached: Any) -> None:
    gate = cached.decoder.script.gate("7_a.png")
    cached.start()
    first = cached.send("7_a.png", request_id="first")
    assert cached.decoder.script.entered["7_a.png"].wait(10)
    cached.send("7_a.png", request_id="second")
    assert cached.eventually(lambda: cached.pipeline.flights.waiting == 1)
    lose(cached, first)
    # The first one's decode ends as cancelled; that of the second goes through the gate.
    assert cached.eventually(lambda: cached.decoder.script.count["7_a.png"] == 2)
    gate.set()

    assert cached.eventually(lambda: "second" in results(cached))
    assert list(results(cached)) == ["second"]


def test_a_job_that_waits_and_loses_its_lease_is_dropped(cached: Any) -> None:
    gate = cached.decoder.script.gate("7_a.png")
    cached.start()
    cached.send("7_a.png", request_id="first")
    assert cached.decoder.script.entered["7_a.png"].wait(10)
    second = cached.send("7_a.png", request_id="second")
    cached.send("7_a.png", request_id="third")
    assert cached.eventually(lambda: cached.pipeline.flights.waiting == 2)
    lose(cached, second)
    assert cached.counts(1, "detection_worker_leases_lost_total")
    gate.set()

    assert cached.eventually(lambda: set(results(cached)) >= {"first", "third"})
    assert cached.eventually(lambda: len(cached.pipeline.flights) == 0)
    assert set(results(cached)) == {"first", "third"}


def test_a_stalled_leader_makes_way(cached: Any) -> None:
    release, entered = threading.Event(), threading.Event()
    decode = cached.decoder.decode

    def hangs_once(*args: Any, **kwargs: Any) -> Any:
        if not entered.is_set():
            entered.set()
            release.wait(30)  # deaf to its cancellation
        return decode(*args, **kwargs)

    cached.decoder.decode = hangs_once
    cached.start(stall_timeout_s=1.0)
    cached.send("7_a.png", request_id="first")
    assert entered.wait(10)
    cached.send("7_a.png", request_id="second")
    try:
        assert cached.eventually(lambda: "second" in results(cached))
        assert results(cached)["second"]["status"] == "finished"
    finally:
        release.set()


def test_at_the_end_what_waits_is_handed_back(cached: Any) -> None:
    cached.decoder.script.gate("7_a.png")
    cached.start()
    for number in range(4):
        cached.send("7_a.png", request_id=f"r-{number}")
    assert cached.eventually(lambda: cached.pipeline.flights.waiting == 3)

    assert cached.stop(grace_s=1.0)

    assert cached.source.counts() == (4, 0, 0)
    assert results(cached) == {}


def test_what_waits_at_sigterm_is_finished_if_there_is_time(cached: Any) -> None:
    gate = cached.decoder.script.gate("7_a.png")
    cached.start()
    for number in range(4):
        cached.send("7_a.png", request_id=f"r-{number}")
    assert cached.eventually(lambda: cached.pipeline.flights.waiting == 3)
    threading.Timer(0.3, gate.set).start()

    assert cached.stop(grace_s=20.0)

    assert cached.source.counts() == (0, 0, 0)
    assert len(results(cached)) == 4


def test_of_many_that_find_an_overwritten_object_one_analyses_it(cached: Any) -> None:
    cached.start()
    cached.send("7_a.png", request_id="old")
    assert cached.eventually(cached.empty)
    cached.storage.etags["7_a.png"] = "new"
    gate = cached.decoder.script.gate("7_a.png")
    for number in range(5):
        cached.send("7_a.png", request_id=f"new-{number}")
    assert cached.decoder.script.entered["7_a.png"].wait(10)
    assert cached.eventually(lambda: cached.pipeline.flights.waiting == 4)
    gate.set()
    assert cached.eventually(cached.empty)

    assert cached.decoder.script.count["7_a.png"] == 2
    assert cached.eventually(lambda: cached.files() == [])


@pytest.mark.parametrize(
    "error",
    [CacheError("S3 answered 503"), CacheError("denied", denied=True, lasts=False)],
    ids=["unavailable", "denied"],
)
def test_a_cache_that_fails_fails_no_message(cached: Any, error: CacheError) -> None:
    cached.entries.error = error
    cached.start()
    for number in range(4):
        cached.send(f"{number}_a.png", request_id=f"r-{number}")

    assert cached.eventually(cached.empty)
    assert {result["status"] for result in results(cached).values()} == {"finished"}
    assert len(results(cached)) == 4
    assert cached.counts(4, LOOKUPS, result="error")


def test_scores_are_written_before_the_result_is_posted(cached: Any) -> None:
    gate = cached.callbacks.script.gate("r-1")
    cached.start()
    cached.send("7_a.png", request_id="r-1")
    assert cached.callbacks.script.entered["r-1"].wait(10)

    assert cached.entries.calls == ["get", "put"]
    gate.set()
    assert cached.eventually(cached.empty)


def test_cached_objects_teach_nothing_about_service_times(cached: Any) -> None:
    cached.start()
    cached.send("7_a.png")
    assert cached.eventually(cached.empty)
    load = cached.pipeline.in_flight.load
    before = load()
    for _ in range(10):
        cached.send("7_a.png")
    assert cached.eventually(lambda: len(cached.results) == 11)

    assert load().served == before.served
    assert load().service_s == before.service_s
    assert cached.eventually(lambda: load().held_s == 0)


def test_without_a_cache_every_message_is_analysed_for_itself(rig: Any) -> None:
    rig.start()
    for number in range(3):
        rig.send("7_a.png", request_id=f"r-{number}")

    assert rig.eventually(rig.empty)
    assert rig.decoder.script.count == {"7_a.png": 3}
    assert not any("cached" in result for result in results(rig).values())
    assert rig.pipeline.flights is None


def test_many_jobs_about_few_objects_all_end(cached: Any) -> None:
    cached.start(max_in_flight=200, prefetch_seconds=1000.0, pollers=4)
    for number in range(300):
        cached.send(f"{number % 5}_x.png", request_id=f"r-{number}")
        if number % 60 == 0:
            time.sleep(0.01)

    assert cached.eventually(cached.empty)
    assert len(results(cached)) == 300
    assert sum(cached.decoder.script.count.values()) == 5
    assert cached.eventually(lambda: len(cached.pipeline.flights) == 0)
