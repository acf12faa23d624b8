"""Notifications through SNS, SQS and EventBridge, on moto and on the strict local AWS."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.results.base import Notification
from detection_worker.results.notifier import AwsNotifier

ACCOUNT = "123456789012"
NOTE = Notification(
    id="msg_m_0",
    kind="finished",
    body='{"id":"msg_m_0","result":null}',
    attributes={"label": "FAKE", "verdict": "fake", "request_id": "req-1"},
    media_arn="arn:aws:s3:::media/a/clip.mp4",
)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, and how to read it."""

    cloud: Any
    name: str
    region: str = "us-east-1"

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{self.region}:{ACCOUNT}:{self.name}"

    @property
    def _sqs(self) -> Any:
        return self.cloud.client("sqs", self.region)

    def create(self, **attributes: str) -> "Queue":
        self._sqs.create_queue(QueueName=self.name, Attributes=attributes)
        return self

    def receive(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        url = self._sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
        names = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
        while batch := self._sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, **names
        ).get("Messages"):
            found += batch
        return found


@pytest.fixture
def make_queue(cloud: Any) -> Callable[..., Queue]:
    def make(name: str = "told", region: str = "us-east-1", **attributes: str) -> Queue:
        if attributes.get("FifoQueue"):
            return Queue(cloud, f"{name}-{cloud.tag}.fifo", region).create(**attributes)
        return Queue(cloud, f"{name}-{cloud.tag}", region).create(**attributes)

    return make


@pytest.fixture
def notifier(cloud: Any) -> Iterator[AwsNotifier]:
    with closing(AwsNotifier(cloud.session, cloud.aws)) as made:
        yield made


def publish(notifier: AwsNotifier, arn: str, *notes: Notification) -> None:
    """Publish in one call; raise the first error."""
    for error in notifier.publish(arn, notes):
        if error is not None:
            raise error


def subscribe(cloud: Any, queue: Queue, policy: Mapping[str, Any] | None = None) -> str:
    """Create a topic and subscribe a queue to what the policy lets through; return its ARN."""
    sns = cloud.client("sns", queue.region)
    fifo = queue.name.endswith(".fifo")
    name = f"topic-{queue.name}"
    kind = {"FifoTopic": "true"} if fifo else {}
    topic: str = sns.create_topic(Name=name, Attributes=kind)["TopicArn"]
    attributes = {"RawMessageDelivery": "true"}
    if policy:
        attributes["FilterPolicy"] = json.dumps(policy)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn, Attributes=attributes)
    return topic


def values(message: Mapping[str, Any]) -> dict[str, str]:
    return {name: v["StringValue"] for name, v in message["MessageAttributes"].items()}


def test_a_topic_hands_body_and_attributes_to_its_subscribers(
    cloud: Any, notifier: AwsNotifier, make_queue: Callable[..., Queue]
) -> None:
    queue = make_queue()

    publish(notifier, subscribe(cloud, queue), NOTE)

    [message] = queue.receive()
    assert message["Body"] == NOTE.body
    assert values(message) == NOTE.attributes


def test_subscribers_filter_by_attributes(
    cloud: Any, notifier: AwsNotifier, make_queue: Callable[..., Queue]
) -> None:
    queue = make_queue()
    topic = subscribe(cloud, queue, {"label": ["FAKE"], "queue": [{"prefix": "video"}]})
    real = {**NOTE.attributes, "label": "REAL", "queue": "video-eu"}

    publish(notifier, topic, replace(NOTE, body='{"n":1}', attributes=real))
    for number, name in enumerate(("video-eu", "audio")):
        attributes = {**NOTE.attributes, "queue": name}
        publish(notifier, topic, replace(NOTE, body=f'{{"n":{number}0}}', attributes=attributes))

    assert [message["Body"] for message in queue.receive()] == ['{"n":00}']


def test_a_queue_gets_body_and_attributes(
    notifier: AwsNotifier, make_queue: Callable[..., Queue]
) -> None:
    queue = make_queue()

    publish(notifier, queue.arn, NOTE)

    [message] = queue.receive()
    assert message["Body"] == NOTE.body
    assert values(message) == NOTE.attributes


def rule(cloud: Any, bus: str, pattern: Mapping[str, Any], queue: Queue) -> None:
    events = cloud.client("events")
    name = f"rule-{queue.name}"
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "1", "Arn": queue.arn}])


@pytest.mark.parametrize(
    ("pattern", "arrives"),
    [
        pytest.param({"source": ["detection-queue"]}, True, id="source"),
        pytest.param({"detail-type": ["Detection Finished"]}, True, id="type"),
        pytest.param({"detail": {"label": ["FAKE"]}}, True, id="label"),
        pytest.param({"detail": {"label": ["REAL"]}}, False, id="another label"),
        pytest.param({"detail-type": ["Detection Failed"]}, False, id="another type"),
    ],
)
def test_rules_of_a_bus_match_events_by_their_fields(
    cloud: Any,
    notifier: AwsNotifier,
    make_queue: Callable[..., Queue],
    pattern: dict[str, Any],
    arrives: bool,  # noqa: FBT001 - a column of the table
) -> None:
    queue = make_queue()
    bus = cloud.client("events").create_event_bus(Name=f"bus-{cloud.tag}")["EventBusArn"]
    rule(cloud, bus, pattern, queue)

    publish(notifier, bus, replace(NOTE, body='{"label":"FAKE"}'))

    events = [json.loads(message["Body"]) for message in queue.receive()]
    assert bool(events) is arrives
    for event in events:
        assert event["source"] == "detection-queue"
        assert event["detail-type"] == "Detection Finished"
        assert event["resources"] == [NOTE.media_arn]
        assert event["detail"] == {"label": "FAKE"}


def test_a_failure_without_media_is_an_event_too(
    cloud: Any, notifier: AwsNotifier, make_queue: Callable[..., Queue]
) -> None:
    queue = make_queue()
    bus = cloud.client("events").create_event_bus(Name=f"bus-{cloud.tag}")["EventBusArn"]
    rule(cloud, bus, {"detail-type": ["Detection Failed"]}, queue)

    publish(notifier, bus, replace(NOTE, kind="failed", media_arn=None))

    [message] = queue.receive()
    assert json.loads(message["Body"])["resources"] == []


@pytest.mark.parametrize("by_topic", [False, True], ids=["queue", "topic"])
def test_fifo_keeps_the_order_of_a_request_and_drops_what_is_sent_twice(
    cloud: Any,
    notifier: AwsNotifier,
    make_queue: Callable[..., Queue],
    by_topic: bool,  # noqa: FBT001 - whether a topic is in between
) -> None:
    queue = make_queue("fifo", FifoQueue="true")
    arn = subscribe(cloud, queue) if by_topic else queue.arn
    odd = {**NOTE.attributes, "request_id": "ü " + "x" * 250}

    for note in (NOTE, NOTE, replace(NOTE, id="msg_m_1", attributes=odd)):
        publish(notifier, arn, note)

    first, second = queue.receive()
    assert first["Attributes"]["MessageGroupId"] == "req-1"
    assert first["Attributes"]["MessageDeduplicationId"] == "msg_m_0"
    assert len(second["Attributes"]["MessageGroupId"]) == 64


def test_each_destination_is_called_in_its_own_region(
    notifier: AwsNotifier, make_queue: Callable[..., Queue]
) -> None:
    queue = make_queue(region="eu-west-1")

    publish(notifier, queue.arn, NOTE)

    assert len(queue.receive()) == 1


def test_notifications_that_are_published_together_share_a_call(
    cloud: Any, notifier: AwsNotifier, make_queue: Callable[..., Queue]
) -> None:
    queue = make_queue()
    notes = [replace(NOTE, id=f"msg_{n}_0", body=f'{{"n":{n}}}') for n in range(10)]
    publish(notifier, queue.arn, NOTE)
    calls: list[str] = []
    [client] = notifier._clients.values()
    client.meta.events.register("before-send", lambda **_: calls.append("botocore"))

    publish(notifier, queue.arn, *notes)

    bodies = Counter(message["Body"] for message in queue.receive())
    assert bodies == Counter([NOTE.body, *(note.body for note in notes)])
    assert calls == [], "it was sent as the first one was"


def failure(call: Callable[[], None]) -> JobError:
    with pytest.raises(JobError) as caught:
        call()
    assert caught.value.code is ErrorCode.NOTIFICATION_FAILED
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("service", ["sns", "sqs"])
def test_a_destination_that_does_not_exist_stops_the_worker_until_it_does(
    notifier: AwsNotifier, service: str
) -> None:
    arn = f"arn:aws:{service}:us-east-1:{ACCOUNT}:gone"

    error = failure(lambda: publish(notifier, arn, NOTE))

    assert error.environment
    assert "it does not exist in account 123456789012, region us-east-1" in error.message


def test_a_bus_that_does_not_exist_is_told_if_the_service_tells(moto: Any) -> None:
    """Amazon's takes events for a bus that is gone, and drops them."""
    arn = f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/gone"

    with closing(AwsNotifier(moto.session, moto.aws)) as notifier:
        assert failure(lambda: publish(notifier, arn, NOTE)).environment


def test_a_queue_that_is_deleted_and_made_again_works_again(moto: Any) -> None:
    queue = Queue(moto, f"again-{moto.tag}").create()
    sqs = moto.client("sqs")

    with closing(AwsNotifier(moto.session, moto.aws)) as notifier:
        publish(notifier, queue.arn, NOTE)
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=queue.name)["QueueUrl"])
        assert failure(lambda: publish(notifier, queue.arn, NOTE)).environment

        queue.create()
        publish(notifier, queue.arn, NOTE)

    assert len(queue.receive()) == 1


def test_a_queue_that_takes_only_short_messages_gets_the_short_form(
    notifier: AwsNotifier, make_queue: Callable[..., Queue]
) -> None:
    queue = make_queue(MaximumMessageSize="1024")
    body = json.dumps({"id": "i", "result_url": "s3://b/k", "result": {"media": "x" * 2000}})

    publish(notifier, queue.arn, replace(NOTE, body=body))

    [message] = queue.receive()
    assert json.loads(message["Body"]) == {
        "id": "i",
        "result_url": "s3://b/k",
        "truncated": True,
        "result": None,
    }


def test_an_unknown_host_is_the_environments_fault(cloud: Any) -> None:
    aws = replace(cloud.aws, endpoint_url="http://127.0.0.1:9")
    with closing(AwsNotifier(cloud.session, aws)) as notifier:
        error = failure(lambda: publish(notifier, f"arn:aws:sqs:us-east-1:{ACCOUNT}:q", NOTE))

    assert error.environment
    assert "SQS cannot be reached (EndpointConnectionError)" in error.message


@pytest.mark.parametrize("service", ["SNS", "SQS", "EVENTBRIDGE"])
def test_endpoints_of_single_services_come_from_the_environment(
    cloud: Any,
    make_queue: Callable[..., Queue],
    monkeypatch: pytest.MonkeyPatch,
    service: str,
) -> None:
    queue = make_queue()
    bus = cloud.client("events").create_event_bus(Name=f"bus-{cloud.tag}")["EventBusArn"]
    arn = {"SNS": subscribe(cloud, queue), "SQS": queue.arn, "EVENTBRIDGE": bus}[service]
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", cloud.aws.endpoint_url)

    with closing(AwsNotifier(cloud.session, replace(cloud.aws, endpoint_url=None))) as notifier:
        publish(notifier, arn, NOTE)
        [client] = notifier._clients.values()

    assert client.meta.endpoint_url == cloud.aws.endpoint_url
