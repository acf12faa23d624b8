"""The worker's own surroundings fail: no message pays for it, and readiness tells why."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.pipeline.messages import poller as poller_module
from detection_worker.pipeline.stages import breaker as breaker_module
from detection_worker.pipeline.stages.breaker import (
    CHECK_PAUSE_S,
    CircuitBreaker,
    Trial,
    download_trial,
)
from detection_worker.sources.base import QueueError

SKEWED = "AWS credentials do not work: RequestTimeTooSkewed"
WHERE = S3Location(bucket="media", key="a.jpg")


def skewed() -> JobError:
    return JobError(ErrorCode.CREDENTIALS, SKEWED, environment=True)


class Probed:
    """A storage that answers probes with what a test puts there."""

    def __init__(self) -> None:
        self.error: JobError | None = skewed()
        self.probes = 0

    def fetch(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a check never fetches a whole object")

    def fetch_unless(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a check never fetches a whole object")

    def probe(self, location: S3Location, target: Path) -> None:
        assert location == WHERE
        assert target.parent.is_dir()
        self.probes += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def probed() -> Probed:
    return Probed()


@pytest.fixture
def trial(probed: Probed, tmp_path: Path) -> Trial:
    return download_trial(probed, tmp_path / "cache", WHERE)


@pytest.fixture
def breaker(now: list[float]) -> CircuitBreaker:
    return CircuitBreaker(clock=lambda: now[0])


def test_a_failure_of_the_objects_own_stops_nothing(breaker: CircuitBreaker, trial: Trial) -> None:
    breaker.note(JobError(ErrorCode.S3_NOT_FOUND, "gone"), trial)

    assert breaker.allows()
    assert breaker.reason is None


def test_checks_are_rare_and_need_no_message(
    breaker: CircuitBreaker, probed: Probed, trial: Trial, now: list[float]
) -> None:
    breaker.note(skewed(), trial)
    for _ in range(600):
        assert not breaker.allows()
        assert breaker.reason == SKEWED
        now[0] += 1.0

    assert 10 <= probed.probes <= 14  # after 5, 10, 20 and 40 s, then once a minute


@pytest.mark.parametrize(
    "answer",
    [None, JobError(ErrorCode.S3_NOT_FOUND, "gone"), JobError(ErrorCode.S3_FORBIDDEN, "no")],
)
def test_any_answer_about_the_object_ends_the_pause(
    answer: JobError | None,
    breaker: CircuitBreaker,
    probed: Probed,
    trial: Trial,
    now: list[float],
    tmp_path: Path,
) -> None:
    breaker.note(skewed(), trial)
    now[0] += CHECK_PAUSE_S
    probed.error = answer

    assert breaker.allows()
    assert breaker.reason is None
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_thread_checks_at_a_time(
    breaker: CircuitBreaker, probed: Probed, trial: Trial, now: list[float]
) -> None:
    breaker.note(skewed(), trial)
    now[0] += CHECK_PAUSE_S
    threads = [threading.Thread(target=breaker.allows) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert probed.probes == 1


def test_a_check_that_takes_long_is_not_begun_again(
    breaker: CircuitBreaker, now: list[float]
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def again() -> None:
        begun.release()
        go_on.wait(10)

    breaker.note(skewed(), Trial(check="results", paused="", works="", again=again))
    now[0] += CHECK_PAUSE_S
    first = threading.Thread(target=breaker.allows)
    first.start()
    assert begun.acquire(timeout=10)

    now[0] += 600.0
    assert not breaker.allows()

    assert not begun.acquire(blocking=False)
    go_on.set()
    first.join()
    assert breaker.allows()


def test_a_check_that_fails_for_a_bug_is_made_again_later(
    breaker: CircuitBreaker, now: list[float]
) -> None:
    errors: list[Exception] = [ValueError("nobody foresaw this")]

    def again() -> None:
        if errors:
            raise errors.pop()

    breaker.note(skewed(), Trial(check="results", paused="", works="", again=again))
    now[0] += CHECK_PAUSE_S
    with pytest.raises(ValueError, match="nobody foresaw"):
        breaker.allows()

    assert breaker.reasons == {"results": SKEWED}
    now[0] += CHECK_PAUSE_S
    assert breaker.allows()


def test_each_destination_is_tried_by_itself(breaker: CircuitBreaker, now: list[float]) -> None:
    broken = {"a", "b"}

    def trial(name: str) -> Trial:
        def again() -> None:
            if name in broken:
                raise JobError(ErrorCode.NOTIFICATION_FAILED, f"{name} is gone", environment=True)

        works = f"{name} works"
        return Trial(check="notifications", paused="", works=works, again=again, destination=name)

    for name in ("a", "b"):
        error = JobError(ErrorCode.NOTIFICATION_FAILED, f"{name} is gone", environment=True)
        breaker.note(error, trial(name))
    now[0] += CHECK_PAUSE_S
    broken.remove("b")

    assert not breaker.allows()
    assert breaker.reasons == {"notifications": "a is gone"}
    now[0] += CHECK_PAUSE_S
    broken.clear()
    assert breaker.allows()


def test_a_folder_that_cannot_be_made_keeps_it_open(
    probed: Probed, now: list[float], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    breaker = CircuitBreaker(clock=lambda: now[0])
    trial = download_trial(probed, tmp_path / "file" / "cache", WHERE)
    breaker.note(skewed(), trial)
    now[0] += CHECK_PAUSE_S
    probed.error = None

    assert not breaker.allows()
    assert breaker.reason == "no room for downloads: Not a directory"


def test_while_downloads_cannot_work_no_message_is_received(
    rig: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(breaker_module, "CHECK_PAUSE_S", 0.2)
    rig.source.max_receive_count = 2
    keys = [f"7_{i}.png" for i in range(6)]
    # One poll brings two messages, which find the clock wrong. A poll that was on its way when
    # they did may still bring two more; after it nobody asks.
    rig.storage.script.errors = {key: [skewed() for _ in range(30)] for key in keys}
    pipeline = rig.start(max_messages=2, max_in_flight=2, max_backoff_s=2)
    for key in keys[:2]:
        rig.send(key)
    assert rig.eventually(lambda: pipeline.health.readiness()["downloads"] == SKEWED)
    polls = rig.source.calls.count("receive")
    for key in keys[2:]:
        rig.send(key)
    assert rig.eventually(lambda: sum(rig.storage.script.count.values()) >= 8)

    assert rig.source.dead == []
    assert rig.source.calls.count("receive") <= polls + 1
    asked = [rig.storage.script.count.get(key, 0) for key in keys]
    assert (sum(asked[:2]) >= 6, sum(asked[2:]) <= 2) == (True, True)
    loud = [r for r in caplog.records if "receiving is paused" in r.getMessage()]
    assert [r.levelno for r in loud] == [logging.ERROR]
    assert SKEWED in loud[0].getMessage()

    for errors in rig.storage.script.errors.values():
        errors.clear()

    assert rig.eventually(rig.empty)
    assert pipeline.health.readiness() == {"models and queue": True, "downloads": True}
    assert rig.source.dead == []
    assert len({p.result["sqs_to_ml_url"] for p in rig.callbacks.posted}) == 6
    assert {p.result["status"] for p in rig.callbacks.posted} == {"finished"}


def test_a_poll_without_an_answer_makes_the_worker_unready(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller_module, "SILENCE_S", 0.3)
    rig.source.poll_gate = threading.Event()  # the network swallows what is sent
    pipeline = rig.start(wait_time_s=0)

    assert rig.eventually(
        lambda: (
            "SQS has not answered a poll" in str(pipeline.health.readiness()["models and queue"])
        )
    )

    rig.source.poll_gate.set()

    assert rig.eventually(lambda: pipeline.health.readiness()["models and queue"] is True)


@pytest.mark.parametrize(
    ("fatal", "after_s", "ready"),
    [(True, 30.0, False), (False, 0.2, False), (False, 30.0, True)],
)
def test_a_queue_that_cannot_be_read_makes_the_worker_unready(
    rig: Any, monkeypatch: pytest.MonkeyPatch, *, fatal: bool, after_s: float, ready: bool
) -> None:
    monkeypatch.setattr(poller_module, "UNREADY_AFTER_S", after_s)
    pipeline = rig.start()
    assert rig.eventually(lambda: rig.source.calls.count("receive") >= 1)
    assert pipeline.health.readiness()["models and queue"] is True

    def refuse(**_: Any) -> Any:
        raise QueueError("SQS queue does not exist: x", code="x", fatal=fatal)

    monkeypatch.setattr(rig.source, "receive", refuse)

    assert rig.eventually(lambda: pipeline.poller.error is not None)
    said = "SQS queue does not exist: x"
    if ready:
        assert pipeline.health.readiness()["models and queue"] is True
    else:
        assert rig.eventually(lambda: pipeline.health.readiness()["models and queue"] == said)

    monkeypatch.undo()

    assert rig.eventually(lambda: pipeline.poller.error is None)
    assert pipeline.health.readiness()["models and queue"] is True
