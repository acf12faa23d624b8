"""The services that take notifications, as far as they differ: calls, entries and answers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from detection_contract.aws.arns import DestinationArn, Service
from detection_contract.aws.quick.operations import QuickOperation
from detection_contract.notifications import DETAIL_TYPES, SOURCE
from detection_contract.result_keys import encoded
from detection_tracing.contexts import xray_header
from detection_worker.results.base import Notification
from detection_worker.results.forms import form, quoted

_SNS_VERSION: Final = "2010-03-31"
_MAX_TOKEN_CHARS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why a service did not take one entry of a call that it took.

    Attributes:
        code: Its error code.
        message: Its words.
    """

    code: str
    message: str


class Destination(Protocol):
    """A topic, queue or bus."""

    @property
    def arn(self) -> DestinationArn:
        """Its ARN."""
        ...

    def send(self, batch: Sequence[Notification]) -> Mapping[int, Refused]:
        """Send up to ``MAX_ENTRIES``; return those that were refused, by position.

        Raises:
            Exception: Any of botocore's, if the whole call failed.
        """
        ...


class SnsTopic:
    """An SNS topic."""

    OPERATION: Final = "PublishBatch"

    def __init__(self, client: Any, quick: QuickOperation, arn: DestinationArn) -> None:
        self.arn = arn
        self._client, self._quick = client, quick

    def send(self, batch: Sequence[Notification]) -> Mapping[int, Refused]:
        """Publish a batch."""
        head = {"Action": self.OPERATION, "Version": _SNS_VERSION, "TopicArn": self.arn.arn}
        entries = (self._form(at, each) for at, each in enumerate(batch))
        body = "&".join((form(head), *entries)).encode()
        answer = self._quick.post(body) or self._client.publish_batch(
            TopicArn=self.arn.arn,
            PublishBatchRequestEntries=[self._entry(at, each) for at, each in enumerate(batch)],
        )
        return _refused(answer, len(batch))

    def _entry(self, at: int, notification: Notification) -> dict[str, Any]:
        return {
            "Id": str(at),
            "Message": notification.body,
            "MessageAttributes": _attributes(notification),
            **_order(self.arn, notification),
        }

    def _form(self, at: int, notification: Notification) -> str:
        """Return an entry in the query protocol."""
        place = f"PublishBatchRequestEntries.member.{at + 1}"
        found = f"{place}.Id={at}&{place}.Message={quoted(notification.body)}"
        for number, (name, value) in enumerate(notification.attributes.items(), start=1):
            attribute = f"&{place}.MessageAttributes.entry.{number}."
            found += (
                f"{attribute}Name={quoted(name)}{attribute}Value.DataType=String"
                f"{attribute}Value.StringValue={quoted(value)}"
            )
        for name, value in _order(self.arn, notification).items():
            found += f"&{place}.{name}={quoted(value)}"
        return found


class SqsQueue:
    """An SQS queue."""

    OPERATION: Final = "SendMessageBatch"

    def __init__(self, client: Any, quick: QuickOperation, arn: DestinationArn) -> None:
        self.arn = arn
        self._client, self._quick = client, quick
        # Asking SQS for the URL would need another permission.
        endpoint = str(client.meta.endpoint_url).rstrip("/")
        self._url = f"{endpoint}/{arn.account}/{arn.name}"

    def send(self, batch: Sequence[Notification]) -> Mapping[int, Refused]:
        """Send a batch."""
        entries = [
            {
                "Id": str(at),
                "MessageBody": notification.body,
                "MessageAttributes": _attributes(notification),
                **_order(self.arn, notification),
            }
            for at, notification in enumerate(batch)
        ]
        request = {"QueueUrl": self._url, "Entries": entries}
        quick = self._quick.post(json.dumps(request).encode())
        answer = quick or self._client.send_message_batch(**request)
        return _refused(answer, len(batch))


class EventBus:
    """An EventBridge event bus."""

    OPERATION: Final = "PutEvents"

    def __init__(self, client: Any, quick: QuickOperation, arn: DestinationArn) -> None:
        self.arn = arn
        self._client, self._quick = client, quick

    def send(self, batch: Sequence[Notification]) -> Mapping[int, Refused]:
        """Put a batch of events."""
        entries = [
            {
                "EventBusName": self.arn.arn,
                "Source": SOURCE,
                "DetailType": DETAIL_TYPES[notification.kind],
                "Detail": notification.body,
                "Resources": [notification.media_arn] if notification.media_arn else [],
                **_trace_header(notification),
            }
            for notification in batch
        ]
        quick = self._quick.post(json.dumps({"Entries": entries}).encode())
        answers = (quick or self._client.put_events(Entries=entries)).get("Entries", ())
        refused = {
            at: Refused(code=str(each["ErrorCode"]), message=str(each.get("ErrorMessage", "")))
            for at, each in enumerate(answers)
            if each.get("ErrorCode")
        }
        return refused | _unanswered(range(len(answers), len(batch)))


DESTINATIONS: Final[Mapping[Service, type[SnsTopic | SqsQueue | EventBus]]] = {
    Service.SNS: SnsTopic,
    Service.SQS: SqsQueue,
    Service.EVENTBRIDGE: EventBus,
}


def _attributes(notification: Notification) -> dict[str, dict[str, str]]:
    return {
        name: {"DataType": "String", "StringValue": value}
        for name, value in notification.attributes.items()
    }


def _trace_header(notification: Notification) -> dict[str, str]:
    """Return the context of an event: EventBridge has no attributes, and knows X-Ray's header."""
    header = xray_header(notification.attributes)
    return {} if header is None else {"TraceHeader": header}


def _order(arn: DestinationArn, notification: Notification) -> dict[str, str]:
    """Return group and deduplication id of a FIFO topic or queue."""
    if not arn.fifo:
        return {}
    group = notification.attributes.get("request_id", notification.id)
    return {
        "MessageGroupId": _token(group),
        "MessageDeduplicationId": _token(notification.id),
    }


def _token(text: str) -> str:
    """Return ``text`` as letters, digits and punctuation, at most 128 of them."""
    found = encoded(text)
    return found if len(found) <= _MAX_TOKEN_CHARS else hashlib.sha256(text.encode()).hexdigest()


def _refused(answer: Mapping[str, Any], count: int) -> dict[int, Refused]:
    """Return the failures in an answer of SNS or SQS, by position."""
    failed = {
        int(each["Id"]): Refused(
            code=str(each.get("Code", "")), message=str(each.get("Message", ""))
        )
        for each in answer.get("Failed", ())
    }
    done = {int(each["Id"]) for each in answer.get("Successful", ())}
    return failed | _unanswered(set(range(count)) - done - failed.keys())


def _unanswered(positions: Sequence[int] | set[int]) -> dict[int, Refused]:
    return {
        at: Refused(code="NoAnswer", message="the answer does not mention it") for at in positions
    }
