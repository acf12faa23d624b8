"""A whole worker with two feeders, and everything that may happen to it."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detection_contract.schemas import load_schema
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_testing.samples import sample_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUCKET = "media"


@pytest.fixture
def picture(aws: LocalAws, tmp_path: Path) -> str:
    made = sample_media.make_image(tmp_path / "a.jpg", width=160, height=160)
    return aws.put_object(BUCKET, "a.jpg", made.read_bytes())


def test_feeders_do_what_one_process_does(
    start: Any, aws: LocalAws, tmp_path: Path, picture: str
) -> None:
    worker = start()
    video = sample_media.make_video(
        tmp_path / "b.mp4", codec="h264", seconds=2, fps=10, width=320, height=240, seed=1
    )
    sound = sample_media.tone(seconds=2, rate_hz=16_000, seed=1)
    sample_media.add_sound(video, sound, rate_hz=16_000)
    urls = {
        "image": picture,
        "video": aws.put_object(BUCKET, "b.mp4", video.read_bytes()),
        "audio": aws.put_object(BUCKET, "c.wav", sample_path("reading.wav").read_bytes()),
        "failed": aws.put_object(BUCKET, "d.jpg", b"no picture"),
    }
    ids = {kind: worker.send(url) for kind, url in urls.items()}

    assert worker.eventually(lambda: set(ids.values()) <= worker.results().keys()), (
        worker.log.read_text()
    )
    found = {kind: worker.results()[i] for kind, i in ids.items()}
    for result in found.values():
        jsonschema.validate(result, load_schema("result"))
    assert [found[k]["file_type"] for k in ("image", "video", "audio")] == [
        "image",
        "video",
        "audio",
    ]
    assert found["video"]["media"]["frames_analysed"] > 1
    assert [track["track"] for track in found["video"]["tracks"]] == ["video", "audio"]
    assert found["failed"]["error"]["code"] == "unsupported_type"
    assert worker.eventually(lambda: worker.state()["statistics"]["processed"] == 3)
    assert worker.eventually(lambda: worker.state()["statistics"]["failed"] == 1)
    state = worker.state()
    assert state["received"] == 4
    assert set(state["served"]) == {"image", "video", "audio"}
    assert worker.eventually(lambda: worker.metric("messages_total") == 4)
    assert worker.metric("jobs_total") == 3
    assert worker.metric("failures_total") == 1
    assert worker.metric("batch_units_count") >= 3
    assert worker.metric("model_info") == 3
    assert worker.ask("/healthz")["checks"]["feeders"] is True

    tree = {worker.process.pid}
    for pid in worker.feeders():
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "libtorch" not in maps
        told = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert len(told.split(b"\0")) == 8, "program, options and three numbers"
        tree.add(pid)
    assert len(tree) == 3
    assert {line.get("feeder") for line in worker.lines()} == {None, 1, 2}

    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0
    assert worker.queue() == {"visible": 0, "in_flight": 0, "delayed": 0}
    assert worker.eventually(lambda: all(not Path(f"/proc/{pid}").exists() for pid in tree))
    (said,) = [e["message"] for e in worker.lines() if e["message"].startswith("Statistics: ")]
    assert said.startswith("Statistics: 3 processed, 1 failed, 0 to retry, ")


def test_a_drain_holds_for_feeders_that_are_started_later(start: Any, picture: str) -> None:
    worker = start()
    worker.wait_ready()

    asked = worker.ask("/drain", method="POST")
    assert asked["draining"] is True
    assert worker.eventually(lambda: worker.state()["drained"])
    os.kill(worker.feeders()[0], signal.SIGKILL)
    assert worker.eventually(lambda: worker.metric("feeder_restarts_total") == 1)
    assert worker.eventually(lambda: worker.state()["drained"])
    assert worker.eventually(lambda: len(worker.feeders()) == 2)
    request_id = worker.send(picture)
    time.sleep(2.5)
    state = worker.state()
    assert (state["received"], state["draining"], state["drained"]) == (0, True, True)
    assert worker.metric("draining") == 1

    assert worker.ask("/resume", method="POST")["draining"] is False
    assert worker.eventually(lambda: request_id in worker.results())
    assert worker.metric("draining") == 0


def test_a_killed_feeder_loses_nothing_and_no_count_goes_back(
    start: Any, aws: LocalAws, picture: str
) -> None:
    worker = start()
    worker.wait_ready()
    first = [worker.send(picture) for _ in range(10)]
    assert worker.eventually(lambda: set(first) <= worker.results().keys())
    assert worker.eventually(lambda: worker.metric("messages_total") == 10)
    before = worker.state()
    aws.inject(Fault(operation="s3.GetObject", kind="latency", seconds=60))
    second = [worker.send(picture) for _ in range(20)]
    assert worker.eventually(lambda: worker.state()["in_flight"] >= 10)
    aws.clear_faults()

    for pid in worker.feeders():
        os.kill(pid, signal.SIGKILL)
    assert worker.eventually(lambda: worker.metric("feeder_restarts_total") == 2)

    assert worker.metric("messages_total") >= 10
    assert worker.state()["received"] >= before["received"]
    assert worker.eventually(lambda: set(second) <= worker.results().keys())
    assert worker.eventually(lambda: worker.state()["statistics"]["processed"] >= 30)
    assert worker.eventually(lambda: sum(worker.queue().values()) == 0)
    deaths = [e for e in worker.lines() if "was ended by SIGKILL" in e["message"]]
    assert len(deaths) == 2
    assert deaths[0]["message"].startswith("feeder ")
    assert worker.process.poll() is None


def test_a_feeder_that_stands_still_is_unhealthy_and_the_other_one_answers(
    start: Any, picture: str
) -> None:
    worker = start()
    worker.wait_ready()
    still, other = worker.feeders()
    os.kill(still, signal.SIGSTOP)
    try:
        assert worker.eventually(lambda: worker.ask("/healthz")["checks"]["feeders"] is False)
        assert worker.ask("/healthz")["status"] == "failing"
        assert worker.state()["ready"] is True
        worker.ask("/drain", method="POST")
        assert worker.state()["drained"] is False, "it may hold a message"
    finally:
        os.kill(still, signal.SIGCONT)

    assert worker.eventually(lambda: worker.ask("/healthz")["status"] == "ok")
    assert worker.eventually(lambda: worker.state()["drained"])
    assert worker.feeders() == [still, other]


def test_sigterm_hands_back_what_is_not_finished(start: Any, aws: LocalAws, picture: str) -> None:
    worker = start(DETECTION_SHUTDOWN_GRACE_S="4")
    worker.wait_ready()
    aws.inject(Fault(operation="s3.GetObject", kind="latency", seconds=60))
    for _ in range(12):
        worker.send(picture)
    assert worker.eventually(lambda: worker.state()["in_flight"] == 12)
    processes = [worker.process.pid, *worker.feeders()]

    worker.process.send_signal(signal.SIGTERM)
    code = worker.process.wait(30)
    aws.clear_faults()

    assert worker.queue() == {"visible": 12, "in_flight": 0, "delayed": 0}
    assert code == 0
    assert worker.eventually(lambda: all(not Path(f"/proc/{pid}").exists() for pid in processes))


def test_a_second_signal_hands_everything_back_at_once(
    start: Any, aws: LocalAws, picture: str
) -> None:
    worker = start(DETECTION_SHUTDOWN_GRACE_S="120")
    worker.wait_ready()
    aws.inject(Fault(operation="callback.*", kind="latency", seconds=60))
    for _ in range(4):
        worker.send(picture)
    assert worker.eventually(lambda: worker.state()["in_flight"] == 4)
    assert worker.eventually(lambda: worker.state()["stages"]["callback"]["busy"] == 4)

    worker.process.send_signal(signal.SIGTERM)
    assert worker.eventually(lambda: worker.state()["stopping"] is True)
    started_s = time.monotonic()
    worker.process.send_signal(signal.SIGINT)
    code = worker.process.wait(60)
    aws.clear_faults()

    assert time.monotonic() - started_s < 40
    assert worker.queue() == {"visible": 4, "in_flight": 0, "delayed": 0}
    assert code == 0


def test_sigkill_of_the_main_process_ends_every_other_one(
    start: Any, aws: LocalAws, picture: str
) -> None:
    worker = start()
    worker.wait_ready()
    aws.inject(Fault(operation="s3.GetObject", kind="latency", seconds=60))
    for _ in range(5):
        worker.send(picture)
    assert worker.eventually(lambda: worker.state()["in_flight"] == 5)
    feeders = worker.feeders()
    decoders = worker.decoders()
    assert len(decoders) == 2

    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait(10)
    aws.clear_faults()

    def ended(pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        return stat.rpartition(")")[2].split()[0] == "Z"

    assert worker.eventually(lambda: all(map(ended, [*feeders, *decoders])))
    assert worker.eventually(lambda: worker.queue()["visible"] == 5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"MODELS_DIR": "/none", "DETECTION_CONTROL_PORT": "0"},
            "Error: No models could be loaded!",
            id="no model",
        ),
        pytest.param(
            {"DETECTION_CONTROL_PORT": "0"}, "Error: SQS queue does not exist: ", id="no queue"
        ),
        pytest.param(
            {"DETECTION_RESULTS_URL": "", "DETECTION_ON_SUCCESS": "QUEUE"},
            "Error: ",
            id="results that come back to the queue",
        ),
    ],
)
def test_what_keeps_a_worker_from_starting_is_said_once(
    start: Any, aws: LocalAws, changes: dict[str, str], said: str
) -> None:
    queue_url = f"{aws.endpoint_url}/123456789012/none"
    if "DETECTION_ON_SUCCESS" in changes:
        queue_url = aws.create_queue("loop").queue_url
        changes = {**changes, "DETECTION_ON_SUCCESS": aws.queue_arn(queue_url)}
    worker = start(queue_url=queue_url, **changes)

    assert worker.process.wait(60) == 2

    errors = [line for line in worker.log.read_text().splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(said)
    assert {e["level"] for e in _json_lines(worker.log) if e.get("feeder")} <= {"INFO"}


def test_results_may_not_hide_what_the_outbox_could_not_deliver(start: Any, aws: LocalAws) -> None:
    outbox = aws.create_queue("outbox-of-feeders")
    changes = {
        "DETECTION_OUTBOX_URL": outbox.queue_url,
        "DETECTION_ON_SUCCESS": aws.queue_arn(outbox.dlq_url),
    }

    worker = start(**changes)

    assert worker.process.wait(60) == 2
    assert "outbox-of-feeders-dlq" in worker.log.read_text()


def _json_lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(t) for t in log.read_text().splitlines() if t.startswith("{")]
