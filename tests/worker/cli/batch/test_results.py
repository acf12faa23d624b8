"""``results`` on two implementations of AWS: every format, counts, damaged objects."""

import csv
import io
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_contract.results import Opinion, encode_result, failed_result, finished_result
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.cli.predict.results_file import CSV_COLUMNS

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DECLARED = {
    "declares": "ai_generated",
    "signed": True,
    "generator": "=Model",
    "camera": None,
    "software": None,
    "c2pa": {"state": "valid", "issuer": None, "claim_generator": None, "problem": None},
    "evidence": [],
}


def finished(number: int, *, score: float) -> bytes:
    fake = score >= 0.5
    url = f"s3://media/ünï {number}.jpg"
    return encode_result(
        finished_result(
            request_id=f"r{number}",
            sqs_to_ml_url=url,
            file_path=url,
            local_path="/tmp/x.jpg",
            file_type=MediaKind.IMAGE,
            opinion=Opinion(
                verdict="fake" if fake else "real",
                reason_code="above_threshold" if fake else "below_threshold",
                reason="because",
                label="FAKE" if fake else "REAL",
                score=score,
                raw_score=score,
                confidence=max(score, 1 - score),
                margin=0.1,
            ),
            threshold=0.5,
            is_s3_file=True,
            queue_url="https://sqs/q",
            s3_file_info=None,
            processed_at=NOW,
            original_message={"sqs_to_ml_url": url},
            metadata=None,
            model={"name": "m", "version": "1", "grade": "demo"},
            timings_ms={"total": 1.0},
            segments=[],
            media={"width": 4, "height": 3, "duration_s": None, "sha256": "00"},
            provenance=DECLARED if fake else None,
        )
    )


def failed(number: int, code: ErrorCode, *, file_path: str | None = None) -> bytes:
    return encode_result(
        failed_result(
            request_id=f"r{number}",
            processed_at=NOW,
            code=code,
            message="=damaged",
            file_path=file_path,
        )
    )


@pytest.fixture
def stored(aws: Any) -> Any:
    """Three finished and three failed results, and objects that are none."""
    day = "results/2026/01/31"
    aws.put(f"{day}/r0.json", finished(0, score=0.9))
    aws.put(f"{day}/r1.json", finished(1, score=0.2))
    aws.put(f"{day}/r2.json", finished(2, score=0.3))
    aws.put(f"{day}/r3.json", failed(3, ErrorCode.UNDECODABLE, file_path="s3://media/3.jpg"))
    aws.put(f"{day}/r4.json", failed(4, ErrorCode.UNDECODABLE, file_path="s3://media/4.jpg"))
    aws.put(f"{day}/r 5+ü.json", failed(5, ErrorCode.BAD_JSON))
    aws.put(f"{day}/readme.txt", b"no result")
    aws.put("elsewhere/r9.json", finished(9, score=0.9))
    return aws


def results(run_on: Any, aws: Any, *args: str) -> Any:
    return run_on(aws, "results", f"s3://{aws.bucket}/results/", *args)


def test_a_table_ends_with_counts(stored: Any, run_on: Any) -> None:
    ended = results(run_on, stored)

    assert ended.code == 0, ended.text
    lines = ended.out.splitlines()
    assert lines[0].split() == ["Verdict", "P(fake)", "Type", "File"]
    assert "fake             0.9000  image  s3://media/ünï 0.jpg" in lines
    assert "failed                -  -      r5" in lines  # names no file: its request id
    assert lines[-2] == "6 results read: 3 failed, 2 real, 1 fake"
    assert lines[-1] == "Errors: 2 undecodable, 1 bad_json"


def test_json_lines_are_the_envelopes(stored: Any, run_on: Any) -> None:
    ended = results(run_on, stored, "--format", "jsonl")
    found = [json.loads(line) for line in ended.out.splitlines()]

    assert sorted(r["request_id"] for r in found) == [f"r{n}" for n in range(6)]
    assert found[1] == json.loads(finished(0, score=0.9))
    assert "6 results read" in ended.err


def test_csv_has_the_columns_of_predict(stored: Any, run_on: Any, home: Path) -> None:
    ended = results(run_on, stored, "-o", "out.csv")
    rows = list(csv.DictReader(io.StringIO((home / "out.csv").read_text())))

    assert ended.code == 0, ended.text
    assert "Results saved to out.csv" in ended.out
    assert tuple(rows[0]) == CSV_COLUMNS
    assert {r["request_id"]: r["verdict"] or r["error_code"] for r in rows} == {
        "r0": "fake", "r1": "real", "r2": "real",
        "r3": "undecodable", "r4": "undecodable", "r5": "bad_json",
    }  # fmt: skip
    assert {r["error"] for r in rows} == {"", "'=damaged"}
    declared = ("declares", "declared_signed", "generator", "c2pa")
    assert {r["request_id"]: tuple(r[c] for c in declared) for r in rows[1:3]} == {
        "r0": ("ai_generated", "True", "'=Model", "valid"),
        "r1": ("", "", "", ""),
    }


def test_parquet_has_typed_columns(stored: Any, run_on: Any, home: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="there is no pyarrow")
    ended = results(run_on, stored, "-o", "out.parquet")
    table = pq.read_table(home / "out.parquet")
    rows = {row["request_id"]: row for row in table.to_pylist()}

    assert ended.code == 0, ended.text
    assert tuple(table.column_names) == CSV_COLUMNS
    assert str(table.schema.field("prediction_score").type) == "double"
    assert str(table.schema.field("processed_at").type) == "timestamp[ms, tz=UTC]"
    assert (rows["r0"]["prediction_score"], rows["r0"]["width"]) == (0.9, 4)
    assert rows["r0"]["processed_at"] == NOW
    assert (rows["r0"]["declared_signed"], rows["r1"]["declared_signed"]) == (True, None)
    assert (rows["r0"]["generator"], rows["r0"]["c2pa"]) == ("=Model", "valid")
    assert rows["r3"]["error_code"] == "undecodable"
    assert rows["r5"]["prediction_score"] is None
    assert [p.name for p in home.iterdir()] == ["out.parquet"]


def test_without_pyarrow_the_extra_is_named(
    clean_environment: dict[str, str], home: Path, local: Any
) -> None:
    code = (
        "import sys\nsys.modules['pyarrow'] = None\n"
        "from detection_worker.__main__ import main\nsys.exit(main())"
    )
    command = [sys.executable, "-c", code, "results", f"s3://{local.bucket}/", "-o", "x.parquet"]
    done = subprocess.run(
        command, env={**clean_environment, **local.environment},
        cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "pip install 'detection-queue[parquet]'" in done.stderr
    assert list(home.iterdir()) == []


def test_filters_choose_what_is_shown_and_count_everything(stored: Any, run_on: Any) -> None:
    def shown(*args: str) -> set[str]:
        ended = results(run_on, stored, "--format", "jsonl", *args)
        assert "6 results read" in ended.err
        return {json.loads(line)["request_id"] for line in ended.out.splitlines()}

    assert shown("--verdict", "fake") == {"r0"}
    assert shown("--verdict", "fake", "--verdict", "failed") == {"r0", "r3", "r4", "r5"}
    assert shown("--errors") == {"r3", "r4", "r5"}
    assert shown("--verdict", "not-applicable") == set()


def test_a_wildcard_reads_keys_with_any_end(local: Any, run_on: Any) -> None:
    local.put("results/r0", finished(0, score=0.9))
    local.put("results/sub/r1.result", finished(1, score=0.9))
    local.put("results/r2.json", finished(2, score=0.9))

    def shown(pattern: str) -> list[str]:
        ended = run_on(local, "results", f"s3://{local.bucket}/{pattern}", "--format", "jsonl")
        return [json.loads(line)["request_id"] for line in ended.out.splitlines()]

    assert shown("results/") == ["r2"]
    assert shown("results/**") == ["r0", "r2", "r1"]
    assert shown("results/*") == ["r0", "r2"]


def test_times_are_those_of_the_storing(aws: Any, run_on: Any) -> None:
    aws.put("results/r0.json", finished(0, score=0.9))
    time.sleep(2.1)  # S3 counts seconds
    aws.put("results/r1.json", finished(1, score=0.9))
    at = aws.s3.head_object(Bucket=aws.bucket, Key="results/r1.json")["LastModified"]

    def shown(*args: str) -> list[str]:
        ended = results(run_on, aws, "--format", "jsonl", *args)
        return [json.loads(line)["request_id"] for line in ended.out.splitlines()]

    assert shown("--since", at.isoformat()) == ["r1"]
    assert shown("--until", at.isoformat()) == ["r0"]
    later = (at + timedelta(seconds=1)).isoformat()
    assert shown("--since", at.isoformat(), "--until", later) == ["r1"]


def test_damaged_objects_are_named_and_stop_nothing(
    local: Any, strict: LocalAws, run_on: Any
) -> None:
    whole = finished(0, score=0.9)
    local.put("results/a.json", whole)
    local.put("results/half.json", whole[: len(whole) // 2])
    local.put("results/latin.json", whole.replace("ü".encode(), b"\xfc"))
    local.put("results/list.json", b"[]")
    local.put("results/a-message.json", b'{"sqs_to_ml_url": "s3://b/k"}')
    local.put("results/denied.json", whole)
    local.put("results/zero.json", b"")
    local.put("results/nan.json", whole.replace(b"0.9", b"NaN"))
    local.put("results/huge.json", whole.replace(b"0.9", b"1e999"))
    local.put("results/long.json", whole.replace(b"0.9", b"1" + b"0" * 400))
    local.put("results/half-pair.json", whole.replace("ü".encode(), b"\\ud800"))
    other = {**json.loads(whole), "model": {"id": 7}}
    local.put("results/other-model.json", json.dumps(other).encode())
    local.put("results/z.json", whole)
    path = f"/{local.bucket}/results/denied.json"
    strict.inject(Fault(operation="s3.GetObject", kind="access_denied", path=path))
    ended = results(run_on, local, "--format", "jsonl")

    assert ended.code == 1
    assert len(ended.out.splitlines()) == 2
    assert "2 results read: 2 fake" in ended.err
    assert "No results: 11 objects" in ended.err
    assert "half.json: it is not JSON" in ended.err
    assert "denied.json: Failed to download S3 file: Access Denied" in ended.err
    assert "a-message.json: it is JSON, but no result" in ended.err
    table = results(run_on, local)
    assert "2 results read: 2 fake" in table.out, table.text
    assert "No results: 11 objects" in table.err


def test_results_of_an_older_version_are_read(local: Any, run_on: Any) -> None:
    old = json.loads(finished(0, score=0.9))
    for name in ("verdict", "verdict_reason", "margin", "raw_score", "tracks"):
        del old[name]
    local.put("results/a.json", json.dumps(old).encode())
    ended = results(run_on, local, "--format", "csv")

    assert ended.code == 0, ended.text
    assert "1 result read: 1 fake" in ended.err


def test_a_wrong_use_is_told(local: Any, run_on: Any, home: Path) -> None:
    for args, text in (
        (["--format", "parquet"], "Parquet is written to a file"),
        (["-o", "out.txt"], "A table is for the terminal"),
        (["-o", "no/out.csv"], "Cannot write no/out.csv"),
    ):
        ended = results(run_on, local, *args)
        assert (ended.code, text in ended.err) == (2, True), ended.text
    nowhere = run_on(local, "results", "s3://no-such-bucket-here/")
    assert (nowhere.code, "S3 bucket does not exist" in nowhere.err) == (2, True)
    empty = results(run_on, local)
    assert (empty.code, empty.out) == (0, "0 results read: none\n")
    assert list(home.iterdir()) == []
