"""SQS as it may be: at least once, in any order, and any call may fail or lose its answer."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError, ReadTimeoutError

from detection_testing.turns.turns import Turns

URL: Final = "https://sqs.us-east-1.amazonaws.com/123456789012/queue"
DEAD_URL: Final = "https://sqs.us-east-1.amazonaws.com/123456789012/dead"
SLOW_CALL_S: Final = 40.0
"""Three attempts of a client that waits ten seconds for each answer, and the pauses between."""
_DEAD_ARN: Final = "arn:aws:sqs:us-east-1:123456789012:dead"


@dataclass(slots=True, kw_only=True, eq=False)
class Stored:
    """A message.

    Attributes:
        message_id: Its id.
        body: Its text.
        visible_s: When it can be received.
        sent_s: When it was sent.
        handle: The receipt handle of the last receive.
        receives: How many there were.
        deleted: It was deleted; it may still be delivered.
    """

    message_id: str
    body: str
    visible_s: float
    sent_s: float
    handle: str = ""
    receives: int = 0
    deleted: bool = False


class Sqs:
    """One standard queue with a dead-letter queue, and clients of it.

    Args:
        turns: Every call gives up the turn before it has an effect, and before its answer.
        rates: How likely each fault is, 0 to 1: ``throttled`` (no effect), ``answer_lost``,
            ``sent_twice``, ``entry_failed``, ``again`` (delivered though in flight), ``back``
            (delivered though deleted), ``stale_delete`` (an old handle deletes nothing).
        on_delete: Called when a message is gone for good.
        dead_letters: The queue has a dead-letter queue.

    Attributes:
        messages: What the queue holds, by id.
        deleted: What was deleted.
        dead: Bodies in the dead-letter queue.
        dead_fault: Error code of every send to the dead-letter queue; None takes them.
    """

    def __init__(
        self,
        turns: Turns,
        rates: Mapping[str, float],
        *,
        on_delete: Callable[[Stored], None] = lambda _: None,
        dead_letters: bool = True,
    ) -> None:
        self._turns = turns
        self.rates = dict(rates)
        self._on_delete = on_delete
        self.dead_letters = dead_letters
        self.dead_fault: str | None = None
        self.messages: dict[str, Stored] = {}
        self.deleted: list[Stored] = []
        self.dead: list[str] = []
        self.seen: Counter[str] = Counter()
        self._number = 0

    def happens(self, fault: str) -> bool:
        """Say whether a fault strikes now."""
        strikes = self._turns.random.random() < self.rates.get(fault, 0.0)
        if strikes:
            self.seen[fault] += 1
            self._turns.note(fault)
        return strikes

    def send(self, body: str, *, delay_s: float = 0.0) -> str:
        """Put a message on the queue."""
        self._number += 1
        message_id = f"m{self._number}"
        now_s = self._turns.now_s
        self.messages[message_id] = Stored(
            message_id=message_id, body=body, visible_s=now_s + delay_s, sent_s=now_s
        )
        return message_id

    def visible(self) -> list[Stored]:
        """Return what can be received."""
        return [m for m in self.messages.values() if m.visible_s <= self._turns.now_s]

    def next_s(self) -> float | None:
        """Return when the next message becomes visible; None without one."""
        later = (m.visible_s for m in self.messages.values() if m.visible_s > self._turns.now_s)
        return min(later, default=None)

    def expire(self) -> None:
        """Let the visibility timeout of a message end."""
        hidden = [m for m in self.messages.values() if m.handle]
        if hidden:
            self._turns.random.choice(hidden).visible_s = self._turns.now_s

    def redrive(self) -> None:
        """Move a message back from the dead-letter queue."""
        if self.dead:
            number = self._turns.random.randrange(len(self.dead))
            message_id = self.send(self.dead.pop(number))
            self._turns.note(f"redriven as {message_id}")

    # -- the client ----------------------------------------------------------------------------

    def receive_message(
        self, *, MaxNumberOfMessages: int, WaitTimeSeconds: int, VisibilityTimeout: int, **_: Any
    ) -> Mapping[str, Any]:
        self._begin()
        until_s = self._turns.now_s + WaitTimeSeconds
        self._turns.wait(lambda: bool(self.visible()), until_s=until_s)
        found = self.visible()
        self._turns.random.shuffle(found)
        if self.happens("again"):
            found += [m for m in self.messages.values() if m.handle]
        if self.deleted and self.happens("back"):
            found.append(self._turns.random.choice(self.deleted))
        unique = list({m.message_id: m for m in found}.values())
        taken = unique[:MaxNumberOfMessages]
        answer = [self._delivery(m, VisibilityTimeout) for m in taken]
        self._turns.note("received " + " ".join(m.message_id for m in taken))
        self._answer()
        return {"Messages": answer} if answer else {}

    def delete_message_batch(
        self, *, Entries: Sequence[Mapping[str, str]], **_: Any
    ) -> Mapping[str, Any]:
        return self._batch(Entries, lambda each: self._delete(each["ReceiptHandle"]))

    def change_message_visibility_batch(
        self, *, Entries: Sequence[Mapping[str, Any]], **_: Any
    ) -> Mapping[str, Any]:
        def change(each: Mapping[str, Any]) -> str | None:
            stored = self._find(each["ReceiptHandle"])
            if stored is None or stored.handle != each["ReceiptHandle"]:
                return "ReceiptHandleIsInvalid"
            stored.visible_s = self._turns.now_s + each["VisibilityTimeout"]
            return None

        return self._batch(Entries, change)

    def send_message_batch(
        self, *, Entries: Sequence[Mapping[str, Any]], **_: Any
    ) -> Mapping[str, Any]:
        def send(each: Mapping[str, Any]) -> None:
            for _ in range(1 + self.happens("sent_twice")):
                message_id = self.send(each["MessageBody"], delay_s=each.get("DelaySeconds", 0))
                self._turns.note(f"sent {message_id}")

        return self._batch(Entries, send)

    def send_message(self, *, QueueUrl: str, MessageBody: str, **_: Any) -> Mapping[str, Any]:
        if QueueUrl != DEAD_URL:
            raise _error("AWS.SimpleQueueService.NonExistentQueue")
        self._begin()
        if self.dead_fault is not None:
            raise _error(self.dead_fault)
        self.dead.append(MessageBody)
        self._turns.note("dead-lettered")
        if self.happens("redriven_at_once"):
            self.redrive()
            self._turns.wait(lambda: False, until_s=self._turns.now_s + 10.0)
        self._answer()
        return {}

    def get_queue_attributes(self, **_: Any) -> Mapping[str, Any]:
        self._begin()
        policy = {"deadLetterTargetArn": _DEAD_ARN, "maxReceiveCount": 1000}
        more = {"RedrivePolicy": json.dumps(policy)} if self.dead_letters else {}
        return {"Attributes": {"VisibilityTimeout": "30", **more}}

    def close(self) -> None:
        """Do nothing."""

    def _begin(self) -> None:
        self._pass_time()
        if self.happens("throttled"):
            raise _error("ThrottlingException")

    def _pass_time(self) -> None:
        if self.happens("slow_call"):
            seconds = self._turns.random.choice([1.0, 10.0, SLOW_CALL_S])
            self._turns.wait(lambda: False, until_s=self._turns.now_s + seconds)
        else:
            self._turns.pause()

    def _answer(self) -> None:
        self._pass_time()
        if self.happens("answer_lost"):
            raise ReadTimeoutError(endpoint_url=URL)

    def _batch(
        self, entries: Sequence[Mapping[str, Any]], act: Callable[[Mapping[str, Any]], str | None]
    ) -> Mapping[str, Any]:
        self._begin()
        codes = {
            each["Id"]: "InternalError" if self.happens("entry_failed") else act(each)
            for each in entries
        }
        self._answer()
        return {
            "Successful": [{"Id": i} for i, code in codes.items() if code is None],
            "Failed": [{"Id": i, "Code": code} for i, code in codes.items() if code is not None],
        }

    def _delivery(self, message: Stored, visibility_s: int) -> dict[str, Any]:
        message.receives += 1
        message.handle = f"{message.message_id}.{message.receives}"
        message.visible_s = self._turns.now_s + visibility_s
        return {
            "MessageId": message.message_id,
            "ReceiptHandle": message.handle,
            "Body": message.body,
            "Attributes": {"ApproximateReceiveCount": str(message.receives)},
        }

    def _find(self, handle: str) -> Stored | None:
        return self.messages.get(handle.partition(".")[0])

    def _delete(self, handle: str) -> None:
        stored = self._find(handle)
        if stored is None or (stored.handle != handle and self.happens("stale_delete")):
            return
        del self.messages[stored.message_id]
        stored.deleted = True
        self.deleted.append(stored)
        self._turns.note(f"deleted {stored.message_id}")
        self._on_delete(stored)


class NoQuickCalls:
    """In place of ``QuickOperation``: every call goes to the client."""

    def __init__(self, *_: Any) -> None:
        """Take what the real one takes."""

    def post(self, _: bytes) -> None:
        """Ask the client."""


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Call")
