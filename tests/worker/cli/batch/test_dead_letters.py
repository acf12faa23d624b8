"""``dead-letters`` on two implementations of AWS: reading, redrives, kills, purges."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.user_messages import counted
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.core.outbox.fate import Course
from detection_worker.outbox.base import PendingCallback
from detection_worker.outbox.entry import encode, entry_of


def dead(run_on: Any, aws: Any, *args: str, url: str | None = None, stdin: str = "") -> Any:
    return run_on(aws, "dead-letters", *args, "--queue-url", url or aws.queue_url, stdin=stdin)


def attributes(message: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = message.get("MessageAttributes", {})
    return {n: v.get("StringValue", v.get("BinaryValue")) for n, v in found.items()}


def test_reasons_are_grouped_and_nothing_is_used_up(aws: Any, run_on: Any) -> None:
    for number in range(25):
        aws.bury(number, "undecodable" if number < 15 else "s3_not_found")
    silent = aws.bury(99, None)

    for _ in range(2):  # the second finds every message visible again
        ended = dead(run_on, aws, "list", "--json")
        assert ended.code == 0, ended.text
        groups = {g["code"]: g for g in json.loads(ended.out)}
        assert {c: g["count"] for c, g in groups.items()} == {
            "undecodable": 15, "s3_not_found": 10, "none": 1,
        }  # fmt: skip
    text = dead(run_on, aws, "list", url=aws.dlq_url)

    assert groups["undecodable"]["oldest"]["about"] == "s3://media/0.jpg"
    assert groups["none"]["oldest"]["id"] == silent
    assert "undecodable                 15" in text.out
    assert "reason 0" in text.out
    assert "26 read; each reading counts as a delivery" in text.out
    assert aws.count(aws.dlq_url) == 26


def test_messages_of_one_code_are_listed(aws: Any, run_on: Any) -> None:
    aws.bury(1, "undecodable")
    wanted = aws.bury(2, None)
    ended = dead(run_on, aws, "list", "--code", "none")

    assert wanted in ended.out
    assert "s3://media/1.jpg" not in ended.out
    assert "1 read" in ended.out


def test_a_message_is_shown_without_secrets(aws: Any, run_on: Any) -> None:
    aws.bury(
        3,
        "callback_rejected",
        sqs_to_ml_url="https://media.s3.us-east-1.amazonaws.com/a.jpg?X-Amz-Signature=SECRET1",
        callback_url="https://hooks.example/T0/SECRET2",
        metadata={"api_key": "SECRET3", "nested": [{"Password": "SECRET4"}], "n": 1},
    )
    ids = {
        "dlq": json.loads(dead(run_on, aws, "list", "--code", "callback_rejected", "--json").out)[
            0
        ]["id"],
        "original": "original-3",
    }
    for wanted in ids.values():
        ended = dead(run_on, aws, "show", wanted)
        assert ended.code == 0, ended.text
        assert "reason 3" in ended.out
        assert '"callback_url": "https://hooks.example/' in ended.out
        assert "SECRET" not in ended.text
    missing = dead(run_on, aws, "show", "nobody")
    assert (missing.code, "No dead letter has the id nobody" in missing.err) == (1, True)
    assert aws.count(aws.dlq_url) == 1


def test_an_entry_of_an_outbox_is_shown_without_secrets(local: Any, run_on: Any) -> None:
    result = {
        "request_id": "r1",
        "original_message": {"callback_url": "https://h.example/SECRET1"},
    }
    callback = PendingCallback(
        url="https://hooks.example/T0/SECRET2?key=SECRET3",
        body=json.dumps(result).encode(),
        webhook_id="msg_m1_0",
        request_id="r1",
        message_id="m1",
        result_url=None,
        code=ErrorCode.CALLBACK_UNREACHABLE,
        reason="no answer",
    )
    course = Course(attempts=9, first_tried_s=None)
    body = encode(entry_of(callback, course=course, not_before_s=0.0))
    local.sqs.send_message(QueueUrl=local.dlq_url, MessageBody=body)
    [listed] = json.loads(dead(run_on, local, "list", "--code", "none", "--json").out)
    ended = dead(run_on, local, "show", listed["id"])

    assert listed["about"] == "callback of r1 to https://hooks.example/…"
    assert '"webhook_id": "msg_m1_0"' in ended.out
    assert "https://h.example/" in ended.out
    assert "SECRET" not in ended.text


def test_a_filter_redrives_its_messages_alone(aws: Any, run_on: Any) -> None:
    for number in range(23):
        aws.bury(number, "s3_forbidden" if number % 2 else "undecodable")
    aws.bury(99, None)
    ended = dead(run_on, aws, "redrive", "--code", "s3_forbidden", "--yes")
    moved = aws.drain(aws.queue_url)
    left = aws.drain(aws.dlq_url)

    assert ended.code == 0, ended.text
    assert "Redrove 11 messages to" in ended.out
    assert sorted(json.loads(m["Body"])["sqs_to_ml_url"] for m in moved) == sorted(
        f"s3://media/{n}.jpg" for n in range(1, 23, 2)
    )
    assert all(attributes(m) == {"tenant": "blue", "raw": b"\x00\xff"} for m in moved)
    if not aws.is_moto:  # whose SendMessageBatch drops system attributes
        assert {m["Attributes"]["AWSTraceHeader"][:7] for m in moved} == {"Root=1-"}
    assert len(left) == 13


def test_messages_that_sqs_moved_have_no_code(aws: Any, run_on: Any) -> None:
    aws.bury(1, "undecodable")
    aws.bury(2, None)
    ended = dead(run_on, aws, "redrive", "--code", "none", "--yes")

    assert ended.code == 0, ended.text
    assert [b["sqs_to_ml_url"] for b in aws.bodies(aws.queue_url)] == ["s3://media/2.jpg"]
    assert aws.count(aws.dlq_url) == 1


def test_a_list_that_was_cut_says_so(local: Any, run_on: Any) -> None:
    for number in range(12):
        local.bury(number, "undecodable")
    cut, whole = (dead(run_on, local, "list", "--limit", n) for n in ("11", "13"))

    assert "There may be more: only 11 were looked at" in cut.out
    assert "There may be more" not in whole.out


def test_a_limit_and_a_question(aws: Any, run_on: Any) -> None:
    for number in range(5):
        aws.bury(number, "undecodable")
    no = dead(run_on, aws, "redrive", "--limit", "2", stdin="n\n")
    yes = dead(run_on, aws, "redrive", "--limit", "2", stdin="y\n")

    assert (no.code, yes.code) == (1, 0)
    assert "Redrive at most 2 dead letters to" in no.out
    assert (aws.count(aws.queue_url), aws.count(aws.dlq_url)) == (2, 3)


def test_the_dead_letter_queue_itself_leads_back_to_its_queue(aws: Any, run_on: Any) -> None:
    aws.bury(1, "undecodable")
    ended = dead(run_on, aws, "redrive", "--one-by-one", "--yes", url=aws.dlq_url)

    assert ended.code == 0, ended.text
    assert (aws.count(aws.queue_url), aws.count(aws.dlq_url)) == (1, 0)


def test_a_dead_letter_queue_of_several_queues_needs_a_name(aws: Any, run_on: Any) -> None:
    policy = {"deadLetterTargetArn": aws.arn(aws.dlq_url), "maxReceiveCount": "5"}
    other = aws.create_queue(f"{aws.bucket}-other", RedrivePolicy=json.dumps(policy))
    aws.bury(1, "undecodable")
    unclear = dead(run_on, aws, "redrive", "--one-by-one", "--yes", url=aws.dlq_url)
    clear = dead(run_on, aws, "redrive", "--one-by-one", "--yes", "--to", other, url=aws.dlq_url)

    assert unclear.code == 2
    assert "holds dead letters of several queues\nName one with --to URL." in unclear.err
    assert (clear.code, aws.count(other)) == (0, 1)


def test_a_queue_at_work_is_not_read(aws: Any, run_on: Any) -> None:
    url = aws.create_queue(f"{aws.bucket}-alone")
    aws.sqs.send_message(QueueUrl=url, MessageBody="{}")
    ended = dead(run_on, aws, "list", url=url)
    named = dead(run_on, aws, "list", "--dead-letter-queue-url", aws.dlq_url, url=url)
    itself = dead(run_on, aws, "list", "--dead-letter-queue-url", url, url=url)

    assert ended.code == 2
    assert f"No dead-letter queue: {url} has no redrive policy" in ended.err
    assert (named.code, itself.code) == (0, 0)
    assert "None was read" in named.out
    assert "1 read" in itself.out


def test_a_fifo_redrive_keeps_groups(aws: Any, run_on: Any) -> None:
    dlq = aws.create_queue(f"{aws.bucket}-dlq.fifo", FifoQueue="true")
    policy = {"deadLetterTargetArn": aws.arn(dlq), "maxReceiveCount": "5"}
    url = aws.create_queue(
        f"{aws.bucket}.fifo", FifoQueue="true", RedrivePolicy=json.dumps(policy)
    )
    for number in range(4):
        aws.sqs.send_message(
            QueueUrl=dlq, MessageBody=str(number),
            MessageGroupId=f"g{number % 2}", MessageDeduplicationId=str(number),
        )  # fmt: skip
    ended = dead(run_on, aws, "redrive", "--one-by-one", "--yes", url=url)
    moved = aws.drain(url)

    assert ended.code == 0, ended.text
    assert sorted((m["Body"], m["Attributes"]["MessageGroupId"]) for m in moved) == [
        ("0", "g0"), ("1", "g1"), ("2", "g0"), ("3", "g1"),
    ]  # fmt: skip


def test_purges_by_code_and_of_all(aws: Any, run_on: Any) -> None:
    for number in range(14):
        aws.bury(number, "undecodable" if number < 12 else "s3_not_found")
    no = dead(run_on, aws, "purge", stdin="\n")  # the default is no
    some = dead(run_on, aws, "purge", "--code", "undecodable", "--yes")
    left = aws.count(aws.dlq_url)
    all_of_them = dead(run_on, aws, "purge", "--yes")

    assert (no.code, some.code, all_of_them.code) == (1, 0, 0)
    assert "Nothing was changed." in no.out
    assert "Deleted 12 messages" in some.out
    assert (left, aws.count(aws.dlq_url)) == (2, 0)


def test_a_second_purge_within_a_minute_is_told(local: Any, run_on: Any) -> None:
    dead(run_on, local, "purge", "--yes")
    again = dead(run_on, local, "purge", "--yes")

    assert again.code == 2
    assert "purged less than 60 seconds ago\nTry again in a minute." in again.err


def test_a_full_redrive_is_sqs_own(local: Any, strict: LocalAws, run_on: Any) -> None:
    for number in range(12):
        local.bury(number, "undecodable" if number % 2 else None)
    ended = dead(run_on, local, "redrive", "--yes")
    rate = dead(run_on, local, "redrive", "--yes", "--rate", "100")

    assert ended.code == 0, ended.text
    assert "Completed: 12 of about 12 messages were moved to" in ended.out
    assert (local.count(local.queue_url), local.count(local.dlq_url)) == (12, 0)
    assert rate.code == 0
    assert strict.stats()["requests"]["sqs.StartMessageMoveTask"] >= 2


def test_ctrl_c_cancels_a_full_redrive(
    local: Any, strict: LocalAws, clean_environment: dict[str, str], home: Path
) -> None:
    total = 600  # for two minutes, at five a second
    strict.send(local.dlq_url, ["{}"] * total)
    command = [
        *(sys.executable, "-m", "detection_worker", "dead-letters", "redrive", "--yes"),
        *("--rate", "5", "--queue-url", local.queue_url),
    ]
    with subprocess.Popen(
        command, cwd=home, env={**clean_environment, **local.environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not local.count(local.queue_url):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    task = local.sqs.list_message_move_tasks(SourceArn=local.arn(local.dlq_url))["Results"][0]
    moved = local.count(local.queue_url)

    assert process.returncode == 130
    told = counted(moved, "message was", "messages were")
    assert f"Cancelled: {told} moved" in err
    assert task["Status"] == "CANCELLED"
    assert 0 < moved < total
    assert moved + local.count(local.dlq_url) == total


def test_one_task_at_a_time(local: Any, strict: LocalAws, run_on: Any) -> None:
    strict.send(local.dlq_url, ["{}"] * 600)
    local.sqs.start_message_move_task(
        SourceArn=local.arn(local.dlq_url),
        DestinationArn=local.arn(local.queue_url),
        MaxNumberOfMessagesPerSecond=1,
    )
    ended = dead(run_on, local, "redrive", "--yes")

    assert ended.code == 2
    assert "SQS does not start a move task" in ended.err
    assert "use --one-by-one" in ended.err


def test_a_target_that_does_not_exist_is_named(aws: Any, run_on: Any) -> None:
    aws.bury(1, "undecodable")
    ended = dead(run_on, aws, "redrive", "--to", f"{aws.queue_url}-gone", "--yes")

    assert ended.code == 2
    assert f"SQS queue does not exist: {aws.queue_url}-gone" in ended.err
    assert "move task" not in ended.err
    assert aws.count(aws.dlq_url) == 1


def test_reasons_are_listed_without_secrets(local: Any, run_on: Any) -> None:
    reason = "no answer from https://user:hunter2@host/?signature=abc123"
    code, text = ({"DataType": "String", "StringValue": v} for v in ("callback_rejected", reason))
    local.sqs.send_message(
        QueueUrl=local.dlq_url,
        MessageBody="{}",
        MessageAttributes={"DetectionErrorCode": code, "DetectionErrorReason": text},
    )
    ended = dead(run_on, local, "list")

    assert "no answer from https://" in ended.out
    assert "hunter2" not in ended.out
    assert "abc123" not in ended.out


@pytest.mark.slow
def test_kills_in_the_middle_of_a_redrive_lose_nothing(
    local: Any, strict: LocalAws, clean_environment: dict[str, str], home: Path
) -> None:
    """Eight SIGKILLs: at any moment each message is in one of the queues or in both."""
    total, kills = 120, 8
    for number in range(total):
        local.bury(number, "undecodable")
    command = [
        *(sys.executable, "-m", "detection_worker", "dead-letters", "redrive", "--yes"),
        *("--code", "undecodable", "--rate", "25", "--queue-url", local.queue_url),
    ]
    killed = 0
    while True:
        before = local.count(local.queue_url)
        with subprocess.Popen(
            command, cwd=home, env={**clean_environment, **local.environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            while killed < kills and process.poll() is None:
                if local.count(local.queue_url) > before:
                    process.send_signal(signal.SIGKILL)
                    killed += 1
                    break
                time.sleep(0.002)
            output = process.communicate()[0].decode()
        assert local.count(local.queue_url) + local.count(local.dlq_url) >= total
        if process.returncode == 0 and not local.count(local.dlq_url):
            break
        strict.advance(121)  # what a killed reader holds is hidden for two minutes
    urls = [b["sqs_to_ml_url"] for b in local.bodies(local.queue_url)]

    assert killed == kills, output
    assert set(urls) == {f"s3://media/{n}.jpg" for n in range(total)}
    assert len(urls) - total <= 10 * kills


def test_a_failing_delete_keeps_both_and_says_so(
    local: Any, strict: LocalAws, run_on: Any
) -> None:
    for number in range(3):
        local.bury(number, "undecodable")
    strict.inject(Fault(operation="sqs.DeleteMessageBatch", kind="access_denied"))
    ended = dead(run_on, local, "redrive", "--code", "undecodable", "--yes")

    assert ended.code == 2
    assert "Access to the SQS queue is denied" in ended.err
    assert (local.count(local.queue_url), local.count(local.dlq_url)) == (3, 3)


def test_what_fails_again_is_not_redriven_for_ever(local: Any, run_on: Any) -> None:
    """A consumer that dead-letters at once, as a worker does with a damaged file."""
    import threading

    from detection_worker.aws_session import make_session
    from detection_worker.settings import AwsSettings
    from detection_worker.sources.sqs import SqsSource

    aws = AwsSettings(
        access_key_id=local.environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=local.environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=local.environment["AWS_ENDPOINT_URL"],
    )
    source = SqsSource(make_session(aws), aws, local.queue_url, wait_time_s=1)
    stop = threading.Event()

    def fail() -> None:
        while not stop.is_set():
            for message in source.receive(max_messages=10, wait_s=0, visibility_s=30):
                source.dead_letter(
                    message, queue_url=local.dlq_url, code="undecodable", reason="again"
                )
                source.delete([(message.message_id, message.receipt_handle)])

    worker = threading.Thread(target=fail)
    worker.start()
    try:
        for number in range(30):
            local.bury(number, "undecodable")
        ended = dead(run_on, local, "redrive", "--code", "undecodable", "--yes")
        deadline = time.monotonic() + 30
        while local.count(local.queue_url) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        stop.set()
        worker.join()
        source.close()

    assert "Redrove 30 messages" in ended.out
    assert "failed again meanwhile and stay" in ended.err
    assert ended.code == 1
    assert local.count(local.dlq_url) == 30


def test_a_wrong_use_is_told(local: Any, run_on: Any) -> None:
    for args, text in (
        (["list", "--code", "undecodeable"], "Did you mean undecodable?"),
        (["show"], "show needs the id of a message"),
        (["list", "some-id"], "An id is for show, not for list"),
        (["purge", "--rate", "5"], "--rate is for redrive, not for purge"),
        (["list", "--limit", "0"], "'0' is no whole number above 0"),
        (["redrive", "--to", local.dlq_url, "--yes"], "cannot be redriven to itself"),
    ):
        ended = dead(run_on, local, *args)
        assert (ended.code, text in ended.err) == (2, True), ended.text
    gone = dead(run_on, local, "list", url=f"{local.queue_url}-gone")
    assert (gone.code, "SQS queue does not exist" in gone.err) == (2, True)
