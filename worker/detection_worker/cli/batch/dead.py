"""One run of ``dead-letters``."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_contract.user_messages import counted
from detection_worker.aws_session import make_session
from detection_worker.batch.dead_letters import (
    DeadLetter,
    DeadLetterQueue,
    Reading,
    arn_of,
    grouped,
    locate,
)
from detection_worker.batch.redrive import Chosen, Moved, MoveTask, Tally
from detection_worker.cli.batch import letters as text
from detection_worker.cli.batch.dead_letters import LIST_LIMIT, Request
from detection_worker.cli.batch.failures import explained
from detection_worker.cli.console import confirm
from detection_worker.cli.progress import Progress
from detection_worker.errors import UsageError
from detection_worker.sources.base import QueueError
from detection_worker.sources.sqs_batches import BatchSender, Pacer
from detection_worker.sources.sqs_clients import explained as sqs_explained
from detection_worker.sources.sqs_clients import queue_client

READ_TIMEOUT_S: Final = 20.0
MIN_VISIBILITY_S: Final = 120


def run(request: Request, stack: ExitStack) -> int:
    """Do what a request says; return the exit code.

    Args:
        request: What to do with which dead letters.
        stack: Closes connections.

    Raises:
        UsageError: There is no dead-letter queue, or SQS failed.
    """
    with explained():
        client = queue_client(
            make_session(request.loaded.settings.aws),
            request.loaded.aws_for_queue(request.queue_url),
            request.queue_url,
            read_timeout_s=READ_TIMEOUT_S,
        )
        stack.callback(client.close)
        queue = locate(client, request.queue_url, request.dead_letter_queue_url)
        if queue.own_policy:
            print(
                f"Warning: {queue.url} has a redrive policy itself: reading its messages too "
                "often moves them on",
                file=sys.stderr,
            )
        command = _Run(request, client, queue)
        return {
            "list": command.list,
            "show": command.show,
            "redrive": command.redrive,
            "purge": command.purge,
        }[request.action]()


class _Run:
    def __init__(self, request: Request, client: Any, queue: DeadLetterQueue) -> None:
        self._request, self._client, self._queue = request, client, queue

    def list(self) -> int:
        """Print groups, or the messages of the codes that were asked for."""
        request = self._request
        read = self._read()
        letters = [letter for letter in read if self._wanted(letter)]
        if request.as_json:
            print(text.as_json(letters if request.codes else grouped(letters)))
            return EXIT_OK
        print(f"Dead letters of {self._queue.url}: about {self._queue.about}")
        if not letters:
            print("None was read" if request.codes == frozenset() else "None with this code")
            return EXIT_OK
        print(text.messages(letters) if request.codes else text.groups(grouped(letters)))
        print(f"{len(letters)} read; each reading counts as a delivery of the message")
        if len(read) >= (request.limit or LIST_LIMIT):
            print(f"There may be more: only {len(read)} were looked at; raise --limit")
        return EXIT_OK

    def show(self) -> int:
        """Print one message."""
        wanted = self._request.message_id
        for letter in self._read(until=wanted):
            if wanted in (letter.message.message_id, letter.original_id):
                print(text.shown_json(letter) if self._request.as_json else text.whole(letter))
                return EXIT_OK
        print(
            f"No dead letter has the id {wanted}\n"
            "It may be hidden by another reader: try again in two minutes.",
            file=sys.stderr,
        )
        return EXIT_FAILED

    def redrive(self) -> int:
        """Send messages back to their queue."""
        request, queue = self._request, self._queue
        to = request.to or queue.source_url
        if to is None:
            raise UsageError(
                f"{queue.url} holds dead letters of several queues\nName one with --to URL."
            )
        if to == queue.url:
            raise UsageError("A queue cannot be redriven to itself\nName another with --to URL.")
        filtered = bool(request.codes or request.limit or request.one_by_one)
        if not self._agreed(f"Redrive {self._which()} to {to}?", default=True):
            return EXIT_FAILED
        return self._one_by_one(to) if filtered else self._move(to)

    def purge(self) -> int:
        """Delete messages."""
        request = self._request
        question = f"Delete {self._which()} of {self._queue.url} for good?"
        if not self._agreed(question, default=False):
            return EXIT_FAILED
        if not request.codes and not request.limit:
            return self._purge_all()
        tally = self._chosen(lambda chosen: chosen.delete(), unit="messages deleted")
        print(f"Deleted {counted(tally.done, 'message')}")
        return _ended(tally)

    def _read(self, *, until: str | None = None) -> Sequence[DeadLetter]:
        limit = self._request.limit or LIST_LIMIT
        found: list[DeadLetter] = []
        progress = Progress(None, unit="messages read")
        with Reading(self._client, self._queue.url) as reading:
            for letters in reading.batches(most=lambda: limit - len(found)):
                found.extend(letters)
                progress.show(len(found))
                if until is not None and any(
                    until in (m.message.message_id, m.original_id) for m in letters
                ):
                    break
            progress.clear()
        return found

    def _wanted(self, letter: DeadLetter) -> bool:
        return not self._request.codes or letter.code in self._request.codes

    def _which(self) -> str:
        request = self._request
        codes = f" with {' or '.join(sorted(request.codes))}" if request.codes else ""
        if request.limit:
            return f"at most {counted(request.limit, 'dead letter')}{codes}"
        return f"all dead letters{codes} (about {self._queue.about} of any code are there)"

    def _agreed(self, question: str, *, default: bool) -> bool:
        if self._request.yes or confirm(question, default=default):
            return True
        print("Nothing was changed.")
        return False

    def _purge_all(self) -> int:
        try:
            with sqs_explained(self._queue.url):
                self._client.purge_queue(QueueUrl=self._queue.url)
        except QueueError as exc:
            if exc.code != "PurgeQueueInProgress":
                raise
            raise UsageError(
                "The queue was purged less than 60 seconds ago\nTry again in a minute."
            ) from exc
        print(f"Purging {self._queue.url}; SQS takes up to 60 seconds")
        return EXIT_OK

    def _one_by_one(self, to: str) -> int:
        request, fifo = self._request, to.endswith(".fifo")
        sender, pacer = BatchSender(self._client, to), Pacer(request.rate)
        tally = self._chosen(
            lambda chosen: chosen.redrive(sender, pacer, fifo=fifo), unit="messages redriven"
        )
        print(f"Redrove {counted(tally.done, 'message')} to {to}")
        return _ended(tally)

    def _chosen(self, work: Any, *, unit: str) -> Tally:
        request, progress = self._request, Progress(None, unit=unit, lines=True)
        # A slow rate must not let messages show up again before their turn.
        visibility_s = max(MIN_VISIBILITY_S, round(20 / (request.rate or 20)))
        done = 0

        def show(count: int) -> None:
            nonlocal done
            done = count
            progress.show(count)

        try:
            with (
                explained(lambda: f"{done} {unit} before; the same command goes on"),
                Reading(
                    self._client, self._queue.url, visibility_s=min(visibility_s, 43_200)
                ) as reading,
            ):
                chosen = Chosen(
                    reading=reading,
                    wanted=self._wanted,
                    limit=request.limit,
                    on_progress=show,
                )
                tally: Tally = work(chosen)
                return tally
        except KeyboardInterrupt:
            progress.clear()
            print(f"{done} {unit}; none is lost, the same command goes on", file=sys.stderr)
            raise
        finally:
            progress.clear()

    def _move(self, to: str) -> int:
        task = MoveTask(self._client, self._queue.url, self._queue.arn)
        to_arn = arn_of(self._client, to)
        try:
            task.start(to_arn=to_arn, rate=self._request.rate)
        except QueueError as exc:
            raise UsageError(
                f"SQS does not start a move task: {str(exc).partition(chr(10))[0]}\n"
                "If one is running, wait for its end. Otherwise use --one-by-one, which needs no "
                "sqs:StartMessageMoveTask."
            ) from exc
        progress = Progress(self._queue.about or None, unit="messages moved", lines=True)
        try:
            state = task.follow(lambda s: progress.show(s.moved))
        except KeyboardInterrupt:
            progress.clear()
            print(f"Cancelled: {_cancelled(task)}", file=sys.stderr)
            raise
        finally:
            progress.clear()
        return _moved(state, to)


def _cancelled(task: MoveTask) -> str:
    try:
        return _messages_moved(task.cancel())
    except QueueError as exc:
        return f"it ended or goes on ({exc.code}); {_messages_moved(task.state().moved)}"


def _messages_moved(count: int) -> str:
    return f"{counted(count, 'message was', 'messages were')} moved"


def _moved(state: Moved, to: str) -> int:
    moved = _messages_moved(state.moved if state.to_move is None else state.to_move)
    if state.to_move is not None:
        moved = f"{state.moved} of about {moved}"
    print(f"{state.status.capitalize()}: {moved} to {to}")
    if state.failure:
        print(f"SQS says: {state.failure}", file=sys.stderr)
    return EXIT_OK if state.status == "COMPLETED" else EXIT_FAILED


def _ended(tally: Tally) -> int:
    if tally.refused:
        print(f"{tally.refused} were refused and stay: {tally.example}", file=sys.stderr)
    if tally.not_deleted:
        print(f"{tally.not_deleted} could not be deleted and stay", file=sys.stderr)
    if tally.came_back:
        print(f"{tally.came_back} failed again meanwhile and stay", file=sys.stderr)
    return EXIT_FAILED if tally.refused or tally.not_deleted or tally.came_back else EXIT_OK
