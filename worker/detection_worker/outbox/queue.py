"""The SQS queue of the outbox."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import boto3

from detection_contract.aws.errors import plain_code
from detection_contract.aws.quick.operations import QuickOperation
from detection_contract.aws.sqs_urls import is_same_queue
from detection_worker.errors import UsageError
from detection_worker.results.group_commit import GroupCommit
from detection_worker.settings import AwsSettings
from detection_worker.sources.base import (
    EntryFailure,
    QueueError,
    QueueFacts,
    ReceivedMessage,
    VisibilityChange,
)
from detection_worker.sources.sqs import CONTROL_TIMEOUT_S, SqsSource
from detection_worker.sources.sqs_clients import explained, queue_client

FACTS_AGE_S: Final = 300.0
"""The redrive policy is read again after this time: it may have been forgotten at first."""
BATCH: Final = 10
"""Most entries of one SQS batch call."""
BATCH_BYTES: Final = 240 * 1024
"""Most of them together: queues made before August 2025 take 256 KiB."""
SEND_LINGER_S: Final = 0.25
"""How long entries of an outage are collected: forty a second fill a call, and none is urgent.
Deletes wait less: a thread that has delivered one waits for its delete, then takes the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to send.

    Attributes:
        body: Its text, in ASCII.
        delay_s: Seconds until it is visible, 0 to 900.
    """

    body: str
    delay_s: int


class OutboxQueue:
    """One standard queue; thread-safe. Threads that write at the same time share a call.

    Args:
        session: Session from ``aws_session.make_session``.
        aws: As for ``SqsSource``.
        queue_url: ``https://host/account/name``.
        wait_time_s: Longest ``wait_s`` of any ``receive``, in seconds.

    Raises:
        QueueError: ``queue_url`` is not a URL.
    """

    def __init__(
        self, session: boto3.Session, aws: AwsSettings, queue_url: str, *, wait_time_s: int
    ) -> None:
        self.url = queue_url
        self._source = SqsSource(session, aws, queue_url, wait_time_s=wait_time_s)
        self._sending = queue_client(session, aws, queue_url, read_timeout_s=CONTROL_TIMEOUT_S)
        self._quick = QuickOperation(session, self._sending, "SendMessageBatch")
        self._dead_letter_url: tuple[str | None, float] | None = None
        self._sends: GroupCommit[Outgoing] = GroupCommit(
            self._send_batch,
            size_bytes=lambda message: len(message.body),
            max_entries=BATCH,
            max_bytes=BATCH_BYTES,
            linger_s=SEND_LINGER_S,
        )
        self._deletes: GroupCommit[ReceivedMessage] = GroupCommit(
            self._delete_batch, size_bytes=lambda _: 0, max_entries=BATCH, max_bytes=BATCH_BYTES
        )

    def close(self) -> None:
        """Close all connections; no call may run."""
        self._source.close()
        self._sending.close()

    def facts(self) -> QueueFacts:
        """Read the queue's attributes; raises ``QueueError``."""
        facts = self._source.facts()
        self._dead_letter_url = facts.dead_letter_queue_url, time.monotonic()
        return facts

    def dead_letter_url(self) -> str | None:
        """Return the URL of the dead-letter queue, None without one; raises ``QueueError``."""
        known = self._dead_letter_url
        if known is None or time.monotonic() - known[1] > FACTS_AGE_S:
            return self.facts().dead_letter_queue_url
        return known[0]

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_s: int
    ) -> list[ReceivedMessage]:
        """Long-poll once; see ``MessageSource.receive``."""
        return self._source.receive(
            max_messages=max_messages, wait_s=wait_s, visibility_s=visibility_s
        )

    def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        """Send messages; return why each was not sent, None for those that SQS has."""
        return self._sends.put_all(messages)

    def delete(self, messages: Sequence[ReceivedMessage]) -> list[Exception | None]:
        """Delete messages; return why each was not deleted, None for those that were."""
        return self._deletes.put_all(messages)

    def hide(self, messages: Sequence[ReceivedMessage], *, seconds: int) -> list[EntryFailure]:
        """Make up to ten messages visible again in ``seconds``; 0 means at once."""
        return self._source.change_visibility(
            [
                VisibilityChange(
                    message_id=each.message_id, receipt_handle=each.receipt_handle, seconds=seconds
                )
                for each in messages
            ]
        )

    def dead_letter(
        self, message: ReceivedMessage, *, body: str, queue_url: str, code: str, reason: str
    ) -> None:
        """Send a message to the dead-letter queue with another body, and the reason."""
        self._source.dead_letter(
            replace(message, body=body), queue_url=queue_url, code=code, reason=reason
        )

    def _send_batch(self, messages: Sequence[Outgoing]) -> list[QueueError | None]:
        entries = [
            {"Id": str(number), "MessageBody": each.body, "DelaySeconds": each.delay_s}
            for number, each in enumerate(messages)
        ]
        request = {"QueueUrl": self.url, "Entries": entries}
        with explained(self.url):
            answer: Mapping[str, Any] = self._quick.post(
                json.dumps(request).encode()
            ) or self._sending.send_message_batch(**request)
        done = {int(each["Id"]) for each in answer.get("Successful", ())}
        codes = {int(each["Id"]): str(each.get("Code", "")) for each in answer.get("Failed", ())}
        return [
            None if number in done else _failure(plain_code(codes.get(number, "NoAnswer")))
            for number in range(len(messages))
        ]

    def _delete_batch(self, messages: Sequence[ReceivedMessage]) -> list[QueueError | None]:
        handles = [(each.message_id, each.receipt_handle) for each in messages]
        failed = {each.message_id: _failure(each.code) for each in self._source.delete(handles)}
        return [failed.get(each.message_id) for each in messages]


def check_outbox_url(url: str, *, others: Sequence[str | None] = ()) -> None:
    """Check what the URL of an outbox says.

    Args:
        url: Its URL.
        others: Queues that are in use for something else; None where there is none.

    Raises:
        UsageError: It cannot be an outbox.
    """
    if url.partition("?")[0].rstrip("/").endswith(".fifo"):
        raise UsageError(
            f"The outbox cannot be a FIFO queue: {url}\n"
            "SQS delays single messages on standard queues only: create one for the outbox."
        )
    if any(other is not None and is_same_queue(url, other) for other in others):
        raise UsageError(
            f"The outbox must be a queue of its own: {url} is in use\n"
            "Create another standard queue, with a dead-letter queue, for --outbox."
        )


def _failure(code: str) -> QueueError:
    return QueueError(f"SQS answered {code}", code=code, fatal=False)
