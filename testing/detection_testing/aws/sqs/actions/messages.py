"""The SQS actions on messages: send, receive, delete, change visibility, singly and in batches."""

from collections.abc import Awaitable, Callable
from typing import Any

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.sqs.actions.parameters import (
    Answer,
    Parameters,
    integer_of,
    queue_of,
    text_of,
)
from detection_testing.aws.sqs.errors import SqsError, bad_value
from detection_testing.aws.sqs.messages import (
    attributes_md5,
    check_batch,
    check_message,
    message_bytes,
    render,
)
from detection_testing.aws.sqs.polls import LongPolls
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.registry import QueueRegistry
from detection_testing.aws.sqs.values import MAX_MESSAGE_BYTES, Delivery, Message
from detection_testing.http.values import Request, Spoiled

MAX_WAIT_S = 20
"""SQS API reference, ReceiveMessage."""

Action = Callable[[Parameters, Request], Answer | Awaitable[Answer]]
_EntryAction = Callable[[SqsQueue, Parameters], Answer]


class MessageActions:
    """Actions on messages, each from decoded parameters to a decoded answer.

    Args:
        registry: The queues.
        clock: The server's.
        orphan_on_disconnect: See ``SqsHttp``.
    """

    def __init__(
        self, *, registry: QueueRegistry, clock: ServerClock, orphan_on_disconnect: bool
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._orphan_on_disconnect = orphan_on_disconnect
        self._polls = LongPolls(clock)

    def actions(self) -> dict[str, Action]:
        """Return the actions by name."""
        return {
            "SendMessage": self._single(self._send_entry),
            "SendMessageBatch": self._send_batch,
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._single(self._delete_entry),
            "DeleteMessageBatch": self._batch(self._delete_entry),
            "ChangeMessageVisibility": self._single(self._change_entry),
            "ChangeMessageVisibilityBatch": self._batch(self._change_entry),
        }

    def touch(self, queue: SqsQueue) -> None:
        """Let waiting receives look at a queue that was changed."""
        self._polls.touch(queue)

    def _single(self, entry_action: _EntryAction) -> Action:
        def act(parameters: Parameters, request: Request) -> Answer:
            del request
            queue = queue_of(parameters, self._registry).queue
            answer = entry_action(queue, parameters)
            self._polls.touch(queue)
            return answer

        return act

    def _batch(self, entry_action: _EntryAction) -> Action:
        def act(parameters: Parameters, request: Request) -> Answer:
            queue = queue_of(parameters, self._registry).queue
            entries = check_batch(parameters.get("Entries"))
            answer = _each(queue, entries, entry_action, request.spoiled)
            self._polls.touch(queue)
            return answer

        return act

    def _send_batch(self, parameters: Parameters, request: Request) -> Answer:
        # SQS API reference, SendMessageBatch: the sum of all entries is at most 1 MiB too.
        queue = queue_of(parameters, self._registry).queue
        entries = check_batch(parameters.get("Entries"))
        total = sum(message_bytes(entry) for entry in entries)
        if total > MAX_MESSAGE_BYTES:
            text = f"Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. "
            raise SqsError("BatchRequestTooLong", text + f"You have sent {total} bytes.")
        answer = _each(queue, entries, self._send_entry, request.spoiled)
        self._polls.touch(queue)
        return answer

    def _send_entry(self, queue: SqsQueue, entry: Parameters) -> Answer:
        attributes = entry.get("MessageAttributes") or {}
        check_message(
            entry.get("MessageBody"), attributes, max_bytes=queue.settings.max_message_bytes
        )
        trace = (entry.get("MessageSystemAttributes") or {}).get("AWSTraceHeader") or {}
        message = queue.send(
            entry["MessageBody"],
            now_s=self._clock.now_s(),
            delay_s=integer_of(entry, "DelaySeconds"),
            attributes=attributes,
            group_id=entry.get("MessageGroupId"),
            deduplication_id=entry.get("MessageDeduplicationId"),
            trace_header=trace.get("StringValue"),
        )
        return _sent(message)

    def _delete_entry(self, queue: SqsQueue, entry: Parameters) -> Answer:
        queue.delete(text_of(entry, "ReceiptHandle"), now_s=self._clock.now_s())
        return {}

    def _change_entry(self, queue: SqsQueue, entry: Parameters) -> Answer:
        seconds = integer_of(entry, "VisibilityTimeout")
        if seconds is None:
            text = "The request must contain the parameter VisibilityTimeout."
            raise SqsError("MissingParameter", text)
        handle = text_of(entry, "ReceiptHandle")
        queue.change_visibility(handle, seconds, now_s=self._clock.now_s())
        return {}

    def _receive(self, parameters: Parameters, request: Request) -> Answer | Awaitable[Answer]:
        queue = queue_of(parameters, self._registry).queue
        wait_s = integer_of(parameters, "WaitTimeSeconds")
        wait_s = queue.settings.wait_s if wait_s is None else wait_s
        if not 0 <= wait_s <= MAX_WAIT_S:
            reason = "Must be >= 0 and <= 20, if provided."
            raise bad_value("WaitTimeSeconds", wait_s, reason)
        deliveries = self._take(queue, parameters)
        if deliveries or wait_s == 0:
            return _received(deliveries, parameters)
        until_s = self._clock.now_s() + wait_s
        return self._poll(queue, parameters, request, until_s=until_s)

    async def _poll(
        self, queue: SqsQueue, parameters: Parameters, request: Request, *, until_s: float
    ) -> Answer:
        while True:
            await self._polls.wait(queue, until_s=until_s)
            if request.peer.gone and not self._orphan_on_disconnect:
                self._polls.touch(queue)
                return {}
            queue_of(parameters, self._registry)
            deliveries = self._take(queue, parameters)
            if deliveries or self._clock.now_s() >= until_s:
                return _received(deliveries, parameters)

    def _take(self, queue: SqsQueue, parameters: Parameters) -> list[Delivery]:
        count = integer_of(parameters, "MaxNumberOfMessages")
        deliveries = queue.receive(
            now_s=self._clock.now_s(),
            max_messages=1 if count is None else count,
            visibility_s=integer_of(parameters, "VisibilityTimeout"),
        )
        if deliveries:
            self._polls.touch(queue)
        return deliveries


def _each(
    queue: SqsQueue, entries: list[Parameters], action: _EntryAction, spoiled: Spoiled | None
) -> Answer:
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for at, entry in enumerate(entries):
        try:
            _spoil(at, spoiled)
            done.append({"Id": entry["Id"], **action(queue, entry)})
        except SqsError as exc:
            failed.append(
                {
                    "Id": entry["Id"],
                    "SenderFault": exc.wire.status < 500,
                    "Code": exc.wire.query_code,
                    "Message": exc.message,
                }
            )
    # A list without entries is left out, as from SQS.
    answer = {"Successful": done, "Failed": failed}
    return {name: entries for name, entries in answer.items() if entries}


def _spoil(at: int, spoiled: Spoiled | None) -> None:
    if spoiled is not None and at < spoiled.entries:
        raise SqsError(spoiled.code or "InternalFailure", "Injected")


def _sent(message: Message) -> Answer:
    answer = {"MessageId": message.message_id, "MD5OfMessageBody": message.body_md5}
    if message.attributes:
        answer["MD5OfMessageAttributes"] = attributes_md5(message.attributes)
    if message.deduplication_id is not None:
        answer["SequenceNumber"] = f"{message.sequence:020}"
    return answer


def _received(deliveries: list[Delivery], parameters: Parameters) -> Answer:
    if not deliveries:
        return {}
    system = parameters.get("MessageSystemAttributeNames") or []
    system = [*system, *(parameters.get("AttributeNames") or [])]
    names = parameters.get("MessageAttributeNames") or []
    shown = [render(d, system_names=system, attribute_names=names) for d in deliveries]
    return {"Messages": shown}
