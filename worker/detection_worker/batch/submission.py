"""A submission: objects of a source become messages, in order, behind what was sent before."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detection_worker.batch.journal import Journal
from detection_worker.batch.manifests import Position, Source, Unreadable
from detection_worker.core.batch.objects import Selection, Skip, StoredObject
from detection_worker.core.batch.requests import BATCH, Outgoing
from detection_worker.errors import UsageError
from detection_worker.sources.sqs_batches import BatchSender, Pacer

EXAMPLES: Final = 5
"""Rows and messages named; all are counted."""


@dataclass(slots=True)
class Survey:
    """What a source holds.

    Attributes:
        messages: Objects to send.
        first: The first of them.
        skipped: Others, by reason.
        unreadable: Rows that name no object.
        examples: The first of these.
    """

    messages: int = 0
    first: StoredObject | None = None
    skipped: Counter[Skip] = field(default_factory=Counter)
    unreadable: int = 0
    examples: list[Unreadable] = field(default_factory=list)


def survey(
    source: Source,
    selection: Selection,
    *,
    after: Position | None = None,
    on_item: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Count what a source holds behind a position, in constant memory.

    Args:
        source: Objects.
        selection: Which of them are sent.
        after: Where to begin.
        on_item: Called with the number of items seen.

    Raises:
        UsageError: The manifest cannot be read.
        JobError: S3 failed.
    """
    found = Survey()
    for number, (_, item) in enumerate(source.items(after), start=1):
        on_item(number)
        if isinstance(item, Unreadable):
            found.unreadable += 1
            if len(found.examples) < EXAMPLES:
                found.examples.append(item)
        elif why := _why_not(selection, item):
            found.skipped[why] += 1
        else:
            found.messages += 1
            found.first = found.first or item
    return found


@dataclass(slots=True)
class Submission:
    """Sends what a source holds.

    Attributes:
        source: Objects.
        selection: Which of them are sent.
        message: Makes the message about one.
        sender: Sends it.
        pacer: Keeps to the rate.
        journal: Knows what was sent.
        fifo: The queue is a FIFO queue.
        refused: The first messages that SQS refused, each with the reason.
    """

    source: Source
    selection: Selection
    message: Callable[[StoredObject], Outgoing]
    sender: BatchSender
    pacer: Pacer
    journal: Journal
    fifo: bool
    refused: list[tuple[str, str]] = field(default_factory=list)

    def run(self, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Send every object behind what the journal has.

        Args:
            on_progress: Called after each batch with the number of messages sent by every run.

        Raises:
            QueueError: SQS failed; the journal has what was sent.
            UsageError: The manifest cannot be read, or the journal not written.
            JobError: S3 failed.
        """
        for position, batch in self._batches():
            self.pacer.wait_for(len(batch))
            sent, refusals = self.sender.send([_entry(m, fifo=self.fifo) for m in batch])
            if not sent and not self.journal.sent:
                raise UsageError(f"SQS refuses the messages: {refusals[0].reason}\nNone was sent.")
            self.journal.record(position, sent=len(sent), refused=len(refusals))
            room = EXAMPLES - len(self.refused)
            self.refused += [(batch[r.index].url, r.reason) for r in refusals[:room]]
            on_progress(self.journal.sent)
        self.journal.finish()

    def _batches(self) -> Iterator[tuple[Position, Sequence[Outgoing]]]:
        batch: list[Outgoing] = []
        position: Position = 0
        for position, item in self.source.items(self.journal.position):
            if isinstance(item, Unreadable) or _why_not(self.selection, item):
                continue
            batch.append(self.message(item))
            if len(batch) == BATCH:
                yield position, batch
                batch = []
        if batch:
            yield position, batch


def _why_not(selection: Selection, item: StoredObject) -> Skip | None:
    try:
        return selection.why_not(item)
    except ValueError as exc:
        raise UsageError(
            f"--since cannot be used with this manifest: {exc}\n"
            "Add a column last_modified, or leave out --since."
        ) from exc


def _entry(message: Outgoing, *, fifo: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"MessageBody": message.body}
    if fifo:
        entry["MessageGroupId"] = message.group_id
        entry["MessageDeduplicationId"] = message.deduplication_id
    return entry
