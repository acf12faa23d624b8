"""Dead letters: which queue holds them, read without being used up, grouped by reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from detection_contract.aws.redrive import dead_letter_url, parse_redrive_policy
from detection_worker.errors import UsageError
from detection_worker.sources.base import QueueError, ReceivedMessage
from detection_worker.sources.dead_letters import CODE, MESSAGE_ID, REASON
from detection_worker.sources.sqs import SYSTEM_ATTRIBUTES, received_message
from detection_worker.sources.sqs_clients import explained

NO_CODE: Final = "none"
"""Stands for the code of messages that SQS moved itself."""
VISIBILITY_S: Final = 120
"""How long a message that was read stays hidden if this process is killed."""
WAIT_S: Final = 1
"""Even the shortest long poll asks every server of SQS; a short poll may miss messages."""
EMPTY_POLLS: Final = 2
"""Polls without a new message after which the queue counts as read."""
_BATCH: Final = 10
_FACTS: Final = ("QueueArn", "RedrivePolicy", "ApproximateNumberOfMessages")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterQueue:
    """A dead-letter queue and the queue whose messages it holds.

    Attributes:
        url: Its URL.
        arn: Its ARN.
        about: Messages that are visible, approximately.
        source_url: The queue; None if there are several.
        own_policy: It has a redrive policy too: reading may move its messages on.
    """

    url: str
    arn: str
    about: int
    source_url: str | None
    own_policy: bool


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of a dead-letter queue."""

    message: ReceivedMessage

    @property
    def code(self) -> str:
        """Error code; ``NO_CODE`` if SQS moved the message itself."""
        return self._text(CODE) or NO_CODE

    @property
    def reason(self) -> str:
        """The reason as a sentence."""
        return self._text(REASON) or "moved by SQS after too many deliveries"

    @property
    def original_id(self) -> str:
        """Message id in the queue that it failed in."""
        return self._text(MESSAGE_ID) or self.message.message_id

    def _text(self, name: str) -> str:
        attribute = self.message.attributes.get(name)
        return str(attribute.value) if attribute else ""


@dataclass(slots=True)
class Group:
    """Dead letters with the same code.

    Attributes:
        code: Error code.
        count: How many.
        oldest: The one that was sent first.
    """

    code: str
    count: int
    oldest: DeadLetter


def grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """Return the letters by code, most frequent first."""
    groups: dict[str, Group] = {}
    for letter in letters:
        group = groups.get(letter.code)
        if group is None:
            groups[letter.code] = Group(letter.code, 1, letter)
            continue
        group.count += 1
        if _sent_s(letter) < _sent_s(group.oldest):
            group.oldest = letter
    return sorted(groups.values(), key=lambda g: (-g.count, g.code))


def _sent_s(letter: DeadLetter) -> float:
    return letter.message.sent_at_s or 0.0


def locate(client: Any, queue_url: str, dead_letter_queue_url: str | None) -> DeadLetterQueue:
    """Return the dead-letter queue that a queue URL leads to.

    A queue with a redrive policy leads to its target. One without a policy is a dead-letter queue
    if SQS knows queues that use it as one; otherwise it may be a queue at work, whose messages
    must not be read.

    Args:
        client: SQS client for the queue.
        queue_url: URL of the queue or of its dead-letter queue.
        dead_letter_queue_url: The dead-letter queue, where no redrive policy names it.

    Raises:
        QueueError: A queue does not exist or cannot be read.
        UsageError: There is no dead-letter queue.
    """
    facts = _attributes(client, queue_url)
    policy = parse_redrive_policy(facts.get("RedrivePolicy"))
    if dead_letter_queue_url is not None and dead_letter_queue_url != queue_url:
        return _found(client, dead_letter_queue_url, source_url=queue_url)
    if policy is not None and dead_letter_queue_url is None:
        url = dead_letter_url(policy, source_url=queue_url)
        return _found(client, url, source_url=queue_url)
    sources = _sources(client, queue_url)
    if not sources and dead_letter_queue_url is None:
        raise UsageError(
            f"No dead-letter queue: {queue_url} has no redrive policy, and SQS names no queue "
            "whose dead letters go there\n"
            "Name it with --dead-letter-queue-url; it may lack sqs:ListDeadLetterSourceQueues."
        )
    return _found(client, queue_url, source_url=sources[0] if len(sources) == 1 else None)


def _found(client: Any, url: str, *, source_url: str | None) -> DeadLetterQueue:
    facts = _attributes(client, url)
    return DeadLetterQueue(
        url=url,
        arn=facts["QueueArn"],
        about=int(facts.get("ApproximateNumberOfMessages", 0)),
        source_url=source_url,
        own_policy=parse_redrive_policy(facts.get("RedrivePolicy")) is not None,
    )


def _attributes(client: Any, url: str) -> Mapping[str, str]:
    with explained(url):
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=_FACTS)
    attributes: Mapping[str, str] = answer.get("Attributes", {})
    if "QueueArn" not in attributes:
        raise QueueError(f"This is no SQS queue: {url}", code="NotSqs", fatal=False)
    return attributes


def _sources(client: Any, url: str) -> Sequence[str]:
    try:
        with explained(url):
            answer = client.list_dead_letter_source_queues(QueueUrl=url)
    except QueueError as exc:
        if exc.code in ("AccessDenied", "UnsupportedOperation", "InvalidAction"):
            return ()
        raise
    return [str(source) for source in answer.get("queueUrls", ())]


def arn_of(client: Any, url: str) -> str:
    """Return the ARN of a queue.

    Raises:
        QueueError: It does not exist or cannot be read.
    """
    return _attributes(client, url)["QueueArn"]


class Reading:
    """Messages received from a dead-letter queue, hidden until this ends.

    Leaving the ``with`` statement makes those that were not deleted visible again; only their
    receive count has grown. A killed process leaves them hidden for ``VISIBILITY_S``.

    Args:
        client: SQS client for the queue.
        url: The dead-letter queue.
        visibility_s: How long messages stay hidden.
    """

    def __init__(self, client: Any, url: str, *, visibility_s: int = VISIBILITY_S) -> None:
        self._client, self._url, self._visibility_s = client, url, visibility_s
        self._handles: dict[str, str] = {}
        self._seen: set[str] = set()

    def batches(self, *, most: Callable[[], int] = lambda: _BATCH) -> Iterator[list[DeadLetter]]:
        """Yield the messages that are there, each once, up to ten at a time.

        Args:
            most: Returns how many may be received next; 0 ends the reading.

        Raises:
            QueueError: The queue is gone or cannot be read.
        """
        empty = stale = 0
        while empty < EMPTY_POLLS and (room := min(_BATCH, most())) > 0:
            messages = self._receive(room)
            new = [DeadLetter(m) for m in messages if m.message_id not in self._seen]
            self._handles |= {m.message_id: m.receipt_handle for m in messages}
            self._seen |= {m.message_id for m in messages}
            empty = 0 if messages else empty + 1
            if new:
                stale = 0
                yield new
                continue
            # Messages that were hidden for too short a time come again; once each of them is
            # hidden again, the next poll finds others or none.
            stale += len(messages)
            if stale > 2 * len(self._seen):
                return

    def delete(self, letters: Sequence[DeadLetter]) -> int:
        """Delete up to ten messages; return how many are gone for certain."""
        gone = 0
        entries = [
            {"Id": str(n), "ReceiptHandle": self._handles[letter.message.message_id]}
            for n, letter in enumerate(letters)
        ]
        if entries:
            with explained(self._url):
                answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            for entry in answer.get("Successful", ()):
                del self._handles[letters[int(entry["Id"])].message.message_id]
                gone += 1
        return gone

    def _receive(self, count: int) -> list[ReceivedMessage]:
        with explained(self._url):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=count,
                WaitTimeSeconds=WAIT_S,
                VisibilityTimeout=self._visibility_s,
                MessageSystemAttributeNames=SYSTEM_ATTRIBUTES,
                MessageAttributeNames=("All",),
            )
        return [received_message(m) for m in answer.get("Messages", ())]

    def release(self) -> None:
        """Make what was not deleted visible again."""
        handles = list(self._handles.values())
        self._handles.clear()
        for start in range(0, len(handles), _BATCH):
            entries = [
                {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for n, handle in enumerate(handles[start : start + _BATCH])
            ]
            with explained(self._url):  # entries whose time is over fail, and are visible already
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if exc is None:
            self.release()
        else:
            with suppress(QueueError):  # the first error tells more
                self.release()
