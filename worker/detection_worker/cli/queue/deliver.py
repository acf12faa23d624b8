"""``deliver``: retry callbacks from an outbox, without models."""

import argparse
import os
from dataclasses import replace
from typing import Final

from detection_contract.user_messages import NO_OUTBOX
from detection_worker.cli.command import Command
from detection_worker.cli.options import add_common, add_settings, load, start_logging
from detection_worker.config import consumer_value, load_consumer
from detection_worker.errors import UsageError

GROUPS: Final = {
    "outbox": ("outbox", "wait_time", "callback_workers", "results_bucket_owner"),
    "operation": (
        "run_once",
        "shutdown_grace",
        "control_host",
        "control_port",
        "log_level",
        "log_format",
        "emf_namespace",
    ),
    "callbacks": (
        "callback_allow_private",
        "callback_allowed_networks",
        "callback_connect_timeout",
        "callback_read_timeout",
    ),
}
"""Options by the title of their group in the help."""
EXIT_CODES: Final = """\
exit codes:
  0    stopped by SIGTERM or SIGINT, every entry settled or released; with
       --run-once, every entry that was due was delivered, or there was none
  1    the outbox cannot be reached now; an entry could not be released; with
       --run-once, an entry was dead-lettered or will be tried again
  2    wrong usage or set-up: no such queue, access denied, no credentials, or a
       queue whose messages are no entries of an outbox
  130  with --run-once, Ctrl-C before all were sent (143: SIGTERM)"""


class Deliver:
    """The command."""

    name: Final = "deliver"
    help: Final = "retry callbacks from an outbox, without models"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = EXIT_CODES
        for title, names in GROUPS.items():
            add_settings(parser, names, title=title)
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Send the outbox until SIGTERM or SIGINT, or what is due now."""
        loaded = load(args)
        url = loaded.settings.results.outbox_url
        if url is None:
            raise UsageError(NO_OUTBOX)
        # The outbox is the queue that this process consumes; a pod may name the work queue too.
        work_url = consumer_value("queue_url", vars(args), os.environ)
        consumer = load_consumer({**vars(args), "queue_url": url}, os.environ)
        from detection_worker.outbox.queue import check_outbox_url  # noqa: PLC0415 - boto3
        from detection_worker.pipeline.service.deliverer import Deliverer  # noqa: PLC0415

        check_outbox_url(url, others=(str(work_url) if work_url else None,))
        settings = replace(loaded.settings, aws=loaded.aws_for_queue(url))
        start_logging(settings)
        return Deliverer(settings, consumer).run()


COMMAND: Final[Command] = Deliver()
