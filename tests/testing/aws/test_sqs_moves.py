"""Move tasks out of a dead-letter queue, as boto3 sees them. Moto has none."""

from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.local_aws import LocalAws


class Dead(NamedTuple):
    url: str
    dlq_url: str
    arn: str
    dlq_arn: str


@pytest.fixture
def sqs(aws: LocalAws) -> Any:
    return aws.sqs()


@pytest.fixture
def dead(aws: LocalAws, name: str) -> Dead:
    """A queue with five messages that SQS itself moved to its dead-letter queue."""
    url, dlq_url = aws.create_queue(name, max_receive_count=1, visibility_s=30)
    aws.send(url, [f"m{n}" for n in range(5)])
    aws.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    aws.advance(31)
    aws.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    return Dead(url, dlq_url, aws.queue_arn(url), aws.queue_arn(dlq_url))


def count(aws: LocalAws, url: str) -> int:
    visible: int = aws.stats()["queues"][url.rpartition("/")[2]]["visible"]
    return visible


def code_of(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    code: str = caught.value.response["Error"]["Code"]
    return code


def newest(sqs: Any, dead: Dead) -> dict[str, Any]:
    task: dict[str, Any] = sqs.list_message_move_tasks(SourceArn=dead.dlq_arn)["Results"][0]
    return task


def test_without_a_rate_all_are_moved_at_once(aws: LocalAws, sqs: Any, dead: Dead) -> None:
    sqs.start_message_move_task(SourceArn=dead.dlq_arn, DestinationArn=dead.arn)

    task = newest(sqs, dead)
    assert (task["Status"], task["DestinationArn"]) == ("COMPLETED", dead.arn)
    assert task["ApproximateNumberOfMessagesMoved"] == 5
    assert task["ApproximateNumberOfMessagesToMove"] == 5
    assert "TaskHandle" not in task
    assert (count(aws, dead.dlq_url), count(aws, dead.url)) == (0, 5)


def test_a_rate_is_kept(aws: LocalAws, sqs: Any, dead: Dead) -> None:
    handle = sqs.start_message_move_task(SourceArn=dead.dlq_arn, MaxNumberOfMessagesPerSecond=2)[
        "TaskHandle"
    ]
    started = newest(sqs, dead)
    aws.advance(1)
    half = newest(sqs, dead)["ApproximateNumberOfMessagesMoved"]
    aws.advance(10)
    ended = newest(sqs, dead)

    assert (started["Status"], started["TaskHandle"]) == ("RUNNING", handle)
    assert 2 <= half < 5
    assert (ended["Status"], ended["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 5)
    assert count(aws, dead.url) == 5


def test_a_task_can_be_cancelled_once(aws: LocalAws, sqs: Any, dead: Dead) -> None:
    handle = sqs.start_message_move_task(SourceArn=dead.dlq_arn, MaxNumberOfMessagesPerSecond=1)[
        "TaskHandle"
    ]
    aws.advance(2)

    moved = sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    aws.advance(10)

    assert 2 <= moved < 5
    assert newest(sqs, dead)["Status"] == "CANCELLED"
    assert count(aws, dead.dlq_url) == 5 - moved
    assert code_of(sqs.cancel_message_move_task, TaskHandle=handle) == "ResourceNotFoundException"


def test_a_message_that_was_sent_to_the_dead_letter_queue_has_no_way_back(
    aws: LocalAws, sqs: Any, dead: Dead
) -> None:
    aws.purge(dead.dlq_url)
    aws.send(dead.dlq_url, ["sent, not moved"])

    sqs.start_message_move_task(SourceArn=dead.dlq_arn)
    failed = newest(sqs, dead)
    left = count(aws, dead.dlq_url)
    sqs.start_message_move_task(SourceArn=dead.dlq_arn, DestinationArn=dead.arn)

    assert (failed["Status"], failed["FailureReason"]) == (
        "FAILED",
        "CouldNotDetermineMessageSource",
    )
    assert left == 1
    assert count(aws, dead.dlq_url) == 0


def test_only_one_task_at_a_time(sqs: Any, dead: Dead) -> None:
    start = {"SourceArn": dead.dlq_arn, "MaxNumberOfMessagesPerSecond": 1}
    sqs.start_message_move_task(**start)

    assert code_of(sqs.start_message_move_task, **start) == (
        "AWS.SimpleQueueService.UnsupportedOperation"
    )


def test_the_newest_tasks_come_first(sqs: Any, dead: Dead) -> None:
    for _ in range(3):
        sqs.start_message_move_task(SourceArn=dead.dlq_arn)

    tasks = sqs.list_message_move_tasks(SourceArn=dead.dlq_arn, MaxResults=10)["Results"]

    assert [task["ApproximateNumberOfMessagesMoved"] for task in tasks] == [0, 0, 5]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"SourceArn": "arn:aws:sqs:us-east-1:123456789012:no"}, "ResourceNotFoundException"),
        ({"DestinationArn": "arn:aws:sqs:us-east-1:123456789012:no"}, "ResourceNotFoundException"),
        ({"MaxNumberOfMessagesPerSecond": 501}, "InvalidParameterValue"),
    ],
)
def test_a_task_that_means_nothing_is_refused(
    sqs: Any, dead: Dead, change: dict[str, Any], code: str
) -> None:
    assert code_of(sqs.start_message_move_task, **{"SourceArn": dead.dlq_arn, **change}) == code
    assert code_of(sqs.start_message_move_task, SourceArn=dead.arn) == "InvalidParameterValue"


def test_attributes_count_in_a_batch(aws: LocalAws, sqs: Any, name: str) -> None:
    url = aws.create_queue(name).queue_url
    large = {"a": {"DataType": "String", "StringValue": "x" * 200_000}}
    entries = [{"Id": f"{n}", "MessageBody": "b", "MessageAttributes": large} for n in range(6)]

    assert code_of(sqs.send_message_batch, QueueUrl=url, Entries=entries) == (
        "AWS.SimpleQueueService.BatchRequestTooLong"
    )
