"""Amazon SQS, and services that speak its JSON protocol, as a message source."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from detection_contract import user_messages
from detection_contract.aws.errors import error_code, plain_code
from detection_contract.aws.quick.operations import QuickOperation
from detection_contract.aws.redrive import dead_letter_url, parse_redrive_policy
from detection_worker.settings import AwsSettings
from detection_worker.sources.base import (
    EntryFailure,
    MessageAttribute,
    QueueError,
    QueueFacts,
    ReceivedMessage,
    VisibilityChange,
)
from detection_worker.sources.dead_letters import (
    MAX_MESSAGE_BYTES,
    OLD_MAX_MESSAGE_BYTES,
    dead_letter_request,
)
from detection_worker.sources.sqs_clients import explained, queue_client

POLL_MARGIN_S: Final = 5.0
"""Time for the answer to a long poll after its wait ends."""
POLL_ATTEMPTS: Final = 2
"""Few: messages of a poll whose answer was lost stay invisible until their timeout ends."""
CONTROL_TIMEOUT_S: Final = 10.0
"""For deletes and extensions: three attempts end before a lease of 30 s does."""

_LOST: Final = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight"})
_FACTS: Final = (
    "VisibilityTimeout",
    "RedrivePolicy",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
SYSTEM_ATTRIBUTES: Final = (
    "ApproximateReceiveCount",
    "SentTimestamp",
    "MessageGroupId",
    "AWSTraceHeader",
)


class SqsSource:
    """One queue; thread-safe. See ``MessageSource`` for what its methods promise."""

    def __init__(
        self, session: boto3.Session, aws: AwsSettings, queue_url: str, *, wait_time_s: int
    ) -> None:
        """Connect to nothing yet.

        Args:
            session: Session from ``aws_session.make_session``.
            aws: Region for queue URLs that name none, and the endpoint. Without an endpoint, a
                queue URL on a host other than AWS's public ones (an emulator, a VPC endpoint) is
                called at that host.
            queue_url: ``https://host/account/name``.
            wait_time_s: Longest ``wait_s`` of any ``receive``, in seconds.

        Raises:
            QueueError: ``queue_url`` is not a URL.
        """
        self._queue_url = queue_url
        self._control = queue_client(session, aws, queue_url, read_timeout_s=CONTROL_TIMEOUT_S)
        # A client of its own, because an extension that hangs must fail long before a poll does.
        self._poll = queue_client(
            session,
            aws,
            queue_url,
            read_timeout_s=wait_time_s + POLL_MARGIN_S,
            attempts=POLL_ATTEMPTS,
        )
        self._receive = QuickOperation(session, self._poll, "ReceiveMessage")
        self._delete = QuickOperation(session, self._control, "DeleteMessageBatch")
        self._change = QuickOperation(session, self._control, "ChangeMessageVisibilityBatch")

    def close(self) -> None:
        """Close all connections; no call may run."""
        self._control.close()
        self._poll.close()

    def facts(self) -> QueueFacts:
        """Read the queue's attributes."""
        with explained(self._queue_url):
            answer = self._control.get_queue_attributes(
                QueueUrl=self._queue_url, AttributeNames=_FACTS
            )
        attributes: Mapping[str, str] = answer.get("Attributes", {})
        if not attributes:
            # Any other web server may answer 200; boto3 reads that as an answer without
            # content, and every poll as an empty queue.
            text = user_messages.QUEUE_UNREACHABLE.format(code="NotSqs", url=self._queue_url)
            raise QueueError(text, code="NotSqs", fatal=False)
        policy = parse_redrive_policy(attributes.get("RedrivePolicy"))
        return QueueFacts(
            visibility_timeout_s=int(attributes.get("VisibilityTimeout", 30)),
            max_receive_count=policy.max_receive_count if policy else None,
            dead_letter_queue_url=(
                dead_letter_url(policy, source_url=self._queue_url) if policy else None
            ),
            visible=int(attributes.get("ApproximateNumberOfMessages", 0)),
            in_flight=int(attributes.get("ApproximateNumberOfMessagesNotVisible", 0)),
            delayed=int(attributes.get("ApproximateNumberOfMessagesDelayed", 0)),
            fifo=self._queue_url.endswith(".fifo"),
        )

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_s: int
    ) -> list[ReceivedMessage]:
        """Long-poll once."""
        request = {
            "QueueUrl": self._queue_url,
            "MaxNumberOfMessages": max_messages,
            "WaitTimeSeconds": wait_s,
            "VisibilityTimeout": visibility_s,
            "MessageSystemAttributeNames": SYSTEM_ATTRIBUTES,
            "MessageAttributeNames": ("All",),
        }
        with explained(self._queue_url):
            quick = self._receive.post(json.dumps(request).encode())
            answer = quick or self._poll.receive_message(**request)
        return [received_message(message) for message in answer.get("Messages", ())]

    def delete(self, handles: Sequence[tuple[str, str]]) -> list[EntryFailure]:
        """Delete up to 10 messages, given as (message id, receipt handle)."""
        entries = [{"ReceiptHandle": handle} for _, handle in handles]
        return self._batch(
            self._delete,
            self._control.delete_message_batch,
            entries=entries,
            ids=[each for each, _ in handles],
        )

    def change_visibility(self, changes: Sequence[VisibilityChange]) -> list[EntryFailure]:
        """Extend or release up to 10 messages."""
        entries = [
            {"ReceiptHandle": change.receipt_handle, "VisibilityTimeout": change.seconds}
            for change in changes
        ]
        return self._batch(
            self._change,
            self._control.change_message_visibility_batch,
            entries=entries,
            ids=[change.message_id for change in changes],
        )

    def dead_letter(
        self, message: ReceivedMessage, *, queue_url: str, code: str, reason: str
    ) -> None:
        """Copy a message to the dead-letter queue with the reason as message attributes."""
        with explained(queue_url):
            # Reading the dead-letter queue's own limit would need another permission.
            for max_bytes in (MAX_MESSAGE_BYTES, OLD_MAX_MESSAGE_BYTES, 0):
                request = dead_letter_request(
                    message,
                    queue_url=queue_url,
                    source_url=self._queue_url,
                    code=code,
                    reason=reason,
                    max_bytes=max_bytes,
                )
                try:
                    self._control.send_message(**request)
                except ClientError as exc:
                    if not max_bytes or error_code(exc.response) != "InvalidParameterValue":
                        raise
                else:
                    return

    def _batch(
        self, quick: QuickOperation, call: Any, *, entries: list[dict[str, Any]], ids: list[str]
    ) -> list[EntryFailure]:
        if not entries:
            return []
        # By position: a message may occur twice, and its id may not be a valid entry id.
        numbered = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
        request = {"QueueUrl": self._queue_url, "Entries": numbered}
        with explained(self._queue_url):
            answer = quick.post(json.dumps(request).encode()) or call(**request)
        failed = {int(each["Id"]): each for each in answer.get("Failed", ())}
        done = {int(each["Id"]) for each in answer.get("Successful", ())}
        return [
            _entry_failure(message_id, failed.get(number, {}))
            for number, message_id in enumerate(ids)
            if number not in done
        ]


def received_message(message: Mapping[str, Any]) -> ReceivedMessage:
    """Return a message of ``ReceiveMessage``'s answer."""
    system: Mapping[str, str] = message.get("Attributes", {})
    sent_ms = system.get("SentTimestamp")
    return ReceivedMessage(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message.get("Body", ""),
        receive_count=max(1, int(system.get("ApproximateReceiveCount", 1))),
        sent_at_s=int(sent_ms) / 1000 if sent_ms else None,
        attributes={
            name: MessageAttribute(
                data_type=value["DataType"],
                value=value["BinaryValue"] if "BinaryValue" in value else value["StringValue"],
            )
            for name, value in message.get("MessageAttributes", {}).items()
        },
        group_id=system.get("MessageGroupId"),
        trace_header=system.get("AWSTraceHeader"),
    )


def _entry_failure(message_id: str, failed: Mapping[str, Any]) -> EntryFailure:
    """Return the failure of an entry; an entry that the answer omits may be retried."""
    code = plain_code(str(failed.get("Code", "NoAnswer")))
    # Only the message distinguishes an expired handle from a timeout out of range.
    about_handle = "receipt" in str(failed.get("Message", "")).lower()
    lost = code in _LOST or (code == "InvalidParameterValue" and about_handle)
    return EntryFailure(message_id=message_id, code=code, lost=lost)
