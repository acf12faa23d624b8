"""Feeders that hang, a device that hangs, and how often a feeder is started again."""

import json
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from detection_contract.media_types import MediaKind
from detection_testing.aws.local_aws import LocalAws
from detection_testing.crashes.stubs import HangingDetector
from detection_testing.media import sample_media
from detection_worker.detectors.registry import LoadedDetectors
from detection_worker.pipeline.files.downloads import job_folder, sweep_after
from detection_worker.pipeline.service.feeders import slot as slots
from detection_worker.pipeline.service.feeders import steering, worker
from detection_worker.pipeline.service.feeders.orders import orders_of
from detection_worker.pipeline.service.feeders.series import Family
from detection_worker.pipeline.service.feeders.slot import Slot
from detection_worker.pipeline.service.feeders.worker import FedWorker
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    Settings,
)


@dataclass
class Stand:
    """A worker with one feeder in a thread of this process."""

    aws: LocalAws
    queue_url: str
    worker: FedWorker
    detector: HangingDetector
    codes: list[int] = field(default_factory=list)

    def feeder(self) -> int | None:
        (place,) = self.worker._fleet.slots
        return place.process.pid if place.process else None

    def ready(self) -> bool:
        return self.worker._steering._is_ready()

    def send(self, folder: Path) -> None:
        picture = sample_media.make_image(folder / "a.jpg", width=160, height=160)
        url = self.aws.put_object("media", "a.jpg", picture.read_bytes())
        body = {"sqs_to_ml_url": url, "callback_url": self.aws.callback_url("/ok")}
        self.aws.send(self.queue_url, [json.dumps(body)])

    @staticmethod
    def eventually(condition: Callable[[], object], *, timeout_s: float = 60.0) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if condition():
                return True
            time.sleep(0.05)
        return bool(condition())


@pytest.fixture
def stand(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    detector = HangingDetector()
    loaded = LoadedDetectors(
        by_kind={MediaKind.IMAGE: detector}, cards=(detector.card,), problems=[]
    )
    monkeypatch.setattr(worker, "load_models", lambda *_: loaded)
    queue_url, _ = aws.create_queue(uuid.uuid4().hex, max_receive_count=50)
    keys = AwsSettings(
        access_key_id=aws.credentials.access_key_id,
        secret_access_key=aws.credentials.secret_access_key,
        endpoint_url=aws.endpoint_url,
    )
    settings = Settings(
        aws=keys,
        data=DataSettings(s3_cache_dir=tmp_path / "cache"),
        callback=CallbackSettings(allow_private=True),
    )
    consumer = ConsumerSettings(
        queue_url=queue_url,
        wait_time_s=1,
        decoders=1,
        stall_timeout_s=2,
        max_backoff_s=1,
        shutdown_grace_s=4,
    )
    built = Stand(aws, queue_url, FedWorker(settings, consumer, feeders=1), detector)
    thread = threading.Thread(target=lambda: built.codes.append(built.worker.run()))
    thread.start()
    yield built
    detector.go_on.set()
    built.worker.request_stop()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.slow
def test_a_device_that_hangs_ends_the_worker(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steering, "SLACK_S", 1.0)
    assert stand.eventually(stand.ready)
    stand.send(tmp_path)
    assert stand.detector.entered.wait(30)

    assert stand.eventually(lambda: stand.codes)

    assert stand.codes == [1]
    assert "the device has shown no sign of life" in caplog.text
    assert stand.feeder() is None
    counts = stand.aws.stats()["queues"][stand.queue_url.rpartition("/")[2]]
    assert (sum(counts.values()), counts["in_flight"]) == (1, 0)


@pytest.mark.slow
def test_a_stop_does_not_wait_for_a_pass_that_hangs(
    stand: Stand, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert stand.eventually(stand.ready)
    stand.send(tmp_path)
    assert stand.detector.entered.wait(30)

    stand.worker.request_stop()

    assert stand.eventually(lambda: stand.codes)
    assert (stand.codes, stand.worker.hangs) == ([1], True)
    assert "a forward pass does not end: the worker ends without it" in caplog.text
    counts = stand.aws.stats()["queues"][stand.queue_url.rpartition("/")[2]]
    assert (sum(counts.values()), counts["in_flight"]) == (1, 0)


@pytest.mark.slow
def test_a_feeder_that_hangs_is_killed_and_started_again(
    stand: Stand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(slots, "MOST_SILENT", 1)
    stand.detector.go_on.set()
    assert stand.eventually(stand.ready)
    first = stand.feeder()
    assert first is not None
    os.kill(first, signal.SIGSTOP)

    assert stand.eventually(lambda: stand.feeder() not in {None, first})

    assert "feeder 1 does not answer: it is killed" in caplog.text
    stand.send(tmp_path)
    assert stand.eventually(lambda: stand.worker.statistics.processed == 1)
    stand.worker.request_stop()
    assert stand.eventually(lambda: stand.codes == [0])
    assert stand.worker.statistics.processed == 1, "counts outlive the feeders"
    assert [r.levelno for r in caplog.records if r.name.endswith("fleet")] == [logging.ERROR] * 2


@pytest.mark.slow
def test_counts_that_nobody_scraped_outlive_a_killed_feeder(stand: Stand, tmp_path: Path) -> None:
    """The main process asks for them once a second."""
    stand.detector.go_on.set()
    assert stand.eventually(stand.ready)
    for _ in range(5):
        stand.send(tmp_path)
    (place,) = stand.worker._fleet.slots
    assert stand.eventually(lambda: deleted(place.series) == 5)
    assert stand.eventually(lambda: stand.worker.statistics.processed == 5)
    first = stand.feeder()
    assert first is not None

    os.kill(first, signal.SIGKILL)
    assert stand.eventually(lambda: stand.feeder() not in {None, first})

    assert sum(map(deleted, stand.worker._steering._series())) == 5
    assert stand.worker.statistics.processed == 5


def deleted(families: Sequence[Family]) -> float:
    """Return how many messages were deleted, by the metrics of a process."""
    samples = [sample for family in families for sample in family["samples"]]
    return sum(
        float(value)
        for name, labels, value, _ in samples
        if name == "detection_worker_messages_total" and labels["outcome"] == "deleted"
    )


@pytest.fixture
def place() -> Slot:
    consumer = ConsumerSettings(queue_url="http://sqs.test/1/q")
    return Slot(orders_of(Settings(), consumer, decoders=1, index=0, feeders=1))


def test_one_that_dies_again_and_again_waits_longer_and_longer(place: Slot) -> None:
    pauses = [place.put_off(lived_s=1.0) for _ in range(9)]

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_one_that_lived_long_is_started_again_at_once(place: Slot) -> None:
    for _ in range(5):
        place.put_off(lived_s=1.0)

    assert [place.put_off(lived_s=s) for s in (3600.0, 1.0, 1.0)] == [0, 1, 2]


def test_a_feeder_without_a_pipeline_is_drained_once_it_says_so(place: Slot) -> None:
    assert not place.drained
    place.status = {"state": {"drained": False}}
    assert not place.drained
    place.status = {"state": {"drained": True}}
    assert place.drained
    place.late = True
    assert not place.drained


def test_only_answers_owed_in_a_row_make_one_hang(place: Slot) -> None:
    status: dict[str, Any] = {"state": {}}
    place.status = status
    place.late = True
    assert [place.hung() for _ in range(slots.MOST_SILENT)] == [False] * slots.MOST_SILENT
    assert not place.healthy
    assert place.hung()

    place.late = False
    assert not place.hung()
    assert place.healthy


def test_one_that_still_imports_is_given_longer(place: Slot) -> None:
    place.late = True

    assert not any(place.hung() for _ in range(slots.MOST_SILENT_AT_FIRST))
    assert place.healthy
    assert place.hung()


def test_only_the_folders_of_the_dead_are_removed(tmp_path: Path) -> None:
    ours = job_folder(tmp_path)
    dead = tmp_path / "job-123-0123abcd-x"
    other = tmp_path / "job-1234-0123abcd-x"
    for folder in (dead, other):
        folder.mkdir()
        (folder / "file").touch()

    sweep_after(tmp_path, 123)

    assert sorted(tmp_path.iterdir()) == sorted([ours, other])
