"""``submit`` on two implementations of AWS: keys, filters, kills, faults."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detection_contract.messages import parse_body
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws


def submit(run_on: Any, aws: Any, *args: str, stdin: str = "") -> Any:
    return run_on(aws, "submit", *args, "--queue-url", aws.queue_url, stdin=stdin)


def keys(bodies: list[dict[str, Any]]) -> set[str]:
    return {parse_body(json.dumps(b)).requests[0].location.key for b in bodies}


def test_a_message_is_sent_for_every_media_object(aws: Any, run_on: Any) -> None:
    media = ["up/a b.mp4", "up/c+d.jpg", "up/ünï/日本.png", "up/100%.JPG", "up/e%20f.wav"]
    for key in [*media, "up/notes.txt", "other/x.mp4"]:
        aws.put(key)
    aws.put("up/folder/", b"")
    aws.put("up/zero.mp4", b"")

    ended = submit(
        run_on, aws, f"s3://{aws.bucket}/up/", "--yes",
        "--threshold", "0.7", "--callback-url", "https://x.example/y",
    )  # fmt: skip
    bodies = aws.bodies(aws.queue_url)

    assert ended.code == 0, ended.text
    assert keys(bodies) == set(media)
    assert {b["callback_url"] for b in bodies} == {"https://x.example/y"}
    assert {b["confidence_threshold"] for b in bodies} == {0.7}
    assert "5 messages for" in ended.out
    assert "1 SQS request to send them, under $0.01" in ended.out
    assert "Skipped 1: folders" in ended.out
    assert "Skipped 1: empty objects" in ended.out
    assert "Skipped 1: objects of other types" in ended.out
    assert "Sent 5 messages" in ended.out


def test_a_second_submission_has_the_same_request_ids(aws: Any, run_on: Any) -> None:
    for number in range(12):
        aws.put(f"up/{number}.jpg", str(number).encode())
    ids = []
    for _ in range(2):
        assert submit(run_on, aws, f"s3://{aws.bucket}/up/", "--yes").code == 0
        ids.append({b["request_id"] for b in aws.bodies(aws.queue_url)})
    aws.put("up/3.jpg", b"overwritten")
    submit(run_on, aws, f"s3://{aws.bucket}/up/", "--yes")
    changed = {b["request_id"] for b in aws.bodies(aws.queue_url)}

    assert ids[0] == ids[1]
    assert len(ids[0]) == 12
    assert len(changed - ids[0]) == 1


def test_filters_choose(aws: Any, run_on: Any) -> None:
    for key in ("up/a.mp4", "up/sub/b.mp4", "up/sub/c.jpg", "up/raw"):
        aws.put(key)
    prefix = f"s3://{aws.bucket}/up/"
    for options, chosen in (
        (["--include", "*.mp4"], {"up/a.mp4", "up/sub/b.mp4"}),
        (["--include", "*.mp4", "--exclude", "sub/*"], {"up/a.mp4"}),
        (["--any-type", "--exclude", "*.*"], {"up/raw"}),
        (["--since", "2001-01-01", "--include", "a.*"], {"up/a.mp4"}),
        (["--since", "2999-01-01T00:00:00Z"], set()),
    ):
        ended = submit(run_on, aws, prefix, "--yes", *options)
        assert ended.code == 0, ended.text
        assert keys(aws.bodies(aws.queue_url)) == chosen, options
    assert "0 messages for" in ended.out
    submit(run_on, aws, f"s3://{aws.bucket}/up/*.mp4", "--yes")
    assert keys(aws.bodies(aws.queue_url)) == {"up/a.mp4"}


def test_a_dry_run_and_a_no_send_nothing(aws: Any, run_on: Any, home: Path) -> None:
    aws.put("up/a.mp4")
    dry = submit(run_on, aws, f"s3://{aws.bucket}/up/", "--dry-run")
    no = submit(run_on, aws, f"s3://{aws.bucket}/up/", stdin="n\n")

    assert (dry.code, no.code) == (0, 1)
    assert '"sqs_to_ml_url": "s3://' in dry.out
    assert "Nothing was sent." in no.out
    assert aws.count(aws.queue_url) == 0
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_pages_and_the_state_file(aws: Any, run_on: Any, home: Path) -> None:
    """More than a page of a listing; a finished state file keeps a rerun from sending again."""
    for number in range(1003):
        aws.put(f"up/{number:04}.jpg")
    prefix = f"s3://{aws.bucket}/up/"
    ended = submit(run_on, aws, prefix, "--yes", "--state", "state")
    again = submit(run_on, aws, prefix, "--yes", "--state", "state")
    other = submit(run_on, aws, prefix, "--yes", "--state", "state", "--threshold", "0.9")

    assert (ended.code, again.code, other.code) == (0, 0, 2)
    assert "All was sent by an earlier run: 1003 messages" in again.out
    assert "belongs to another submission" in other.err
    assert aws.count(aws.queue_url) == 1003
    assert (home / "state").exists()


@pytest.mark.slow
def test_kills_send_at_most_the_last_batch_again(
    local: Any, clean_environment: dict[str, str], home: Path
) -> None:
    """Ten SIGKILLs in the middle: nothing is lost, at most a batch for each kill is sent twice."""
    total, kills = 400, 10
    for number in range(total):
        local.put(f"up/{number:04}.jpg", str(number).encode())
    command = [
        *(sys.executable, "-m", "detection_worker", "submit", f"s3://{local.bucket}/up/"),
        *("--queue-url", local.queue_url, "--yes", "--rate", "60"),
    ]
    environment = {**clean_environment, **local.environment}
    killed = 0
    for _ in range(100):
        before = local.count(local.queue_url)
        with subprocess.Popen(
            command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            while killed < kills and process.poll() is None:
                if local.count(local.queue_url) > before + 10 + 7 * killed % 30:
                    process.send_signal(signal.SIGKILL)
                    killed += 1
                    break
                time.sleep(0.01)
            output = process.communicate()[0].decode()
        if process.returncode == 0:
            break
    sent = Counter(b["request_id"] for b in local.bodies(local.queue_url))

    assert killed == kills
    assert process.returncode == 0, output
    assert "were sent by an earlier run; it goes on from there" in output
    assert len(sent) == total
    assert sum(sent.values()) - total <= 10 * kills
    assert max(sent.values()) <= 1 + kills
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_faults_of_sqs_cost_no_message(local: Any, strict: LocalAws, run_on: Any) -> None:
    for number in range(60):
        local.put(f"up/{number:02}.jpg", str(number).encode())
    for kind in ("throttle", "error", "reset"):
        strict.inject(Fault(operation="sqs.SendMessageBatch", kind=kind, count=4))
    ended = submit(run_on, local, f"s3://{local.bucket}/up/", "--yes")

    assert ended.code == 0, ended.text
    assert len({b["request_id"] for b in local.bodies(local.queue_url)}) == 60


def test_a_lost_answer_repeats_the_same_ids(local: Any, strict: LocalAws, run_on: Any) -> None:
    for number in range(20):
        local.put(f"up/{number:02}.jpg", str(number).encode())
    strict.inject(Fault(operation="sqs.SendMessageBatch", kind="drop_response", count=1))
    assert submit(run_on, local, f"s3://{local.bucket}/up/", "--yes").code == 0
    sent = Counter(b["request_id"] for b in local.bodies(local.queue_url))

    assert len(sent) == 20
    assert sorted(sent.values()) == [1] * 10 + [2] * 10


def test_a_denied_queue_keeps_the_state(local: Any, strict: LocalAws, run_on: Any) -> None:
    for number in range(20):
        local.put(f"up/{number:02}.jpg", str(number).encode())
    prefix = f"s3://{local.bucket}/up/"
    strict.inject(Fault(operation="sqs.SendMessageBatch", kind="access_denied"))
    ended = submit(run_on, local, prefix, "--yes", "--state", "state")
    strict.clear_faults()
    again = submit(run_on, local, prefix, "--yes", "--state", "state")

    assert ended.code == 2
    assert "Access to the SQS queue is denied" in ended.err
    assert "0 of 20 messages were sent; the same command goes on" in ended.err
    assert again.code == 0
    assert local.count(local.queue_url) == 20


def test_a_listing_that_is_denied_says_what_is_missing(
    local: Any, strict: LocalAws, run_on: Any
) -> None:
    strict.inject(Fault(operation="s3.ListObjectsV2", kind="access_denied"))
    ended = submit(run_on, local, f"s3://{local.bucket}/up/", "--yes")

    assert ended.code == 2
    assert "Listing is denied" in ended.err
    assert "s3:ListBucket" in ended.err


def test_a_wrong_clock_is_told_from_wrong_keys(local: Any, strict: LocalAws, run_on: Any) -> None:
    code = "RequestTimeTooSkewed"
    strict.inject(Fault(operation="s3.ListObjectsV2", kind="error", code=code, status=403))
    ended = submit(run_on, local, f"s3://{local.bucket}/up/", "--yes")

    assert ended.code == 2
    assert f"AWS credentials do not work: {code}\nThe clock of this machine" in ended.err


def test_wrong_places_are_told_before_anything_is_sent(aws: Any, run_on: Any) -> None:
    bucket = submit(run_on, aws, "s3://no-such-bucket-here/up/", "--yes")
    queue = run_on(
        aws, "submit", f"s3://{aws.bucket}/", "--queue-url", f"{aws.queue_url}x", "--yes"
    )
    nothing = run_on(aws, "submit", "--queue-url", aws.queue_url)
    no_url = submit(run_on, aws, "https://example.com/up/")

    assert (bucket.code, queue.code, nothing.code, no_url.code) == (2, 2, 2, 2)
    assert "S3 bucket does not exist: no-such-bucket-here" in bucket.err
    assert "SQS queue does not exist" in queue.err
    assert "Name an S3 prefix or a --manifest." in nothing.err
    assert "An S3 prefix looks like s3://BUCKET/PREFIX/." in no_url.err


def test_odd_keys_of_a_real_listing(local: Any, run_on: Any) -> None:
    """Keys that XML cannot hold come URL-encoded; those that no message can name are counted."""
    for key in ("up/a\nb.mp4", "up/a?versionId=1.mp4", "up/a#b?c&d.mp4", "up/ .mp4"):
        local.put(key)
    ended = submit(run_on, local, f"s3://{local.bucket}/up/", "--yes")

    assert ended.code == 0, ended.text
    assert keys(local.bodies(local.queue_url)) == {"up/a#b?c&d.mp4", "up/ .mp4"}
    assert "Skipped 2: keys that no message can name" in ended.out


def test_a_manifest_in_s3_within_a_prefix(aws: Any, run_on: Any) -> None:
    rows = "key,version_id\nup/a.mp4,v1\nup/b.mp4,\ndown/c.mp4,\nup/,\nup/d.txt,\n,\n"
    aws.put("lists/m.csv.gz", gzip.compress(rows.encode()))
    ended = submit(
        run_on, aws, f"s3://{aws.bucket}/up/", "--yes",
        "--manifest", f"s3://{aws.bucket}/lists/m.csv.gz",
    )  # fmt: skip
    urls = {b["sqs_to_ml_url"] for b in aws.bodies(aws.queue_url)}

    assert ended.code == 1  # a row names no object
    assert urls == {f"s3://{aws.bucket}/up/a.mp4?versionId=v1", f"s3://{aws.bucket}/up/b.mp4"}
    assert "Unreadable 1: rows of the manifest" in ended.err
    assert "line 7: it names no key" in ended.err


def test_an_inventory_in_s3(aws: Any, run_on: Any) -> None:
    part = gzip.compress(f'"{aws.bucket}","up/a+b%2Bc.mp4","5"\n'.encode())
    aws.put("reports/data/1.csv.gz", part)
    document = {
        "destinationBucket": f"arn:aws:s3:::{aws.bucket}",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "reports/data/1.csv.gz", "size": len(part)}],
    }
    aws.put("reports/manifest.json", json.dumps(document).encode())
    url = f"s3://{aws.bucket}/reports/manifest.json"
    ended = submit(run_on, aws, "--yes", "--manifest", url)

    assert ended.code == 0, ended.text
    assert keys(aws.bodies(aws.queue_url)) == {"up/a b+c.mp4"}


def test_since_needs_times_in_the_manifest(local: Any, run_on: Any, home: Path) -> None:
    (home / "m.csv").write_text("media,a.mp4\n")
    ended = submit(run_on, local, "--yes", "--manifest", "m.csv", "--since", "2026-01-01")

    assert ended.code == 2
    assert "--since cannot be used with this manifest" in ended.err


def test_a_fifo_queue_gets_groups_and_drops_duplicates(aws: Any, run_on: Any) -> None:
    url = aws.create_queue(f"{aws.bucket}.fifo", FifoQueue="true")
    for number in range(12):
        aws.put(f"up/{number:02}.jpg", str(number).encode())
    for _ in range(2):
        ended = run_on(aws, "submit", f"s3://{aws.bucket}/", "--queue-url", url, "--yes")
        assert ended.code == 0, ended.text
    messages = aws.drain(url)

    assert len(messages) == 12
    assert len({m["Attributes"]["MessageGroupId"] for m in messages}) == 12


def test_the_rate_is_kept(local: Any, run_on: Any) -> None:
    for number in range(40):
        local.put(f"up/{number:02}.jpg", str(number).encode())
    before = time.monotonic()
    ended = submit(run_on, local, f"s3://{local.bucket}/up/", "--yes", "--rate", "20")

    assert ended.code == 0
    assert time.monotonic() - before >= 1.5  # the first ten go at once


def test_a_terminal_shows_progress_and_ctrl_c_goes_on_later(
    local: Any, at_terminal: Any, run_on: Any
) -> None:
    for number in range(60):
        local.put(f"up/{number:02}.jpg", str(number).encode())
    args = ("submit", f"s3://{local.bucket}/up/", "--queue-url", local.queue_url)
    terminal = at_terminal(*args, "--rate", "20", env=local.environment)
    terminal.answer("Send them? [Y/n]", "y")
    terminal.expect(" of 60 messages, ")
    terminal.expect(" left")
    terminal.interrupt()

    assert terminal.end() == 130
    assert "of 60 messages were sent; the same command goes on" in terminal.seen
    again = submit(run_on, local, f"s3://{local.bucket}/up/", "--yes")
    assert "messages were sent by an earlier run" in again.out
    assert len({b["request_id"] for b in local.bodies(local.queue_url)}) == 60


def test_it_loads_no_torch(clean_environment: dict[str, str], home: Path) -> None:
    code = (
        "import sys\nfrom detection_worker.__main__ import main\n"
        "import detection_worker.cli.batch.submitting, detection_worker.cli.batch.reading, "
        "detection_worker.cli.batch.dead\n"
        "print([m for m in ('torch', 'numpy', 'av', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **clean_environment},
        cwd=home, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == "[]\n"
