"""``predict`` and ``predict_many`` over S3 prefixes and wildcards."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_worker.api.files import S3Files
from detection_worker.api.predictor import Predictor
from detection_worker.api.prefixes import Unlisted, expanded
from detection_worker.core.batch.objects import S3Pattern, StoredObject
from detection_worker.settings import AwsSettings, DataSettings, Settings


@pytest.fixture
def predict(run_forked: Any, tiny_models: Path) -> Any:
    def run(aws: Any, *args: str) -> Any:
        return run_forked("predict", "--models-dir", str(tiny_models), *args, env=aws.environment)

    return run


def filled(aws: Any, tmp_path: Path) -> Any:
    """Put pictures into two folders, and objects that are none."""
    picture = sample_media.make_image(tmp_path / "a.png").read_bytes()
    for key in ("up/a b.png", "up/ünï+.png", "up/sub/c.PNG", "down/d.png"):
        aws.put(key, picture)
    aws.put("up/notes.txt", b"x")
    aws.put("up/sub/", b"")
    aws.put("up/zero.png", b"")
    return aws


@pytest.fixture
def uploads(local: Any, tmp_path: Path) -> Any:
    """Pictures and other objects on the strict local AWS."""
    return filled(local, tmp_path)


@pytest.fixture
def uploads_anywhere(aws: Any, tmp_path: Path) -> Any:
    """The same on each implementation."""
    return filled(aws, tmp_path)


def settings_of(aws: Any, tmp_path: Path, models: Path | None = None) -> Settings:
    return Settings(
        aws=AwsSettings(
            access_key_id=aws.environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=aws.environment["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=aws.environment["AWS_ENDPOINT_URL"],
        ),
        data=DataSettings(s3_cache_dir=tmp_path / "cache"),
        models_dir=models,
    )


@pytest.mark.slow
def test_a_prefix_stands_for_the_media_below_it(
    uploads_anywhere: Any, predict: Any, home: Path
) -> None:
    uploads = uploads_anywhere
    sample_media.make_image(home / "local.png")
    ended = predict(
        uploads, "local.png", f"s3://{uploads.bucket}/up/", "--format", "jsonl", "-o", "out.jsonl"
    )
    results = [json.loads(line) for line in (home / "out.jsonl").read_text().splitlines()]

    assert ended.code == 0, ended.text
    assert [r["file_path"] for r in results] == [
        "local.png",
        *(f"s3://{uploads.bucket}/up/{n}" for n in ("a b.png", "sub/c.PNG", "ünï+.png")),
    ]
    assert "Skipped 1: empty objects" in ended.err
    assert "Skipped 1: folders" in ended.err
    assert "Skipped 1: objects of other types" in ended.err
    assert "4 files: " in ended.out


@pytest.mark.slow
def test_a_wildcard_stays_in_its_folder_and_two_do_not(uploads: Any, predict: Any) -> None:
    def found(pattern: str) -> list[str]:
        ended = predict(uploads, f"s3://{uploads.bucket}/{pattern}", "--format", "jsonl")
        assert ended.code == 0, ended.text
        results = [json.loads(line) for line in ended.out.splitlines()]
        return [r["file_path"].partition(f"{uploads.bucket}/")[2] for r in results]

    assert found("up/*.png") == ["up/a b.png", "up/ünï+.png"]
    assert found("*/**.PNG") == ["up/sub/c.PNG"]


def test_a_prefix_without_media_is_an_error_before_models_load(
    uploads: Any, strict: LocalAws, run_cli: Any
) -> None:
    nothing = run_cli("predict", f"s3://{uploads.bucket}/none/", env=uploads.environment)
    strict.inject(Fault(operation="s3.ListObjectsV2", kind="access_denied"))
    denied = run_cli("predict", f"s3://{uploads.bucket}/up/", env=uploads.environment)

    assert (nothing.code, denied.code) == (2, 2)
    assert f"No media files in s3://{uploads.bucket}/none/" in nothing.err
    assert "Listing is denied" in denied.err


def test_evidence_is_for_one_image(uploads: Any, run_cli: Any) -> None:
    ended = run_cli(
        "predict", f"s3://{uploads.bucket}/down/", "--evidence", "e.png", env=uploads.environment
    )

    assert (ended.code, "one image at a time" in ended.err) == (2, True)


@pytest.mark.slow
def test_predict_many_takes_prefixes_among_others(
    uploads: Any, tiny_models: Path, tmp_path: Path
) -> None:
    asked = [f"s3://{uploads.bucket}/up/*.png", f"s3://{uploads.bucket}/none/", "gone.png"]
    with Predictor(settings_of(uploads, tmp_path, tiny_models), decoders=1) as predictor:
        results = list(predictor.predict_many(asked))

    assert [r["status"] for r in results] == ["finished", "finished", "failed", "failed"]
    assert [r["error"] and r["error"]["code"] for r in results[2:]] == ["s3_not_found", "bad_url"]
    assert results[2]["file_path"] == asked[1]


def test_a_listing_that_breaks_off_stops_no_other_input(
    uploads: Any, strict: LocalAws, tmp_path: Path
) -> None:
    strict.inject(Fault(operation="s3.ListObjectsV2", kind="access_denied", count=1))
    with S3Files(settings_of(uploads, tmp_path)) as files:
        prefix = f"s3://{uploads.bucket}/down/"
        first, second, third = list(expanded([prefix, prefix, "x"], lambda: files))

    assert isinstance(first, Unlisted)
    assert first.error.code == "s3_forbidden"
    assert (second, third) == (f"{prefix}d.png", "x")


def test_a_million_keys_need_no_memory() -> None:
    class Many(S3Files):
        def __init__(self) -> None: ...

        def objects(self, pattern: S3Pattern) -> Iterator[tuple[StoredObject, None]]:
            for number in range(100_000):
                key = f"{pattern.prefix}{number:07}.jpg"
                yield StoredObject(bucket=pattern.bucket, key=key, size_bytes=1), None

    many = Many()
    tracemalloc.start()
    try:
        count = sum(1 for _ in expanded(["s3://media/up/"], lambda: many))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 100_000
    assert peak < 1_000_000
