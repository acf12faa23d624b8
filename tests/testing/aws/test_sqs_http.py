"""SQS as boto3 sees it: the rules again over the wire, the errors, the long polls."""

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.services import LocalOptions
from detection_testing.aws.sqs.messages import attributes_md5


@pytest.fixture
def sqs(aws: LocalAws) -> Any:
    return aws.sqs()


@pytest.fixture
def url(aws: LocalAws, name: str) -> str:
    return aws.create_queue(name, max_receive_count=2).queue_url


def receive(sqs: Any, url: str, **parameters: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, **parameters
    ).get("Messages", [])
    return messages


def code_of(call: Callable[[], object]) -> str:
    """Make a call that must fail; return the error code."""
    with pytest.raises(ClientError) as caught:
        call()
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_a_message_travels_with_its_attributes_and_digests(
    aws: LocalAws, sqs: Any, url: str
) -> None:
    attributes = {
        "text": {"DataType": "String", "StringValue": "käse"},
        "number": {"DataType": "Number.int", "StringValue": "7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody="häl\tlo €", MessageAttributes=attributes)
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5"}}
    sqs.send_message(QueueUrl=url, MessageBody="second", MessageSystemAttributes=trace)

    first, second = receive(
        sqs, url, MessageSystemAttributeNames=["All"], MessageAttributeNames=["te.*", "bytes"]
    )

    assert first["Body"] == "häl\tlo €"
    assert sent["MD5OfMessageBody"] == hashlib.md5("häl\tlo €".encode()).hexdigest()
    assert set(first["MessageAttributes"]) == {"bytes", "text"}
    assert first["MessageAttributes"]["bytes"]["BinaryValue"] == b"\x00\xff"
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    sent_s = int(first["Attributes"]["SentTimestamp"]) / 1000
    assert 0 <= aws.stats()["now_s"] - sent_s < 60
    assert second["Attributes"]["AWSTraceHeader"] == "Root=1-5"


def test_the_digest_of_attributes_is_the_documented_one() -> None:
    # SQS developer guide, message attributes: name, type and value with their lengths, 1 for text.
    attributes = {"a": {"DataType": "String", "StringValue": "x"}}
    expected = b"\0\0\0\1a\0\0\0\6String\1\0\0\0\1x"

    assert attributes_md5(attributes) == hashlib.md5(expected).hexdigest()


@pytest.mark.parametrize("names", [[], ["ApproximateReceiveCount"]])
def test_only_the_system_attributes_asked_for_are_shown(
    sqs: Any, url: str, names: list[str]
) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="a")

    [message] = receive(sqs, url, MessageSystemAttributeNames=names)

    assert sorted(message.get("Attributes", {})) == names


def test_visibility_delete_and_change_follow_the_rules(aws: LocalAws, sqs: Any, url: str) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="a")
    [first] = receive(sqs, url)
    old = first["ReceiptHandle"]
    assert receive(sqs, url) == []

    aws.advance(31)
    not_in_flight = code_of(
        lambda: sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=old, VisibilityTimeout=5)
    )
    [second] = receive(sqs, url)
    stale = code_of(
        lambda: sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=old, VisibilityTimeout=5)
    )
    sqs.delete_message(QueueUrl=url, ReceiptHandle=old)
    still_held = aws.in_flight(url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])

    assert not_in_flight == "AWS.SimpleQueueService.MessageNotInflight"
    assert stale == "InvalidParameterValue"
    assert [h.message_id for h in still_held] == [first["MessageId"]]
    aws.advance(1000)
    assert receive(sqs, url) == []


def test_an_extension_beyond_12_hours_is_refused(aws: LocalAws, sqs: Any, url: str) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="a")
    [got] = receive(sqs, url, VisibilityTimeout=43_200)
    aws.advance(3600)

    def change(seconds: int) -> None:
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=seconds
        )

    assert code_of(lambda: change(43_200 - 3600)) == "InvalidParameterValue"
    change(43_200 - 3600 - 60)


def test_a_message_in_vain_ends_in_the_dead_letter_queue_and_can_be_moved_back(
    aws: LocalAws, sqs: Any, name: str
) -> None:
    url, dlq_url = aws.create_queue(name, max_receive_count=2, visibility_s=30)
    [message_id] = aws.send(url, ["a"])
    for _ in range(3):
        receive(sqs, url)
        aws.advance(31)

    [dead] = receive(sqs, dlq_url, MessageSystemAttributeNames=["All"], VisibilityTimeout=0)
    attributes = sqs.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=["All"])["Attributes"]
    sqs.start_message_move_task(SourceArn=attributes["QueueArn"])
    [again] = receive(sqs, url)

    assert dead["MessageId"] == message_id != again["MessageId"]
    assert dead["Attributes"]["DeadLetterQueueSourceArn"].endswith(f":{name}")
    assert dead["Attributes"]["ApproximateReceiveCount"] == "3"
    assert sqs.list_dead_letter_source_queues(QueueUrl=dlq_url)["queueUrls"] == [url]


class TestErrors:
    """Codes as programs know them."""

    def test_an_unknown_queue(self, sqs: Any, url: str) -> None:
        with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
            sqs.send_message(QueueUrl=url + "-gone", MessageBody="a")
        assert caught.value.response["Error"]["Code"] == (
            "AWS.SimpleQueueService.NonExistentQueue"
        )
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400

    def test_an_unknown_name(self, sqs: Any) -> None:
        with pytest.raises(sqs.exceptions.QueueDoesNotExist):
            sqs.get_queue_url(QueueName="nobody")

    def test_a_foreign_account(self, sqs: Any, url: str) -> None:
        with pytest.raises(sqs.exceptions.QueueDoesNotExist):
            sqs.receive_message(QueueUrl=url.replace("123456789012", "000000000000"))

    @pytest.mark.parametrize(
        ("parameters", "code"),
        [
            pytest.param({"MessageBody": ""}, "MissingParameter", id="empty body"),
            pytest.param({"MessageBody": "\x00"}, "InvalidMessageContents", id="control byte"),
            pytest.param({"MessageBody": "\ufffe"}, "InvalidMessageContents", id="no character"),
            pytest.param(
                {"MessageBody": "x" * 1_048_577}, "InvalidParameterValue", id="over 1 MiB"
            ),
            pytest.param(
                {"MessageBody": "a", "DelaySeconds": 901}, "InvalidParameterValue", id="delay"
            ),
            pytest.param(
                {
                    "MessageBody": "a",
                    "MessageAttributes": {
                        "AWS.x": {"DataType": "String", "StringValue": "v"},
                    },
                },
                "InvalidParameterValue",
                id="reserved attribute name",
            ),
            pytest.param(
                {
                    "MessageBody": "a",
                    "MessageAttributes": {"x": {"DataType": "Text", "StringValue": "v"}},
                },
                "InvalidParameterValue",
                id="unknown attribute type",
            ),
            pytest.param(
                {
                    "MessageBody": "a",
                    "MessageAttributes": {
                        f"n{n}": {"DataType": "String", "StringValue": "v"} for n in range(11)
                    },
                },
                "InvalidParameterValue",
                id="eleven attributes",
            ),
        ],
    )
    def test_a_message_that_breaks_a_rule(
        self, sqs: Any, url: str, parameters: dict[str, Any], code: str
    ) -> None:
        assert code_of(lambda: sqs.send_message(QueueUrl=url, **parameters)) == code

    @pytest.mark.parametrize(
        "parameters",
        [
            pytest.param({"MaxNumberOfMessages": 11}, id="eleven messages"),
            pytest.param({"MaxNumberOfMessages": 0}, id="no message"),
            pytest.param({"WaitTimeSeconds": 21}, id="wait over 20 s"),
            pytest.param({"VisibilityTimeout": 43_201}, id="over 12 h"),
        ],
    )
    def test_a_receive_out_of_range(self, sqs: Any, url: str, parameters: dict[str, int]) -> None:
        code = code_of(lambda: sqs.receive_message(QueueUrl=url, **parameters))

        assert code == "InvalidParameterValue"

    def test_garbage_as_a_handle(self, sqs: Any, url: str) -> None:
        with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
            sqs.delete_message(QueueUrl=url, ReceiptHandle="garbage")

    @pytest.mark.parametrize(
        ("entries", "error"),
        [
            pytest.param([], "EmptyBatchRequest", id="no entry"),
            pytest.param(["a"] * 11, "TooManyEntriesInBatchRequest", id="eleven entries"),
            pytest.param(["a", "a"], "BatchEntryIdsNotDistinct", id="the same id twice"),
            pytest.param(["x" * 81], "InvalidBatchEntryId", id="id of 81 characters"),
            pytest.param(["a b"], "InvalidBatchEntryId", id="id with a space"),
        ],
    )
    @pytest.mark.parametrize("action", ["send", "delete", "change"])
    def test_a_batch_that_breaks_a_rule(
        self, sqs: Any, url: str, entries: list[str], error: str, action: str
    ) -> None:
        calls: dict[str, tuple[Any, dict[str, Any]]] = {
            "send": (sqs.send_message_batch, {"MessageBody": "b"}),
            "delete": (sqs.delete_message_batch, {"ReceiptHandle": "h"}),
            "change": (
                sqs.change_message_visibility_batch,
                {"ReceiptHandle": "h", "VisibilityTimeout": 1},
            ),
        }
        call, fields = calls[action]

        with pytest.raises(getattr(sqs.exceptions, error)) as caught:
            call(QueueUrl=url, Entries=[{"Id": i, **fields} for i in entries])
        assert caught.value.response["Error"]["Code"] == f"AWS.SimpleQueueService.{error}"

    def test_a_batch_over_1_mib_in_all(self, sqs: Any, url: str) -> None:
        entries = [{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)]

        with pytest.raises(sqs.exceptions.BatchRequestTooLong):
            sqs.send_message_batch(QueueUrl=url, Entries=entries)

    def test_one_bad_entry_leaves_the_others_alone(self, sqs: Any, url: str) -> None:
        sqs.send_message(QueueUrl=url, MessageBody="a")
        [got] = receive(sqs, url)
        entries = [
            {"Id": "good", "ReceiptHandle": got["ReceiptHandle"]},
            {"Id": "bad", "ReceiptHandle": "garbage"},
        ]

        answer = sqs.delete_message_batch(QueueUrl=url, Entries=entries)

        assert [e["Id"] for e in answer["Successful"]] == ["good"]
        [failed] = answer["Failed"]
        assert (failed["Id"], failed["Code"], failed["SenderFault"]) == (
            "bad",
            "ReceiptHandleIsInvalid",
            True,
        )

    def test_a_call_without_a_known_key(self, aws: LocalAws, url: str) -> None:
        client = boto3.client(
            "sqs",
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id="AKIAWRONG",
            aws_secret_access_key="x",
        )
        try:
            code = code_of(lambda: client.receive_message(QueueUrl=url))
        finally:
            client.close()

        assert code == "InvalidClientTokenId"


class TestQueues:
    """Making, changing and deleting queues."""

    def test_the_same_attributes_give_the_same_queue_and_others_an_error(
        self, sqs: Any, name: str
    ) -> None:
        made = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"})
        again = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"})

        assert (
            made["QueueUrl"] == again["QueueUrl"] == sqs.get_queue_url(QueueName=name)["QueueUrl"]
        )
        with pytest.raises(sqs.exceptions.QueueNameExists):
            sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "8"})

    def test_a_deleted_name_rests_for_a_minute(self, aws: LocalAws, sqs: Any, name: str) -> None:
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        sqs.delete_queue(QueueUrl=url)

        with pytest.raises(sqs.exceptions.QueueDeletedRecently):
            sqs.create_queue(QueueName=name)
        aws.advance(61)
        assert sqs.create_queue(QueueName=name)["QueueUrl"] == url

    def test_a_purge_empties_the_queue_once_a_minute(
        self, aws: LocalAws, sqs: Any, url: str
    ) -> None:
        aws.send(url, ["a", "b"])
        sqs.purge_queue(QueueUrl=url)

        assert receive(sqs, url) == []
        with pytest.raises(sqs.exceptions.PurgeQueueInProgress):
            sqs.purge_queue(QueueUrl=url)

    def test_the_counts_tell_visible_in_flight_and_delayed(
        self, aws: LocalAws, sqs: Any, url: str
    ) -> None:
        aws.send(url, ["a", "b", "c"])
        sqs.send_message(QueueUrl=url, MessageBody="d", DelaySeconds=60)
        sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)
        prefix = "ApproximateNumberOfMessages"
        names = [prefix, f"{prefix}NotVisible", f"{prefix}Delayed"]

        shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]

        assert [shown[n] for n in names] == ["2", "1", "1"]
        assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url)

    def test_changed_attributes_take_effect(self, sqs: Any, url: str) -> None:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
        sqs.send_message(QueueUrl=url, MessageBody="a")

        assert len(receive(sqs, url)) == len(receive(sqs, url)) == 1

    @pytest.mark.parametrize(
        ("attributes", "error"),
        [
            ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
            ({"MessageRetentionPeriod": "59"}, "InvalidAttributeValue"),
            ({"RedrivePolicy": "{}"}, "InvalidAttributeValue"),
            ({"Colour": "red"}, "InvalidAttributeName"),
        ],
    )
    def test_attributes_out_of_range_are_refused(
        self, sqs: Any, url: str, attributes: dict[str, str], error: str
    ) -> None:
        with pytest.raises(getattr(sqs.exceptions, error)):
            sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)

    def test_queues_are_listed_by_prefix(self, sqs: Any, name: str, url: str) -> None:
        urls = sqs.list_queues(QueueNamePrefix=f"{name}-")["QueueUrls"]

        assert urls == [f"{url}-dlq"]

    def test_a_fifo_queue_keeps_order_within_a_group(
        self, aws: LocalAws, sqs: Any, name: str
    ) -> None:
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        url, dlq_url = aws.create_queue(f"{name}.fifo", attributes=attributes)
        for body in ("1", "2", "2", "3"):
            sent = sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")

        got = receive(sqs, url, MessageSystemAttributeNames=["All"])

        assert [m["Body"] for m in got] == ["1", "2", "3"]
        assert got[-1]["Attributes"]["SequenceNumber"] == sent["SequenceNumber"]
        assert dlq_url.endswith("-dlq.fifo")


class TestLongPoll:
    """Receives that wait."""

    def waiting(self, aws: LocalAws, url: str, **parameters: Any) -> Any:
        return lambda: (
            aws.sqs().receive_message(QueueUrl=url, WaitTimeSeconds=20, **parameters),
            time.monotonic(),
        )

    def until_polling(self, aws: LocalAws, before: int, polls: int = 1) -> None:
        """Wait until the server has counted the polls that were started."""
        while aws.stats()["requests"].get("sqs.ReceiveMessage", 0) < before + polls:
            time.sleep(0.005)

    @pytest.mark.parametrize("event", ["send", "release", "expiry", "delay", "clock"])
    def test_it_is_woken_at_once(self, aws: LocalAws, sqs: Any, url: str, event: str) -> None:
        handle = ""
        if event == "delay":
            sqs.send_message(QueueUrl=url, MessageBody="a", DelaySeconds=1)
        if event in ("release", "expiry", "clock"):
            sqs.send_message(QueueUrl=url, MessageBody="a")
            visibility_s = 1 if event == "expiry" else 600
            [got] = receive(sqs, url, VisibilityTimeout=visibility_s)
            handle = got["ReceiptHandle"]
        before = aws.stats()["requests"].get("sqs.ReceiveMessage", 0)
        started_s = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(self.waiting(aws, url))
            self.until_polling(aws, before)
            if event == "send":
                sqs.send_message(QueueUrl=url, MessageBody="a")
            elif event == "release":
                sqs.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0
                )
            elif event == "clock":
                aws.advance(601)
            acted_s = time.monotonic()
            answer, ended_s = future.result()

        due_s = started_s + 1 if event in ("expiry", "delay") else acted_s
        assert [m["Body"] for m in answer["Messages"]] == ["a"]
        assert ended_s - due_s < 10.0

    def test_it_ends_empty_when_its_time_is_up(self, aws: LocalAws, url: str) -> None:
        before = aws.stats()["requests"].get("sqs.ReceiveMessage", 0)
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(self.waiting(aws, url))
            self.until_polling(aws, before)
            aws.advance(20)

            assert "Messages" not in future.result()[0]

    def test_ten_waiting_receives_share_ten_messages(
        self, aws: LocalAws, sqs: Any, url: str
    ) -> None:
        before = aws.stats()["requests"].get("sqs.ReceiveMessage", 0)
        with ThreadPoolExecutor(10) as pool:
            futures = [
                pool.submit(self.waiting(aws, url, MaxNumberOfMessages=1)) for _ in range(10)
            ]
            self.until_polling(aws, before, polls=10)
            aws.send(url, [str(n) for n in range(10)])
            answers = [f.result()[0] for f in futures]

        assert sorted(a["Messages"][0]["Body"] for a in answers) == [str(n) for n in range(10)]

    def test_deleting_the_queue_ends_it_with_an_error(
        self, aws: LocalAws, sqs: Any, name: str
    ) -> None:
        url = aws.create_queue(name, dead_letter=False).queue_url
        before = aws.stats()["requests"].get("sqs.ReceiveMessage", 0)
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(self.waiting(aws, url))
            self.until_polling(aws, before)
            sqs.delete_queue(QueueUrl=url)
            aws.advance(20)

            with pytest.raises(sqs.exceptions.QueueDoesNotExist):
                future.result()

    @pytest.mark.parametrize("orphan", [True, False])
    def test_a_client_that_left_takes_the_messages_unless_told_otherwise(
        self, *, orphan: bool, name: str
    ) -> None:
        with LocalAws.in_thread(LocalOptions(orphan_on_disconnect=orphan)) as aws:
            url = aws.create_queue(name).queue_url
            poll = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
            head = (
                "POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
                f"Authorization: Credential={aws.credentials.access_key_id}/x\r\n"
                f"Content-Length: {len(poll)}\r\n\r\n"
            )
            port = int(aws.endpoint_url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(head.encode() + poll)
                self.until_polling(aws, 0)
            aws.stats()  # the server has seen the close: it serves in the order of arrival
            aws.send(url, ["a"])

            assert len(aws.in_flight(name)) == int(orphan)


def test_what_is_not_json_is_refused(aws: LocalAws) -> None:
    port = int(aws.endpoint_url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {
        "X-Amz-Target": "AmazonSQS.SendMessage",
        "Authorization": f"Credential={aws.credentials.access_key_id}/x",
    }
    try:
        connection.request("POST", "/", body=b"{not json", headers=headers)
        response = connection.getresponse()
        body = json.loads(response.read())
    finally:
        connection.close()

    assert response.status == 400
    assert body["__type"].endswith("#SerializationException")
