"""``dead-letters list | show | redrive | purge``: what failed, why, and what becomes of it."""

import argparse
import difflib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from detection_contract.error_codes import ErrorCode
from detection_worker.cli.command import Command
from detection_worker.cli.options import (
    add_common,
    add_settings,
    load,
    positive,
    start_logging,
)
from detection_worker.config import Loaded, consumer_value
from detection_worker.errors import UsageError

ACTIONS: Final = ("list", "show", "redrive", "purge")
NO_CODE: Final = "none"
LIST_LIMIT: Final = 10_000
EPILOG: Final = """\
--queue-url is the queue or its dead-letter queue, also that of an outbox: a queue with
a redrive policy leads to its target, one without is taken as a dead-letter queue if SQS
knows queues that use it as one.

Reading hides messages for the moment and grows their receive count; they are visible
again when the command ends, two minutes after it was killed. Of a FIFO queue, SQS shows
at most the first ten messages of each group.

redrive without a filter starts SQS's own move task, shows its progress, and cancels it
on Ctrl-C; with --code, --limit or --one-by-one each message is copied to the queue
without its reason, then deleted, so none is ever lost. Both give messages new ids.

exit codes:
  0    done
  1    no such message, or some messages could not be redriven or deleted
  2    wrong usage or set-up, or SQS failed
  130  interrupted with Ctrl-C"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to do with which dead letters.

    Attributes:
        action: One of ``ACTIONS``.
        message_id: For ``show``.
        queue_url: The queue or its dead-letter queue.
        dead_letter_queue_url: The dead-letter queue, where no redrive policy names it.
        codes: Error codes; empty for all.
        limit: How many at most; None for all.
        to: Queue to redrive to; None for the queue whose dead letters they are.
        rate: Messages a second; None for as many as SQS takes.
        one_by_one: Redrive message by message.
        as_json: Print JSON.
        yes: Do not ask.
        loaded: Settings.
    """

    action: str
    message_id: str | None
    queue_url: str
    dead_letter_queue_url: str | None
    codes: frozenset[str]
    limit: int | None
    to: str | None
    rate: float | None
    one_by_one: bool
    as_json: bool
    yes: bool
    loaded: Loaded


class DeadLetters:
    """The command."""

    name: Final = "dead-letters"
    help: Final = "list, show, redrive and purge dead letters by reason"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = EPILOG
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument(
            "message_id",
            nargs="?",
            metavar="ID",
            help="for show: message id, of the dead letter or of the message that failed",
        )
        parser.add_argument(
            "--code",
            action="append",
            default=[],
            metavar="CODE",
            help="only this error code; none: messages that SQS moved itself; may be repeated",
        )
        parser.add_argument(
            "--limit",
            type=_count,
            metavar="N",
            help=f"at most so many messages ({LIST_LIMIT} for list and show, else all)",
        )
        parser.add_argument("--json", action="store_true", help="print JSON, for list and show")
        parser.add_argument("--yes", "-y", action="store_true", help="redrive or purge, unasked")
        group = parser.add_argument_group("redrive")
        group.add_argument(
            "--to", metavar="URL", help="queue to send them to (the one that they failed in)"
        )
        group.add_argument(
            "--rate", type=positive, metavar="N", help="messages a second (as many as SQS moves)"
        )
        group.add_argument(
            "--one-by-one",
            action="store_true",
            help="copy and delete each message, also without a filter",
        )
        add_settings(parser, ["queue_url", "dead_letter_queue_url"], title="queue")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Do what ``action`` says."""
        loaded = load(args)
        start_logging(loaded.settings)
        request = request_of(args, loaded)
        from detection_worker.cli.batch.dead import run  # noqa: PLC0415 - boto3

        with ExitStack() as stack:
            return run(request, stack)


def request_of(args: argparse.Namespace, loaded: Loaded) -> Request:
    """Return what the arguments ask for.

    Raises:
        UsageError: No queue, an unknown code, or options of another action.
    """
    queue_url = consumer_value("queue_url", vars(args), os.environ)
    if queue_url is None:
        raise UsageError("No SQS queue URL given\nSet QUEUE_URL or use --queue-url URL.")
    if (args.action == "show") != (args.message_id is not None):
        raise UsageError(
            "show needs the id of a message\nList them with: dead-letters list --code CODE"
            if args.action == "show"
            else f"An id is for show, not for {args.action}\nChoose messages with --code."
        )
    given = [f"--{o.replace('_', '-')}" for o in ("to", "rate", "one_by_one") if getattr(args, o)]
    if given and args.action != "redrive":
        raise UsageError(f"{given[0]} is for redrive, not for {args.action}\nLeave it out.")
    dlq = consumer_value("dead_letter_queue_url", vars(args), os.environ)
    return Request(
        action=args.action,
        message_id=args.message_id,
        queue_url=str(queue_url),
        dead_letter_queue_url=None if dlq is None else str(dlq),
        codes=_codes(args.code),
        limit=args.limit,
        to=args.to,
        rate=args.rate,
        one_by_one=args.one_by_one,
        as_json=args.json,
        yes=args.yes,
        loaded=loaded,
    )


def _codes(given: Sequence[str]) -> frozenset[str]:
    known = [code.value for code in ErrorCode] + [NO_CODE]
    for code in given:
        if code not in known:
            near = difflib.get_close_matches(code, known, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UsageError(f"No such error code: {code}\n{hint}Codes: {', '.join(known)}.")
    return frozenset(given)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


COMMAND: Final[Command] = DeadLetters()
