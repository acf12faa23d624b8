"""Destinations that are gone, denied or too small: nothing is lost, and a later worker goes on."""

import json
import time
from typing import Any

import pytest

PHOTO = b"\x07 a photo"
FAST = ("--max-backoff", "1")


def everything(account: Any) -> list[str]:
    return [
        *("--results", f"s3://{account.bucket('results')}/"),
        *("--on-success", account.destinations),
        *("--on-failure", account.destinations),
        *FAST,
    ]


def send(account: Any, **fields: object) -> str:
    url = account.upload("a.jpg", PHOTO)
    return str(account.send(url, callback_url=account.receiver.url, request_id="r-1", **fields))


def work_until_done(account: Any, *options: str) -> None:
    """Start workers until nothing is left; a message that was handed back takes a second."""
    for _ in range(8):
        account.work(*options)
        if account.left(account.queue_url) == 0:
            return
        time.sleep(0.3)
    pytest.fail(f"the message is still in the queue:\n{account.log()}")


def check_that_everyone_has_the_same(account: Any, message_id: str) -> None:
    [body] = account.stored().values()
    webhook_ids = {headers["webhook-id"] for headers, _ in account.receiver.accepted}
    assert webhook_ids == {f"msg_{message_id}_0"}
    assert {posted for _, posted in account.receiver.accepted} == {body}
    told = [*account.notifications("topic"), *account.notifications("direct")]
    told += [event["detail"] for event in account.notifications("bus")]
    assert len(told) >= 3
    for each in told:
        assert (each["id"], each["result"]) == (f"msg_{message_id}_0", json.loads(body))


def test_a_bucket_that_is_missing_keeps_the_message(account: Any) -> None:
    s3, bucket = account.client("s3"), account.bucket("results")
    s3.delete_bucket(Bucket=bucket)
    message_id = send(account)

    assert account.work(*everything(account)) == 1
    assert account.receiver.got == []
    assert account.notifications("direct") == []
    assert account.left(account.queue_url) == 1
    assert "no message is at fault" in account.log()

    s3.create_bucket(Bucket=bucket)
    work_until_done(account, *everything(account))
    check_that_everyone_has_the_same(account, message_id)
    assert account.left(account.dlq_url) == 0


def test_a_topic_that_is_gone_keeps_the_message_but_not_the_others_waiting(account: Any) -> None:
    account.client("sns").delete_topic(TopicArn=account.topic)
    message_id = send(account)

    assert account.work(*everything(account)) == 1
    assert account.receiver.got == []
    [first] = account.notifications("direct")
    assert len(account.notifications("bus")) == 1

    account.topic = account._topic()
    work_until_done(account, *everything(account))
    assert account.count("Detector.logits") == 1
    [again] = account.notifications("direct")
    assert again == first
    account.client("sqs").send_message(
        QueueUrl=account.inboxes["direct"], MessageBody=json.dumps(first)
    )
    check_that_everyone_has_the_same(account, message_id)


def test_a_queue_that_is_gone_keeps_the_message(account: Any) -> None:
    account.client("sqs").delete_queue(QueueUrl=account.inboxes["direct"])
    message_id = send(account)

    assert account.work(*everything(account)) == 1
    assert account.receiver.got == []

    account.inboxes["direct"] = account.queue("direct")
    work_until_done(account, *everything(account))
    assert account.count("Detector.logits") == 1
    check_that_everyone_has_the_same(account, message_id)


def test_a_bus_that_is_gone_keeps_the_message(account: Any) -> None:
    events, name = account.client("events"), f"{account.name}-bus"
    events.remove_targets(Rule="results", EventBusName=name, Ids=["queue"])
    events.delete_rule(Name="results", EventBusName=name)
    events.delete_event_bus(Name=name)
    message_id = send(account)

    assert account.work(*everything(account)) == 1
    assert account.receiver.got == []

    account.bus = account._bus()
    work_until_done(account, *everything(account))
    assert account.count("Detector.logits") == 1
    check_that_everyone_has_the_same(account, message_id)


def test_a_worker_that_was_killed_after_the_store_is_continued_without_an_inference(
    account: Any,
) -> None:
    message_id = send(account)

    assert account.work(*everything(account), kill="after ResultStore.put") == -9
    time.sleep(3.2)  # the visibility timeout
    work_until_done(account, *everything(account))
    assert account.count("Detector.logits") == account.count("Storage.fetch") == 1
    assert account.count("ResultStore.put") == 1
    check_that_everyone_has_the_same(account, message_id)


def test_what_is_too_large_for_a_notification_is_a_pointer_to_the_store(account: Any) -> None:
    send(account, metadata={"notes": "x" * 150_000})

    work_until_done(account, *everything(account))
    [(key, body)] = account.stored().items()
    assert len(body) > 256 * 1024
    assert [posted for _, posted in account.receiver.accepted] == [body]
    told = [*account.notifications("topic"), *account.notifications("direct")]
    told += [event["detail"] for event in account.notifications("bus")]
    assert len(told) == 3
    for each in told:
        assert each["result"] is None
        assert each["truncated"]
        assert each["result_url"] == f"s3://{account.bucket('results')}/{key}"
        assert each["label"] == json.loads(body)["label"]


def test_what_is_too_large_without_a_store_is_told_in_short(account: Any) -> None:
    send(account, metadata={"notes": "x" * 150_000})

    work_until_done(account, "--on-success", account.destinations, *FAST)
    for kind in ("topic", "direct"):
        [told] = account.notifications(kind)
        assert told["truncated"]
        assert told["result_url"] is None
        assert told["result"]["metadata"] is None
        assert told["result"]["label"] == told["label"]


def test_a_bucket_with_object_lock_takes_results(account: Any) -> None:
    bucket = account.bucket("locked")
    account.client("s3").create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    account.client("s3").put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    send(account)

    work_until_done(account, "--results", f"s3://{bucket}/", *FAST)
    assert len(account.stored("locked")) == 1
    assert len(account.receiver.accepted) == 1


def test_results_are_encrypted_with_the_key_that_is_named(account: Any) -> None:
    key_id = account.client("kms").create_key()["KeyMetadata"]["Arn"]
    send(account)

    options = ("--results", f"s3://{account.bucket('results')}/", "--results-kms-key-id", key_id)
    work_until_done(account, *options, *FAST)
    [key] = account.stored()
    shown = account.client("s3").head_object(Bucket=account.bucket("results"), Key=key)
    assert (shown["ServerSideEncryption"], shown["SSEKMSKeyId"]) == ("aws:kms", key_id)


def test_what_failed_for_good_is_stored_told_and_dead_lettered(account: Any) -> None:
    url = account.upload("broken.jpg", b"broken")
    message_id = account.send(url, callback_url=account.receiver.url, request_id="r-1")

    work_until_done(account, *everything(account))
    check_that_everyone_has_the_same(account, message_id)
    [letter] = account.take(account.dlq_url)
    assert letter["MessageAttributes"]["DetectionErrorCode"]["StringValue"] == "undecodable"
    [body] = account.stored().values()
    assert json.loads(body)["status"] == "failed"


def test_a_bad_message_is_stored_and_told_although_nobody_can_be_called_back(account: Any) -> None:
    account.send("https://example.com/no-bucket.jpg", callback_url="ftp://nowhere")

    work_until_done(account, *everything(account))
    [body] = account.stored().values()
    assert json.loads(body)["status"] == "failed"
    [told] = account.notifications("direct")
    assert told["error"] == json.loads(body)["error"]
    assert account.receiver.got == []
    assert account.left(account.dlq_url) == 1


def test_a_second_request_for_an_object_is_answered_from_the_cache(account: Any) -> None:
    cached = ("--cache", f"s3://{account.bucket('cache')}/scores/")
    send(account)
    work_until_done(account, *everything(account), *cached)
    [entry] = account.stored("cache").values()
    account.send(
        f"s3://{account.bucket('media')}/a.jpg",
        callback_url=account.receiver.url,
        request_id="r-2",
        confidence_threshold=0.99,
    )

    work_until_done(account, *everything(account), *cached)
    assert account.count("Detector.logits") == 1
    assert account.stored("cache") == {next(iter(account.stored("cache"))): entry}
    first, second = (json.loads(body) for _, body in account.receiver.accepted)
    assert (first["label"], second["label"]) == ("FAKE", "REAL")
    assert first["prediction_score"] == second["prediction_score"]
    assert second["cached"]

    account.upload("a.jpg", b"\x02 another photo")
    account.send(f"s3://{account.bucket('media')}/a.jpg", callback_url=account.receiver.url)
    work_until_done(account, *everything(account), *cached)
    assert account.count("Detector.logits") == 2
    third = json.loads(account.receiver.accepted[-1][1])
    assert third["prediction_score"] < first["prediction_score"]


def test_a_receiver_that_is_down_gets_its_callback_from_the_outbox(account: Any) -> None:
    account.receiver.status = 503
    message_id = send(account)

    options = (*everything(account), "--outbox", account.outbox_url, "--callback-attempts", "1")
    work_until_done(account, *options)
    assert account.receiver.accepted == []
    assert account.left(account.outbox_url) == 1
    [body] = account.stored().values()

    account.receiver.status = 200
    deadline = time.monotonic() + 60
    while account.left(account.outbox_url) and time.monotonic() < deadline:
        account.deliver()
    check_that_everyone_has_the_same(account, message_id)
    assert [posted for _, posted in account.receiver.accepted] == [body]


def test_a_receiver_that_is_gone_ends_in_the_dead_letter_queue_of_the_outbox(account: Any) -> None:
    dead_url = account.queue("outbox-dlq")
    policy = {"deadLetterTargetArn": account.arn(dead_url), "maxReceiveCount": "5"}
    account.client("sqs").set_queue_attributes(
        QueueUrl=account.outbox_url, Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    account.receiver.status = 503
    send(account)
    options = (*FAST, "--outbox", account.outbox_url, "--callback-attempts", "1")
    work_until_done(account, *options)

    account.receiver.status = 410
    deadline = time.monotonic() + 60
    while account.left(account.outbox_url) and time.monotonic() < deadline:
        account.deliver()
    [letter] = account.take(dead_url)
    code = letter["MessageAttributes"]["DetectionErrorCode"]["StringValue"]
    assert code == "callback_rejected"
    assert json.loads(letter["Body"])["request_id"] == "r-1"
