"""Draining: nothing is orphaned, what fits is finished, the rest goes back at once."""

import threading
import time
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from detection_worker.pipeline.messages.in_flight import Load
from detection_worker.pipeline.messages.poller import ROOM_WAIT_S


def test_stop_finishes_what_fits_and_leaves_nothing_in_flight(rig: Any) -> None:
    rig.start()
    for i in range(30):
        rig.send(f"1_{i}.png")
    assert rig.eventually(lambda: len(rig.callbacks.posted) >= 3)

    assert rig.stop(grace_s=5)

    visible, in_flight, delayed = rig.source.counts()
    assert (in_flight, delayed) == (0, 0)
    assert visible + len(rig.callbacks.posted) == 30
    assert rig.files() == []


def test_a_job_that_does_not_fit_the_grace_period_goes_back(rig: Any) -> None:
    rig.decoder.script.gate("1_hangs.png")
    rig.start()
    rig.send("1_hangs.png")
    assert rig.decoder.script.entered["1_hangs.png"].wait(30)

    assert rig.stop(grace_s=1.0)

    assert not rig.decoder.script.gates["1_hangs.png"].is_set(), "it never ended by itself"
    assert rig.source.counts() == (1, 0, 0)
    assert rig.callbacks.attempts == []


def test_the_answer_of_the_last_poll_is_released_too(rig: Any) -> None:
    rig.source.poll_gate = threading.Event()
    rig.start()
    assert rig.source.polls.acquire(timeout=30)
    rig.send("1_late.png")
    opened = threading.Timer(0.5, rig.source.poll_gate.set)
    opened.start()

    assert rig.stop(grace_s=5)

    opened.join()
    assert rig.source.counts() == (1, 0, 0)
    assert rig.callbacks.attempts == []
    assert rig.counts(1, "detection_worker_messages_total", outcome="released")


def test_a_poll_that_is_never_answered_does_not_hold_the_exit(rig: Any) -> None:
    rig.source.poll_gate = threading.Event()
    rig.start()
    assert rig.source.polls.acquire(timeout=30)

    clean = rig.pipeline.stop(grace_s=0.8)

    assert not clean
    assert rig.pipeline.poller.polling == 1, "it is unanswered still"


def test_hurry_hands_everything_back_at_once(rig: Any) -> None:
    rig.decoder.script.gate("1_slow.png")
    pipeline = rig.start()
    rig.send("1_slow.png")
    assert rig.decoder.script.entered["1_slow.png"].wait(30)
    started = time.monotonic()

    assert pipeline.stop(grace_s=60, hurry=lambda: True)

    assert time.monotonic() - started < 30, "the grace period was not waited for"
    assert rig.source.counts() == (1, 0, 0)
    rig.pipeline = None
    pipeline.close()


def test_drain_hands_back_what_waits_and_finishes_what_runs(rig: Any) -> None:
    gate = rig.storage.script.gate("1_0.png")
    pipeline = rig.start(downloaders=1)
    for i in range(6):
        rig.send(f"1_{i}.png")
    assert rig.storage.script.entered["1_0.png"].wait(30)
    assert rig.eventually(lambda: len(pipeline.in_flight) == 6)

    pipeline.drain()
    assert rig.eventually(lambda: len(pipeline.in_flight) == 1)
    state = pipeline.health.state()
    assert (state["draining"], state["drained"], state["busy"]) == (True, False, True)
    assert rig.source.counts() == (5, 1, 0)

    gate.set()
    assert rig.eventually(lambda: pipeline.health.state()["drained"])
    assert len(rig.callbacks.posted) == 1
    assert rig.source.counts() == (5, 0, 0)


def test_a_full_worker_that_is_asked_to_drain_polls_no_more(rig: Any) -> None:
    gate = rig.storage.script.gate("1_0.png")
    pipeline = rig.start(downloaders=1, max_in_flight=2)
    for i in range(6):
        rig.send(f"1_{i}.png")
    assert rig.storage.script.entered["1_0.png"].wait(30)
    assert rig.eventually(lambda: len(pipeline.in_flight) == 2 and pipeline.poller.polling == 0)

    pipeline.drain()
    polls = rig.source.calls.count("receive")
    assert rig.eventually(lambda: len(pipeline.in_flight) == 1)
    time.sleep(ROOM_WAIT_S + 0.2)  # a poller that waits for room looks again by then

    assert rig.source.calls.count("receive") == polls, "the room of what went back is not for more"
    assert rig.source.counts() == (5, 1, 0)
    gate.set()
    assert rig.eventually(lambda: pipeline.health.state()["drained"])


def test_a_failure_that_is_being_reported_is_not_handed_back(rig: Any) -> None:
    gate = rig.callbacks.script.gate("bad")
    pipeline = rig.start()
    body = {"sqs_to_ml_url": "ftp://no", "callback_url": "https://cb.test/x", "request_id": "bad"}
    rig.source.send(body)
    assert rig.callbacks.script.entered["bad"].wait(30)

    pipeline.drain()
    time.sleep(0.3)
    gate.set()

    assert rig.eventually(lambda: pipeline.health.state()["drained"])
    assert [post.request_id for post in rig.callbacks.posted] == ["bad"]
    assert len(rig.callbacks.attempts) == 1
    assert rig.source.counts() == (0, 0, 0)


def test_nobody_is_drained_while_the_last_answer_goes_back(rig: Any) -> None:
    rig.source.poll_gate = threading.Event()
    change_visibility, answer = rig.source.change_visibility, threading.Event()

    def change_visibility_slowly(changes: Any) -> Any:
        failures = change_visibility(changes)
        answer.wait(30)
        return failures

    rig.source.change_visibility = change_visibility_slowly
    pipeline = rig.start()
    assert rig.source.polls.acquire(timeout=30)
    pipeline.drain()
    rig.send("1_late.png")
    assert not pipeline.health.state()["drained"]
    rig.source.poll_gate.set()

    assert rig.eventually(lambda: "change_visibility" in rig.source.calls)
    state = pipeline.health.state()
    assert (state["draining"], state["drained"]) == (True, False)
    answer.set()
    assert rig.eventually(lambda: pipeline.health.state()["drained"])
    assert rig.source.counts() == (1, 0, 0)
    assert rig.callbacks.attempts == []


def test_nobody_is_drained_by_a_drain_that_begins_while_the_state_is_read(rig: Any) -> None:
    """A message can come in after the messages were counted and before the drain."""
    gate = rig.storage.script.gate("1_0.png")
    pipeline = rig.start()

    def load_and_drain() -> Load:
        counted: Load = pipeline.in_flight.load()
        rig.send("1_0.png")
        assert rig.storage.script.entered["1_0.png"].wait(30)
        pipeline.drain()
        assert rig.eventually(lambda: pipeline.poller.polling == 0)
        return counted

    state = replace(pipeline.health, in_flight=SimpleNamespace(load=load_and_drain)).state()
    gate.set()

    assert not state["drained"]


def test_resume_brings_a_drained_worker_back(rig: Any) -> None:
    pipeline = rig.start()
    pipeline.drain()
    assert rig.eventually(lambda: pipeline.health.state()["drained"])
    rig.send("7_a.png")
    assert rig.source.counts() == (1, 0, 0)

    pipeline.resume()

    assert rig.eventually(rig.empty)
    assert not pipeline.health.state()["draining"]


def test_a_clock_that_jumps_ends_no_busy_mark(rig: Any) -> None:
    gate = rig.storage.script.gate("1_a.png")
    pipeline = rig.start()
    rig.send("1_a.png")
    assert rig.storage.script.entered["1_a.png"].wait(30)
    jumped_s = time.time() + 86_400

    state = replace(pipeline.health, wall_s=lambda: jumped_s).state()

    expires_s = datetime.fromisoformat(str(state["busy_expires_at"])).timestamp()
    assert 0 < expires_s - jumped_s <= pipeline.health.stall_s
    gate.set()
    assert rig.eventually(rig.empty)


def test_health_and_state_tell_of_a_living_engine(rig: Any) -> None:
    pipeline = rig.start()
    rig.send("7_a.png")
    assert rig.eventually(rig.empty)
    pipeline.health.refresh()

    assert all(pipeline.health.liveness().values())
    state = pipeline.health.state()
    assert (state["busy"], state["in_flight"], state["busy_expires_at"]) == (False, 0, None)
    assert state["statistics"]["processed"] == 1
    assert state["service_seconds"].keys() == {"image"}
    assert state["served"]["image"]["messages"] == 1
    assert state["served"]["image"]["seconds"] > 0
    assert (state["received"], state["received_late"]) == (1, 0)
    assert rig.counts(0, "detection_worker_in_flight")
    assert rig.metric("detection_worker_sustainable_messages_per_second", kind="image") > 0


def test_what_an_own_waiting_poll_takes_back_is_released_again(rig: Any) -> None:
    """A long poll that waits while messages are released is answered with those very messages."""
    pipeline = rig.start(pollers=2, downloaders=1, wait_time_s=5)
    rig.storage.script.gate("1_0.png")
    rig.source.slow_polls_s = 1.0
    rig.source.late_answer_s = 0.1
    for i in range(12):
        rig.send(f"1_{i}.png")
    assert rig.eventually(lambda: len(pipeline.in_flight) == 12)

    assert rig.stop(grace_s=4.0)

    visible, in_flight, _ = rig.source.counts()
    assert in_flight == 0
    assert visible + len(rig.callbacks.posted) == 12


def test_a_worker_that_waits_for_its_last_poll_does_not_spin(rig: Any, monkeypatch: Any) -> None:
    pipeline = rig.start(wait_time_s=2)
    rig.source.slow_polls_s = 2.0
    assert rig.source.polls.acquire(timeout=30)
    looks, to_release = [], pipeline.in_flight.to_release

    def counted(**options: Any) -> Any:
        looks.append(options)
        return to_release(**options)

    monkeypatch.setattr(pipeline.in_flight, "to_release", counted)

    assert rig.stop(grace_s=10.0)
    assert len(looks) < 50
