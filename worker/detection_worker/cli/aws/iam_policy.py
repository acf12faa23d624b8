"""``iam-policy``: print the least-privilege policy of the role that a worker needs."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Final

from detection_worker.cli.aws.policy import Used, deliver_policy, worker_policy
from detection_worker.cli.command import Command
from detection_worker.cli.options import add_common, add_settings, load
from detection_worker.config import Loaded, consumer_value
from detection_worker.config.table import Setting, setting
from detection_worker.config.values import parse
from detection_worker.errors import UsageError

EPILOG: Final = """\
Give the options or variables that the worker gets. Nothing is contacted: queues
that only redrive policies know must be named too.

example:
  detection-worker iam-policy --queue-url URL --dead-letter-queue-url URL \\
    --allowed-buckets MEDIA_BUCKET --results s3://BUCKET/results/ > policy.json
  aws iam put-role-policy --role-name ROLE --policy-name worker \\
    --policy-document file://policy.json"""
READ: Final = ("queue_url", "dead_letter_queue_url", "allowed_buckets")
WRITTEN: Final = (
    "results",
    "results_kms_key_id",
    "results_bucket_owner",
    "on_success",
    "on_failure",
    "cache",
    "outbox",
)
_BUCKETS_STEP: Final = (
    "Name the buckets of the media: --allowed-buckets BUCKET, with commas between several; "
    "* and ? are wildcards."
)


class IamPolicy:
    """The command."""

    name: Final = "iam-policy"
    help: Final = "print the least-privilege IAM policy for these settings"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = EPILOG
        parser.add_argument(
            "--for",
            dest="role",
            choices=("consume", "deliver"),
            default="consume",
            help="command that the role runs (consume)",
        )
        parser.add_argument(
            "--outbox-dead-letter-queue-url",
            metavar="URL",
            help="dead-letter queue of the outbox",
        )
        parser.add_argument(
            "--kms-key",
            action="append",
            default=[],
            metavar="ARN",
            help="a KMS key that encrypts queues, topics or buckets; may be repeated",
        )
        add_settings(parser, READ, title="what it reads")
        add_settings(parser, WRITTEN, title="results")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Print the policy; what cannot be known is said on stderr."""
        loaded = load(args)
        used = _used(args, loaded)
        policy = worker_policy(used) if args.role == "consume" else deliver_policy(used)
        print(json.dumps(policy, indent=2))
        for note in _notes(used):
            print(f"Note: {note}", file=sys.stderr)
        return 0


def _used(args: argparse.Namespace, loaded: Loaded) -> Used:
    results, aws = loaded.settings.results, loaded.settings.aws
    outbox_dead_letters = _url(args.outbox_dead_letter_queue_url)
    for key in args.kms_key:
        if not key.startswith("arn:") or ":key/" not in key:
            raise UsageError(
                f"--kms-key is {key!r}\nAllowed: the ARN of a key, arn:aws:kms:…:key/…."
            )
    if args.role == "deliver":
        if results.outbox_url is None:
            raise UsageError("No outbox given\nSet DETECTION_OUTBOX_URL or use --outbox URL.")
        return Used(
            region=loaded.aws_for_queue(results.outbox_url).region,
            results=results,
            outbox_dead_letter_queue_url=outbox_dead_letters,
            kms_keys=tuple(args.kms_key),
        )
    queue_url = _queue_setting("queue_url", args)
    if queue_url is None:
        raise UsageError("No SQS queue URL given\nSet QUEUE_URL or use --queue-url URL.")
    if not aws.allowed_buckets:
        raise UsageError(
            f"A policy for every bucket would not be least privilege\n{_BUCKETS_STEP}"
        )
    return Used(
        region=loaded.aws_for_queue(queue_url).region,
        results=results,
        queue_url=queue_url,
        dead_letter_queue_url=_queue_setting("dead_letter_queue_url", args),
        buckets=aws.allowed_buckets,
        outbox_dead_letter_queue_url=outbox_dead_letters,
        kms_keys=tuple(args.kms_key),
    )


def _queue_setting(name: str, args: argparse.Namespace) -> str | None:
    value = consumer_value(name, vars(args), os.environ)
    return None if value is None else str(value)


def _url(given: str | None) -> str | None:
    row: Setting = setting("consumer", "dead_letter_queue_url")
    where = "--outbox-dead-letter-queue-url"
    return None if given is None else str(parse(given, row, where=where))


def _notes(used: Used) -> Iterator[str]:
    if used.queue_url is None and used.results.results_url is None:
        yield (
            "without --results, as the workers have it, callbacks of more than 128 KiB may not be "
            "read, which the outbox only points to"
        )
    if used.queue_url and not used.dead_letter_queue_url:
        yield (
            "without --dead-letter-queue-url the worker may not copy messages to the dead-letter "
            "queue with their reason; SQS moves them there without it"
        )
    if used.results.outbox_url and not used.outbox_dead_letter_queue_url:
        yield (
            "without --outbox-dead-letter-queue-url callbacks that are given up may not be put "
            "into the dead-letter queue of the outbox, and stay in the outbox"
        )


COMMAND: Final[Command] = IamPolicy()
