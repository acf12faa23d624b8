"""Whole workers with one cache, on the strict local AWS and on moto: calls, freshness, races."""

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detection_contract.schemas import load_schema
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_testing.samples import sample_path
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.settings import ConsumerSettings, DataSettings, ResultSettings, Settings

pytestmark = pytest.mark.slow

FILES = ("cat.png", "dandelion-pan.mp4", "reading.wav")


class Work:
    """A queue, media and workers that come one after another, each a process of its own."""

    def __init__(self, cloud: Any, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder
        self.sqs = cloud.session.client("sqs", endpoint_url=cloud.aws.endpoint_url)
        name = f"q-{uuid.uuid4().hex[:12]}"
        self.queue_url = self.sqs.create_queue(
            QueueName=name, Attributes={"VisibilityTimeout": "30"}
        )["QueueUrl"]
        self.results: list[dict[str, Any]] = []
        self.forward_passes = 0.0

    def send(self, key: str, **fields: Any) -> None:
        body = {"sqs_to_ml_url": f"s3://{self.cloud.bucket}/{key}", **fields}
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps(body))

    def worker(self) -> Consumer:
        settings = Settings(
            aws=self.cloud.aws,
            data=DataSettings(s3_cache_dir=self.folder / uuid.uuid4().hex),
            results=ResultSettings(cache_url=f"s3://{self.cloud.bucket}/scores"),
        )
        consumer = ConsumerSettings(
            queue_url=self.queue_url, wait_time_s=1, run_once=True, torch_threads=1
        )
        return Consumer(settings, consumer, on_result=self._take)

    def run(self) -> list[dict[str, Any]]:
        """Let a new worker poll once; return its results, in the order of their ids."""
        del self.results[:]
        worker = self.worker()
        assert worker.run() == 0
        registry = worker._metrics.registry
        self.forward_passes = registry.get_sample_value("detection_worker_batch_units_count") or 0
        return sorted(self.results, key=lambda result: str(result["request_id"]))

    def entries(self) -> list[str]:
        listed = self.cloud.s3.list_objects_v2(Bucket=self.cloud.bucket, Prefix="scores/")
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def _take(self, result: Any) -> None:
        self.results.append(result)


@pytest.fixture
def work(cloud: Any, tmp_path: Path) -> Work:
    made = Work(cloud, tmp_path)
    for name in FILES:
        cloud.put(name, sample_path(name).read_bytes(), ContentType="image/x-any")
    return made


@pytest.fixture
def strict(local: Any, tmp_path: Path) -> Work:
    return Work(local, tmp_path)


def without_request(result: dict[str, Any]) -> dict[str, Any]:
    of_the_request = {
        "request_id",
        "cached",
        "local_path",
        "processed_at",
        "timings_ms",
        "original_message",
    }
    return {name: value for name, value in result.items() if name not in of_the_request}


def test_a_new_worker_gives_the_same_results_without_a_forward_pass(work: Work) -> None:
    for name in FILES:
        work.send(name, request_id=name)
    first = work.run()
    assert work.forward_passes > 0
    for name in FILES:
        work.send(name, request_id=f"{name} again")
    second = work.run()

    assert work.forward_passes == 0
    assert len(first) == len(second) == len(work.entries()) == 3
    assert not any("cached" in result for result in first)
    assert all(result["cached"] is True for result in second)
    for before, after in zip(first, second, strict=True):
        jsonschema.validate(after, load_schema("result"))
        assert without_request(before) == without_request(after)


def test_an_overwritten_object_and_a_damaged_entry_are_analysed_again(work: Work) -> None:
    work.send("cat.png", request_id="1")
    work.run()
    work.cloud.put("cat.png", sample_path("cat-reconstructed.png").read_bytes())
    work.send("cat.png", request_id="2")
    [newer] = work.run()

    assert work.forward_passes > 0
    assert "cached" not in newer
    [entry] = work.entries()
    body = work.cloud.s3.get_object(Bucket=work.cloud.bucket, Key=entry)["Body"].read()
    work.cloud.put(entry, body[: len(body) // 2])
    work.send("cat.png", request_id="3")
    [repaired] = work.run()
    assert work.forward_passes > 0
    assert without_request(repaired) == without_request(newer)

    work.send("cat.png", request_id="4")
    [cached] = work.run()
    assert cached["cached"] is True
    assert without_request(cached) == without_request(newer)


def calls(aws: LocalAws, bucket: str, since: int) -> Counter[str]:
    """Return the requests about a bucket's objects, as ``GetObject 304``."""
    return Counter(
        f"{each.operation} {each.status}"
        for each in aws.s3_journal(since=since)
        if each.bucket == bucket and each.key
    )


def test_what_a_miss_and_a_hit_cost(strict: Work, local_aws: LocalAws) -> None:
    bucket = strict.cloud.bucket
    for number in range(4):
        image = sample_media.make_image(strict.folder / f"{number}.png", seed=number)
        strict.cloud.put(f"{number}.png", image.read_bytes())
    at = len(local_aws.s3_journal())
    for number in range(4):
        strict.send(f"{number}.png")
    strict.run()
    assert calls(local_aws, bucket, at) == {
        "GetObject 404": 4,  # the entry
        "GetObject 206": 4,  # the object
        "PutObject 200": 4,
    }

    at = len(local_aws.s3_journal())
    for number in range(4):
        strict.send(f"{number}.png")
    strict.run()
    assert calls(local_aws, bucket, at) == {"GetObject 200": 4, "GetObject 304": 4}

    # Twice in one worker: the second time from its memory.
    at = len(local_aws.s3_journal())
    for _ in range(4):
        strict.send("0.png")
    strict.run()
    assert calls(local_aws, bucket, at) == {"GetObject 200": 1, "GetObject 304": 4}


def test_an_object_that_changes_between_the_calls_is_analysed_as_it_is_now(
    strict: Work, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (
        sample_media.make_image(strict.folder / f"{seed}.png", seed=seed).read_bytes()
        for seed in (1, 2)
    )
    strict.cloud.put("a.png", old)
    strict.send("a.png", request_id="1")
    strict.run()

    worker = strict.worker()
    entries: Any = worker._adapters.destinations.entries
    get: Callable[[str], Any] = entries.get

    def get_then_overwrite(name: str) -> Any:
        found = get(name)
        strict.cloud.put("a.png", new)
        return found

    monkeypatch.setattr(entries, "get", get_then_overwrite)
    strict.send("a.png", request_id="2")
    del strict.results[:]
    assert worker.run() == 0

    [result] = strict.results
    assert "cached" not in result
    assert result["s3_file_info"]["size"] == len(new)
    strict.send("a.png", request_id="3")
    [again] = strict.run()
    assert again["cached"] is True
    assert again["media"]["sha256"] == result["media"]["sha256"]


def test_two_workers_that_race_for_one_object_both_finish(work: Work) -> None:
    for number in range(2):
        work.send("cat.png", request_id=str(number))
    workers = [work.worker() for _ in range(2)]
    for worker in workers:
        object.__setattr__(worker._consumer, "max_messages", 1)
    codes: list[int] = []
    threads = [threading.Thread(target=lambda w=w: codes.append(w.run())) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert codes == [0, 0]
    assert sorted(result["request_id"] for result in work.results) == ["0", "1"]
    first, second = work.results
    assert without_request(first) == without_request(second)
    assert len(work.entries()) == 1
