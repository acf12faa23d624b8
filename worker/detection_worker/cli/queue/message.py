"""``message``: make a test message, send it, and optionally wait for its result."""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from detection_contract.aws.s3_urls import InvalidS3Url, parse_s3_url
from detection_contract.messages import InvalidMessage, create_test_message
from detection_worker.cli.command import Command
from detection_worker.cli.console import ask, confirm
from detection_worker.cli.options import add_common, add_settings, load, threshold
from detection_worker.cli.queue.receiver import ResultReceiver
from detection_worker.cli.summary import summary
from detection_worker.cli.terminal import columns
from detection_worker.config import consumer_value
from detection_worker.errors import UsageError

MAX_WAIT_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The message to send; None means not given yet."""

    url: str | None
    callback_url: str | None
    threshold: float | None
    request_id: str | None
    metadata: dict[str, object] | None
    wait_s: float


class Message:
    """The command."""

    name: Final = "message"
    help: Final = "make and send a test message, and wait for its result"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = "Asks for what is not given, shows the message and asks before sending."
        group = parser.add_argument_group("message")
        group.add_argument("--url", metavar="S3URL", help="S3 URL of the media to analyse")
        group.add_argument("--callback-url", metavar="URL", help="where to post the result")
        group.add_argument(
            "--threshold",
            type=threshold,
            metavar="0..1",
            help="P(fake) from which a file is FAKE (0.5)",
        )
        group.add_argument(
            "--request-id", metavar="ID", help="id that the result echoes (a new UUID)"
        )
        group.add_argument(
            "--metadata", type=_metadata, metavar="JSON", help="JSON object that the result echoes"
        )
        group.add_argument(
            "--wait",
            type=_seconds,
            metavar="SECONDS",
            help="receive the result here; the worker must run on this machine and allow "
            "callbacks to private addresses (DETECTION_CALLBACK_ALLOW_PRIVATE=true)",
        )
        group.add_argument("--yes", "-y", action="store_true", help="send without asking")
        group.add_argument(
            "--print-only", action="store_true", help="show the message, and send nothing"
        )
        add_settings(parser, ["queue_url"], title="queue")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Make the message, show it, send it, wait."""
        loaded = load(args)
        hosts = loaded.settings.aws.endpoint_hosts
        draft = _draft(args)
        if not (args.yes or args.print_only):
            draft = _asked(draft, hosts)
        if args.print_only:
            print(json.dumps(_message(draft, draft.callback_url, hosts), indent=2))
            return 0
        with contextlib.ExitStack() as stack:
            receiver = None
            if draft.wait_s > 0:
                receiver = stack.enter_context(ResultReceiver())
            callback_url = receiver.url if receiver else draft.callback_url
            message = _message(draft, callback_url, hosts)
            target = _queue_url(args)
            print(f"\n{json.dumps(message, indent=2)}\n")
            if not args.yes and not confirm(f"Send it to {target}?", default=True):
                print("Nothing was sent.")
                return 1
            from detection_worker.cli.queue.sending import send  # noqa: PLC0415 - boto3

            print(f"Sent, message id {send(message, target, loaded)}")
            if receiver is None:
                return 0
            return _wait(receiver, str(message["request_id"]), draft.wait_s)


def _draft(args: argparse.Namespace) -> Draft:
    if args.wait and args.callback_url:
        raise UsageError(
            "--wait and --callback-url exclude each other\nWith --wait the result comes here."
        )
    if (args.yes or args.print_only) and not args.url:
        raise UsageError("No S3 URL given\nUse --url s3://BUCKET/KEY.")
    return Draft(
        url=args.url,
        callback_url=args.callback_url,
        threshold=args.threshold,
        request_id=args.request_id,
        metadata=args.metadata,
        wait_s=args.wait or 0.0,
    )


def _asked(draft: Draft, hosts: frozenset[str]) -> Draft:
    if draft.url is None:
        draft = replace(draft, url=ask("S3 URL of the media", check=_url_check(hosts)))
    if draft.threshold is None:
        text = ask("Confidence threshold", default="0.5", check=_threshold_problem)
        draft = replace(draft, threshold=float(text))
    if draft.callback_url is None and not draft.wait_s:
        callback_url = ask("Callback URL (empty: none)", check=_callback_problem)
        draft = replace(draft, callback_url=callback_url or None)
        if not callback_url:
            text = ask(
                "Seconds to wait here for the result (0: do not)",
                default="0",
                check=_seconds_problem,
            )
            draft = replace(draft, wait_s=float(text))
    return draft


def _message(draft: Draft, callback_url: str | None, hosts: frozenset[str]) -> dict[str, object]:
    try:
        return create_test_message(
            sqs_to_ml_url=draft.url or "",
            callback_url=callback_url,
            confidence_threshold=0.5 if draft.threshold is None else draft.threshold,
            request_id=draft.request_id,
            metadata=draft.metadata,
            endpoint_hosts=hosts,
        )
    except InvalidMessage as exc:
        raise UsageError(f"{exc.message}\nCorrect it and try again.") from exc


def _queue_url(args: argparse.Namespace) -> str:
    chosen = consumer_value("queue_url", vars(args), os.environ)
    if chosen is None and args.yes:
        raise UsageError("No SQS queue URL given\nSet QUEUE_URL or use --queue-url URL.")
    return str(chosen) if chosen else ask("SQS queue URL", check=_queue_problem)


def _wait(receiver: ResultReceiver, request_id: str, seconds: float) -> int:
    print(f"Waiting up to {seconds:g} s for the result at {receiver.url} …")
    result = receiver.wait(request_id, timeout_s=seconds)
    if result is None:
        print(f"No result came within {seconds:g} s. Is a worker running on this machine?")
        return 1
    print(f"\n{summary(result, width=columns(sys.stdout))}\n{json.dumps(result, indent=2)}")
    return 0 if result.get("status") == "finished" else 1


def _metadata(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {MAX_WAIT_S:g}")
    return value


def _url_check(hosts: frozenset[str]) -> Callable[[str], str | None]:
    def problem(text: str) -> str | None:
        try:
            parse_s3_url(text, endpoint_hosts=hosts)
        except InvalidS3Url as exc:
            return str(exc)
        return None

    return problem


def _threshold_problem(text: str) -> str | None:
    return _argument_problem(threshold, text)


def _seconds_problem(text: str) -> str | None:
    return _argument_problem(_seconds, text)


def _argument_problem(read: Callable[[str], float], text: str) -> str | None:
    try:
        read(text)
    except argparse.ArgumentTypeError as exc:
        return str(exc)
    return None


def _callback_problem(text: str) -> str | None:
    if not text:
        return None
    try:
        create_test_message(sqs_to_ml_url="s3://bucket/key", callback_url=text)
    except InvalidMessage as exc:
        return exc.message
    return None


def _queue_problem(text: str) -> str | None:
    try:
        consumer_value("queue_url", {"queue_url": text}, {})
    except UsageError as exc:
        return str(exc).replace("\n", ". ")
    return None


COMMAND: Final[Command] = Message()
