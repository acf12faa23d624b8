"""Amazon SNS over HTTP: the query protocol, as far as messages get to queues."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from detection_testing.aws import query
from detection_testing.aws.clock import ServerClock
from detection_testing.aws.query import (
    QueryError,
    elements,
    items_of,
    map_of,
    members,
)
from detection_testing.aws.sns.topics import Attributes, Publish, Topic, Topics, change, invalid
from detection_testing.http.values import Request, Response, Spoiled

NAMESPACE: Final = "http://sns.amazonaws.com/doc/2010-03-31/"
MAX_ENTRIES: Final = 10
MAX_BYTES: Final = 262_144
"""SNS API reference, Publish and PublishBatch: 256 KiB a message, and a batch in all."""
_BATCH: Final = "PublishBatchRequestEntries.member"
_ENTRY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")

Parameters = dict[str, str]


class SnsHttp:
    """Answers SNS requests.

    Args:
        topics: The topics.
        clock: The server's.
    """

    def __init__(self, *, topics: Topics, clock: ServerClock) -> None:
        self._topics = topics
        self._clock = clock
        self.actions: dict[str, Callable[[Parameters, Request], str]] = {
            "CreateTopic": self._create,
            "DeleteTopic": self._delete,
            "ListTopics": self._list,
            "GetTopicAttributes": self._show,
            "Subscribe": self._subscribe,
            "Unsubscribe": self._unsubscribe,
            "SetSubscriptionAttributes": self._change,
            "ListSubscriptionsByTopic": self._subscriptions,
            "Publish": self._publish,
            "PublishBatch": self._publish_batch,
        }

    def handle(self, action: str, request: Request) -> Response:
        """Carry out one request."""
        try:
            result = self.actions[action](request.form(), request)
        except QueryError as exc:
            return render_error(exc)
        return query.render(action, result, namespace=NAMESPACE)

    def _create(self, parameters: Parameters, request: Request) -> str:
        del request
        name = parameters.get("Name", "")
        topic = self._topics.create(name, map_of(parameters, "Attributes.entry"))
        return elements({"TopicArn": topic.arn})

    def _delete(self, parameters: Parameters, request: Request) -> str:
        del request
        self._topics.delete(parameters.get("TopicArn", ""))
        return ""

    def _list(self, parameters: Parameters, request: Request) -> str:
        del parameters, request
        found = [elements({"TopicArn": arn}) for arn in self._topics.arns()]
        return f"<Topics>{members(found)}</Topics>"

    def _show(self, parameters: Parameters, request: Request) -> str:
        del request
        topic = self._topic(parameters)
        shown = {
            "TopicArn": topic.arn,
            "SubscriptionsConfirmed": str(len(topic.subscriptions)),
            **({"FifoTopic": "true"} if topic.fifo else {}),
        }
        entries = [f"<entry>{elements({'key': k, 'value': v})}</entry>" for k, v in shown.items()]
        return f"<Attributes>{''.join(entries)}</Attributes>"

    def _subscribe(self, parameters: Parameters, request: Request) -> str:
        del request
        if parameters.get("Protocol") != "sqs":
            raise invalid("Protocol: only sqs is implemented here")
        made = self._topics.subscribe(
            parameters.get("TopicArn", ""),
            parameters.get("Endpoint", ""),
            map_of(parameters, "Attributes.entry"),
        )
        return elements({"SubscriptionArn": made.arn})

    def _unsubscribe(self, parameters: Parameters, request: Request) -> str:
        del request
        self._topics.unsubscribe(parameters.get("SubscriptionArn", ""))
        return ""

    def _change(self, parameters: Parameters, request: Request) -> str:
        del request
        found = self._topics.subscription(parameters.get("SubscriptionArn", ""))
        change(found, parameters.get("AttributeName", ""), parameters.get("AttributeValue", ""))
        return ""

    def _subscriptions(self, parameters: Parameters, request: Request) -> str:
        del request
        topic = self._topic(parameters)
        found = [
            elements({"SubscriptionArn": s.arn, "Endpoint": s.queue_arn, "Protocol": "sqs"})
            for s in topic.subscriptions
        ]
        return f"<Subscriptions>{members(found)}</Subscriptions>"

    def _publish(self, parameters: Parameters, request: Request) -> str:
        del request
        topic = self._topic(parameters)
        publish = _publish_of(parameters)
        if _bytes(publish) > MAX_BYTES:
            raise invalid("Message too long")
        return self._sent(topic, publish)

    def _publish_batch(self, parameters: Parameters, request: Request) -> str:
        topic = self._topic(parameters)
        entries = items_of(parameters, _BATCH)
        _check_batch([entry.get("Id", "") for entry in entries])
        if sum(_bytes(_parsed(entry)) for entry in entries) > MAX_BYTES:
            text = "The length of all the batch messages put together is more than the limit"
            raise QueryError("BatchRequestTooLong", text)
        done: list[str] = []
        failed: list[str] = []
        for at, entry in enumerate(entries):
            told = {"Id": entry["Id"]}
            try:
                _spoil(at, request.spoiled)
                done.append(elements(told) + self._sent(topic, _publish_of(entry)))
            except QueryError as exc:
                fault = "true" if exc.status < 500 else "false"
                told |= {"Code": exc.code, "Message": str(exc), "SenderFault": fault}
                failed.append(elements(told))
        return f"<Successful>{members(done)}</Successful><Failed>{members(failed)}</Failed>"

    def _sent(self, topic: Topic, publish: Publish) -> str:
        message_id, sequence = self._topics.publish(topic, publish, now_s=self._clock.now_s())
        number = {} if sequence is None else {"SequenceNumber": sequence}
        return elements({"MessageId": message_id, **number})

    def _topic(self, parameters: Parameters) -> Topic:
        return self._topics.get(parameters.get("TopicArn", ""))


def render_error(error: QueryError) -> Response:
    """Return an error as SNS sends it."""
    return query.render_error(error, namespace=NAMESPACE)


def _spoil(at: int, spoiled: Spoiled | None) -> None:
    if spoiled is not None and at < spoiled.entries:
        raise QueryError(spoiled.code or "InternalError", "Injected", status=500)


def _publish_of(fields: Parameters) -> Publish:
    publish = _parsed(fields)
    if not publish.message:
        raise invalid("Empty message")
    for name, value in publish.attributes.items():
        if not value.get("DataType") or not (value.get("StringValue") or value.get("BinaryValue")):
            text = f"The message attribute '{name}' must contain non-empty message attribute value"
            raise QueryError("ParameterValueInvalid", text)
    return publish


def _parsed(fields: Parameters) -> Publish:
    return Publish(
        message=fields.get("Message", ""),
        subject=fields.get("Subject"),
        attributes=_attributes(fields),
        group_id=fields.get("MessageGroupId"),
        deduplication_id=fields.get("MessageDeduplicationId"),
    )


def _attributes(fields: Parameters) -> Attributes:
    return {
        item.get("Name", ""): {
            name.removeprefix("Value."): text
            for name, text in item.items()
            if name.startswith("Value.")
        }
        for item in items_of(fields, "MessageAttributes.entry")
    }


def _bytes(publish: Publish) -> int:
    texts = [t for name, value in publish.attributes.items() for t in (name, *value.values())]
    return len(publish.message.encode()) + sum(len(text.encode()) for text in texts)


def _check_batch(ids: Sequence[str]) -> None:
    if not ids:
        text = "The batch request doesn't contain any entries."
        raise QueryError("EmptyBatchRequest", text)
    if len(ids) > MAX_ENTRIES:
        text = "The batch request contains more entries than permissible."
        raise QueryError("TooManyEntriesInBatchRequest", text)
    if not all(_ENTRY_ID.fullmatch(each) for each in ids):
        text = "The Id of a batch entry in the batch request doesn't abide by the specification."
        raise QueryError("InvalidBatchEntryId", text)
    if len(set(ids)) < len(ids):
        text = "Two or more batch entries in the request have the same Id."
        raise QueryError("BatchEntryIdsNotDistinct", text)
