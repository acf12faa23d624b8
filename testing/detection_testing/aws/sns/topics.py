"""Topics with their subscriptions. Pure but for the queues that messages go to.

"Guide" is https://docs.aws.amazon.com/sns/latest/dg/.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from detection_testing.aws.eventbridge.pattern import BadPatternError, check, matches
from detection_testing.aws.journal import RecordedPublish
from detection_testing.aws.query import QueryError
from detection_testing.aws.sqs.delivery import QueueDelivery
from detection_testing.aws.sqs.registry import ACCOUNT_ID, REGION
from detection_testing.aws.sqs.values import DEDUPLICATION_S

_NAME: Final = re.compile(r"(?=.{1,256}$)[A-Za-z0-9_-]+(\.fifo)?")
_MAX_RAW_ATTRIBUTES: Final = 10
"""Guide, message attributes: with raw delivery a message with more is thrown away."""

Attributes = Mapping[str, Mapping[str, str]]
"""Message attributes: name to ``DataType`` and ``StringValue`` or ``BinaryValue``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """What is published.

    Attributes:
        message: The text.
        subject: None without one.
        attributes: Message attributes.
        group_id: FIFO only.
        deduplication_id: FIFO only.
    """

    message: str
    subject: str | None = None
    attributes: Attributes = field(default_factory=dict)
    group_id: str | None = None
    deduplication_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Subscription:
    """A queue that gets what is published.

    Attributes:
        arn: ARN of the subscription.
        queue_arn: Where messages go.
        raw: The message as it is, not in an envelope.
        policy: Message attributes that it wants; None for all messages.
    """

    arn: str
    queue_arn: str
    raw: bool = False
    policy: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Topic:
    """A topic; FIFO if its name ends so."""

    name: str
    content_deduplication: bool = False
    subscriptions: list[Subscription] = field(default_factory=list)
    sequence: int = 0
    seen: dict[str, tuple[float, str]] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:{self.name}"

    @property
    def fifo(self) -> bool:
        """It keeps the order within a message group."""
        return self.name.endswith(".fifo")


class Topics:
    """The topics of the local account.

    Args:
        queues: Where messages go.
        recorded: Gets everything that is published.
    """

    def __init__(self, *, queues: QueueDelivery, recorded: list[RecordedPublish]) -> None:
        self._queues = queues
        self._recorded = recorded
        self._topics: dict[str, Topic] = {}

    def create(self, name: str, attributes: Mapping[str, str]) -> Topic:
        """Make a topic, or return the one of this name.

        Raises:
            QueryError: ``InvalidParameter``.
        """
        fifo = attributes.get("FifoTopic", "false") == "true"
        if not _NAME.fullmatch(name) or fifo != name.endswith(".fifo"):
            raise invalid("Topic Name")
        content = attributes.get("ContentBasedDeduplication", "false") == "true"
        made = Topic(name, content_deduplication=content)
        return self._topics.setdefault(made.arn, made)

    def delete(self, arn: str) -> None:
        """Delete a topic, if there is such a one."""
        self._topics.pop(arn, None)

    def get(self, arn: str) -> Topic:
        """Return a topic.

        Raises:
            QueryError: ``NotFound``; ``InvalidParameter`` for what is no ARN of a topic.
        """
        if not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+", arn):
            raise invalid("TopicArn")
        try:
            return self._topics[arn]
        except KeyError:
            raise QueryError("NotFound", "Topic does not exist", status=404) from None

    def arns(self) -> list[str]:
        """Return the ARNs of all topics."""
        return sorted(self._topics)

    def subscribe(self, arn: str, queue_arn: str, attributes: Mapping[str, str]) -> Subscription:
        """Let a queue get what is published from now on.

        Raises:
            QueryError: ``NotFound`` or ``InvalidParameter``.
        """
        topic = self.get(arn)
        queue = self._queues.find(queue_arn)
        # Guide: a FIFO queue subscribes to FIFO topics alone. SNS does not look whether a queue
        # exists; a test that mistypes its name wants to know.
        if queue is None or (queue.settings.fifo and not topic.fifo):
            raise invalid("SQS endpoint ARN")
        known = next((s for s in topic.subscriptions if s.queue_arn == queue_arn), None)
        made = known or Subscription(arn=f"{arn}:{uuid.uuid4()}", queue_arn=queue_arn)
        for name, value in attributes.items():
            change(made, name, value)
        if known is None:
            topic.subscriptions.append(made)
        return made

    def subscription(self, arn: str) -> Subscription:
        """Return a subscription.

        Raises:
            QueryError: ``NotFound``.
        """
        for topic in self._topics.values():
            for each in topic.subscriptions:
                if each.arn == arn:
                    return each
        raise QueryError("NotFound", "Subscription does not exist", status=404)

    def unsubscribe(self, arn: str) -> None:
        """End a subscription, if there is such a one."""
        for topic in self._topics.values():
            topic.subscriptions = [s for s in topic.subscriptions if s.arn != arn]

    def publish(self, topic: Topic, publish: Publish, *, now_s: float) -> tuple[str, str | None]:
        """Publish a message; return its id and, of a FIFO topic, its sequence number.

        Guide, FIFO topics: what has the deduplication id of the last five minutes is accepted and
        not delivered again.

        Raises:
            QueryError: ``InvalidParameter``.
        """
        deduplication_id = _deduplication_id(topic, publish)
        known = topic.seen.get(deduplication_id or "")
        again = known is not None and now_s < known[0] + DEDUPLICATION_S
        message_id = known[1] if known and again else str(uuid.uuid4())
        topic.sequence += not again
        sequence = f"{topic.sequence:020}" if topic.fifo else None
        if deduplication_id is not None and not again:
            topic.seen[deduplication_id] = (now_s, message_id)
        sent: list[str] = []
        for subscription in () if again else topic.subscriptions:
            body = publish.message
            if not subscription.raw:
                told = {"TopicArn": topic.arn, "MessageId": message_id}
                told |= {"SequenceNumber": sequence} if sequence else {}
                body = json.dumps(_envelope(subscription, publish, told, now_s=now_s))
            if self._deliver(subscription, publish, body, deduplication_id):
                sent.append(subscription.queue_arn.rpartition(":")[2])
        self._recorded.append(
            RecordedPublish(
                at_s=now_s,
                topic=topic.name,
                message_id=message_id,
                message=publish.message,
                attributes={n: v.get("StringValue", "") for n, v in publish.attributes.items()},
                deduplication_id=deduplication_id or "",
                queues=sent,
            )
        )
        return message_id, sequence

    def _deliver(
        self, to: Subscription, publish: Publish, body: str, deduplication_id: str | None
    ) -> bool:
        if to.policy is not None and not matches(to.policy, _values(publish.attributes)):
            return False
        if to.raw and len(publish.attributes) > _MAX_RAW_ATTRIBUTES:
            return False
        return self._queues.send(
            to.queue_arn,
            body,
            attributes=publish.attributes if to.raw else None,
            group_id=publish.group_id,
            deduplication_id=deduplication_id,
        )


def change(subscription: Subscription, name: str, value: str) -> None:
    """Change an attribute of a subscription.

    Raises:
        QueryError: ``InvalidParameter``.
    """
    if name == "RawMessageDelivery" and value in ("true", "false"):
        subscription.raw = value == "true"
    elif name == "FilterPolicy":
        subscription.policy = _policy(value)
    elif name != "FilterPolicyScope" or value != "MessageAttributes":
        raise invalid(f"Attributes Reason: {name}: {value}")


def invalid(what: str) -> QueryError:
    """Return the error for a parameter that SNS does not take."""
    return QueryError("InvalidParameter", f"Invalid parameter: {what}")


def _policy(text: str) -> Mapping[str, Any] | None:
    try:
        policy = json.loads(text)
        if policy == {}:
            return None  # SNS: an empty policy takes everything
        check(policy)
    except (ValueError, BadPatternError) as exc:
        raise invalid(f"FilterPolicy: {exc}") from None
    return dict(policy)


def _deduplication_id(topic: Topic, publish: Publish) -> str | None:
    if not topic.fifo:
        if publish.deduplication_id is not None:
            text = "MessageDeduplicationId Reason: The request includes MessageDeduplicationId "
            raise invalid(text + "parameter that is not valid for this topic type")
        return None
    if publish.group_id is None:
        text = "The MessageGroupId parameter is required for FIFO topics"
        raise QueryError("InvalidParameter", f"Invalid parameter: {text}")
    if publish.deduplication_id is not None:
        return publish.deduplication_id
    if not topic.content_deduplication:
        text = "The topic should either have ContentBasedDeduplication enabled or "
        raise invalid(text + "MessageDeduplicationId provided explicitly")
    return hashlib.sha256(publish.message.encode()).hexdigest()


def _values(attributes: Attributes) -> dict[str, Any]:
    """Return message attributes as filter policies compare them."""
    return {name: _value(attribute) for name, attribute in attributes.items()}


def _value(attribute: Mapping[str, str]) -> object:
    text, data_type = attribute.get("StringValue", ""), attribute.get("DataType", "")
    if data_type == "String.Array" or data_type.startswith("Number"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _envelope(
    to: Subscription, publish: Publish, told: Mapping[str, str], *, now_s: float
) -> dict[str, Any]:
    # Guide, "Parsing message formats in Amazon SNS"; the signature is not a real one.
    host = f"https://sns.{REGION}.amazonaws.com"
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds")
    envelope: dict[str, Any] = {
        "Type": "Notification",
        **told,
        **({"Subject": publish.subject} if publish.subject is not None else {}),
        "Message": publish.message,
        "Timestamp": at.replace("+00:00", "Z"),
        "SignatureVersion": "1",
        "Signature": "bG9jYWw=",
        "SigningCertURL": f"{host}/SimpleNotificationService-local.pem",
        "UnsubscribeURL": f"{host}/?Action=Unsubscribe&SubscriptionArn={to.arn}",
    }
    if publish.attributes:
        envelope["MessageAttributes"] = {
            name: {
                "Type": value["DataType"],
                "Value": value.get("StringValue", value.get("BinaryValue", "")),
            }
            for name, value in publish.attributes.items()
        }
    return envelope
