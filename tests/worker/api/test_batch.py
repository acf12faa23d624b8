"""Many files at once: the order, what waits, and what one file may cost the others."""

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.result_types import DetectionResult
from detection_testing.aws.local_aws import LocalAws
from detection_worker.api.batch import WINDOW, Batch, Needs
from detection_worker.api.files import S3Files
from detection_worker.core.messages.outcome import Failure
from detection_worker.errors import UsageError
from detection_worker.pipeline.stages.file_pipeline import FileTask
from detection_worker.settings import AwsSettings, DataSettings, Settings


class FakePipeline:
    """Keeps tasks until the test ends them; a task ends with a failure that names its file."""

    def __init__(self) -> None:
        self.tasks: list[FileTask] = []
        self.at_once = False

    def start(self, tasks: Sequence[FileTask]) -> None:
        self.tasks += tasks
        if self.at_once:
            for task in tasks:
                self.end(task)

    def end(self, task: FileTask) -> None:
        task.on_decoded()
        task.failure = Failure(code=ErrorCode.UNDECODABLE, message=f"read {task.path.name}")
        task.on_end(task)

    def needs(self, files: S3Files | None = None) -> Needs:
        def fetcher() -> S3Files:
            assert files is not None
            return files

        return Needs(
            start=self.start,
            files=fetcher,
            max_bytes=1000,
            keep_downloads=False,
            threshold=0.5,
            trust_declared=False,
        )


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{number}.png" for number in range(6)]
    for path in made:
        path.write_bytes(b"x")
    return made


def said(results: Sequence[DetectionResult]) -> list[str]:
    return [result["error"]["message"] for result in results if result["error"]]


def test_results_come_in_the_order_of_the_inputs(
    pipeline: FakePipeline, paths: list[Path]
) -> None:
    batch = Batch(paths, pipeline.needs())
    assert batch.poll(0) == []
    first, second, third, *others = pipeline.tasks
    for task in (third, second, *others):
        pipeline.end(task)

    assert batch.poll(0) == []
    pipeline.end(first)
    results = batch.poll()

    assert said(results) == [f"read {number}.png" for number in range(6)]
    assert batch.ended
    assert batch.poll() == []


def test_a_batch_that_is_cut_short_gives_what_is_finished(
    pipeline: FakePipeline, paths: list[Path]
) -> None:
    with Batch(paths, pipeline.needs()) as batch:
        batch.poll(0)
        for index in (4, 1):
            pipeline.end(pipeline.tasks[index])
    for task in pipeline.tasks:
        assert task.cancelled

    assert said(batch.finished()) == ["read 1.png", "read 4.png"]
    assert batch.finished() == []


def test_what_is_no_file_is_told_before_anything_is_started(
    pipeline: FakePipeline, paths: list[Path], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "large.png").write_bytes(bytes(1001))
    bad: list[str | Path] = [
        "gone.png",
        tmp_path / "pipe.png",
        tmp_path / "empty.png",
        tmp_path / "large.png",
    ]
    batch = Batch([*bad, "n" * 300, "a\0b", paths[0]], pipeline.needs())

    results = batch.poll(0)

    assert pipeline.tasks == []
    codes = [result["error"]["code"] for result in results if result["error"]]
    assert codes == [
        "bad_url",
        "bad_url",
        "empty_file",
        "too_large",
        "bad_url",
        "bad_url",
    ]
    assert results[0]["file_path"] == "gone.png"
    assert not batch.ended


def test_all_bad_inputs_load_no_model(pipeline: FakePipeline) -> None:
    results = list(Batch(["gone.png", "s3:/b/k"], pipeline.needs()))

    assert said(results) == ["File not found: gone.png", "File not found: s3:/b/k"]
    assert pipeline.tasks == []


def test_inputs_without_end_are_taken_as_they_are_needed(
    pipeline: FakePipeline, paths: list[Path]
) -> None:
    taken = itertools.count()

    def endless() -> Iterator[Path]:
        while True:
            next(taken)
            yield paths[0]

    pipeline.at_once = True
    results = list(itertools.islice(Batch(endless(), pipeline.needs()), 1000))

    assert len(results) == 1000
    assert next(taken) <= 1000 + 2 * WINDOW


def test_a_slow_file_holds_back_no_more_than_the_window(
    pipeline: FakePipeline, paths: list[Path]
) -> None:
    batch = Batch(itertools.repeat(paths[0], 2 * WINDOW), pipeline.needs())
    batch.poll(0)
    for task in pipeline.tasks[1:]:
        pipeline.end(task)
    for _ in range(10):
        assert batch.poll(0) == []
    assert len(pipeline.tasks) == WINDOW

    pipeline.at_once = True
    pipeline.end(pipeline.tasks[0])

    assert len(list(batch)) == 2 * WINDOW


def test_a_predictor_that_is_closed_meanwhile_ends_the_wait(
    pipeline: FakePipeline, paths: list[Path]
) -> None:
    batch = Batch(paths, pipeline.needs())
    batch.poll(0)
    task = pipeline.tasks[0]
    task.stop.set()
    task.on_end(task)

    with pytest.raises(UsageError, match="closed"):
        batch.poll()


def test_what_a_file_brings_to_light_costs_that_file_alone(
    pipeline: FakePipeline, paths: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    batch = Batch(paths[:2], pipeline.needs())
    batch.poll(0)
    # Nothing was scored: concluding fails in a way that nobody foresaw.
    pipeline.tasks[0].on_end(pipeline.tasks[0])
    pipeline.end(pipeline.tasks[1])

    assert said(list(batch)) == ["internal error", "read 1.png"]
    assert "no result could be made" in caplog.text


@pytest.fixture
def local_aws() -> Iterator[LocalAws]:
    with LocalAws.in_thread() as aws:
        yield aws


def settings(aws: LocalAws, tmp_path: Path, *, keys: bool = True) -> Settings:
    return Settings(
        aws=AwsSettings(
            endpoint_url=aws.endpoint_url,
            access_key_id=aws.credentials.access_key_id if keys else None,
            secret_access_key=aws.credentials.secret_access_key if keys else None,
        ),
        data=DataSettings(s3_cache_dir=tmp_path / "cache"),
    )


def test_objects_and_files_mix_and_downloads_are_removed(
    pipeline: FakePipeline, paths: list[Path], tmp_path: Path, local_aws: LocalAws
) -> None:
    url = local_aws.put_object("media", "in/a.png", b"object")
    pipeline.at_once = True
    inputs: list[str | Path] = [
        url,
        paths[0],
        url.replace("a.png", "gone.png"),
        "https://example.com/a.png",
        url,
    ]

    with S3Files(settings(local_aws, tmp_path)) as files:
        with Batch(inputs, pipeline.needs(files)) as batch:
            results = list(batch)
        left = list((tmp_path / "cache").iterdir())

    assert [result["file_path"] for result in results] == [str(i) for i in inputs]
    told = said(results)
    assert told[0] == told[4] == "read a.png"
    assert told[1] == "read 0.png"
    assert told[2].startswith("S3 file not found: ")
    assert "https://example.com/a.png" in told[3]
    assert [result["is_s3_file"] for result in results] == [True, False, True, True, True]
    assert left == []


def test_without_credentials_every_object_fails_after_one_search(
    pipeline: FakePipeline,
    tmp_path: Path,
    local_aws: LocalAws,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    searches: list[None] = []
    with S3Files(settings(local_aws, tmp_path, keys=False)) as files:
        find = files._session.get_credentials

        def counted() -> object:
            searches.append(None)
            return find()

        monkeypatch.setattr(files._session, "get_credentials", counted)
        with Batch([f"s3://bucket/{n}.png" for n in range(40)], pipeline.needs(files)) as batch:
            results = list(batch)

    assert set(said(results)) == {"AWS credentials not found!"}
    assert len(results) == 40
    assert len(searches) == 1
    assert pipeline.tasks == []


def test_closing_stops_downloads(
    pipeline: FakePipeline, tmp_path: Path, local_aws: LocalAws
) -> None:
    url = local_aws.put_object("media", "a.png", b"object")
    asked, gate = threading.Event(), threading.Event()

    class SlowFiles(S3Files):
        def fetch(self, url: str, *, cancelled: object = None) -> object:  # type: ignore[override]
            asked.set()
            gate.wait(20)
            return super().fetch(url, cancelled=cancelled)  # type: ignore[arg-type]

    with SlowFiles(settings(local_aws, tmp_path)) as files:
        batch = Batch([url], pipeline.needs(files))
        batch.poll(0)
        assert asked.wait(20)
        closing = threading.Thread(target=batch.close)
        closing.start()
        gate.set()
        closing.join(20)
        assert not closing.is_alive()

    assert batch.finished() == []
    assert list((tmp_path / "cache").iterdir()) == []
