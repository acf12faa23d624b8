"""``consume``: process an SQS queue; also ``--validate-queue`` and ``--create-test-message``."""

import argparse
import atexit
import gc
import json
import logging
import os
from dataclasses import replace
from typing import Final

from detection_contract.messages import InvalidMessage, create_test_message
from detection_worker.cli.command import Command
from detection_worker.cli.options import add_common, add_settings, load, start_logging
from detection_worker.config import Loaded, load_consumer
from detection_worker.errors import UsageError
from detection_worker.settings import ConsumerSettings

GROUPS: Final = {
    "queue": (
        "queue_url",
        "poll_interval",
        "max_messages",
        "wait_time",
        "visibility_timeout",
        "dead_letter_queue_url",
        "max_backoff",
    ),
    "operation": (
        "run_once",
        "dry_run",
        "stats_interval",
        "shutdown_grace",
        "stall_timeout",
        "control_host",
        "control_port",
        "log_level",
        "log_format",
        "emf_namespace",
    ),
    "analysis": (
        "models_dir",
        "prefer",
        "video_audio",
        "frames",
        "windows",
        "device",
        "precision",
        "trust_list",
        "trust_declared",
        "torch_threads",
        "batch_units",
        "decoders",
        "decode_timeout",
        "max_bytes",
        "max_pixels",
        "max_duration",
        "s3_cache_dir",
        "cleanup_temp_files",
        "allowed_buckets",
        "expected_bucket_owner",
    ),
    "throughput": (
        "feeders",
        "max_in_flight",
        "prefetch_seconds",
        "max_bytes_in_flight",
        "pollers",
        "downloaders",
        "callback_workers",
    ),
    "results": (
        "results",
        "results_key",
        "results_pages",
        "results_kms_key_id",
        "results_bucket_owner",
        "on_success",
        "on_failure",
        "cache",
        "outbox",
    ),
    "callbacks": (
        "callback_url",
        "callback_allow_private",
        "callback_allowed_networks",
        "callback_attempts",
        "callback_connect_timeout",
        "callback_read_timeout",
    ),
}
"""Options by the title of their group in the help."""
EXIT_CODES: Final = """\
exit codes:
  0    stopped by SIGTERM or SIGINT, every message finished or released; with
       --run-once, every message received was finished, or there was none
  1    the queue cannot be reached now; a message could not be released; a
       forward pass hung at the stop; with --run-once, a message was
       dead-lettered or will be tried again
  2    wrong usage or set-up: no such queue, access denied, no credentials
  130  with --run-once, Ctrl-C before all messages were finished (143: SIGTERM)"""


class Consume:
    """The command."""

    name: Final = "consume"
    help: Final = "work off an SQS queue"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = EXIT_CODES
        parser.add_argument(
            "--create-test-message",
            metavar="S3URL",
            help="print a message for this file, as JSON, and stop",
        )
        parser.add_argument(
            "--validate-queue",
            action="store_true",
            help="check the queue and its attributes, and stop",
        )
        for title, names in GROUPS.items():
            add_settings(parser, names, title=title)
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Consume until SIGTERM or SIGINT, or poll once."""
        if args.create_test_message is not None:
            return _print_message(args.create_test_message, load(args))
        loaded = load(args)
        consumer = load_consumer(vars(args), os.environ)
        if args.validate_queue:
            from detection_worker.cli.queue.validate import validate  # noqa: PLC0415 - boto3

            aws = loaded.aws_for_queue(consumer.queue_url)
            return validate(consumer, aws, loaded.settings.results)
        return _consume(loaded, consumer)


def _print_message(url: str, loaded: Loaded) -> int:
    try:
        message = create_test_message(
            sqs_to_ml_url=url, endpoint_hosts=loaded.settings.aws.endpoint_hosts
        )
    except InvalidMessage as exc:
        raise UsageError(f"{exc.message}\nUse a URL such as s3://BUCKET/KEY.") from exc
    print(json.dumps(message, indent=2, ensure_ascii=False))
    return 0


def _consume(loaded: Loaded, consumer: ConsumerSettings) -> int:
    from detection_worker.pipeline.service.feeders.choice import make_worker  # noqa: PLC0415 - heavy; --help is not

    settings = replace(loaded.settings, aws=loaded.aws_for_queue(consumer.queue_url))
    start_logging(settings)
    # Python would look through all objects of torch once more at the end: a second of the grace
    # period, several on a busy node.
    atexit.register(gc.freeze)
    worker = make_worker(settings, consumer)
    code = worker.run()
    if worker.hangs:
        logging.shutdown()
        os._exit(code)
    return code


COMMAND: Final[Command] = Consume()
