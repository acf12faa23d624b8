"""One run of ``submit``: count, ask, send."""

import json
import sys
from contextlib import ExitStack
from functools import cache, partial
from typing import Any

from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_contract.user_messages import counted
from detection_tracing.start import FLUSH_S
from detection_worker.aws_session import make_session
from detection_worker.batch.files import Files
from detection_worker.batch.journal import Journal
from detection_worker.batch.manifests import ManifestSource, PrefixSource, Source
from detection_worker.batch.rows import RowReader
from detection_worker.batch.submission import Submission, Survey, survey
from detection_worker.cli.batch.failures import explained
from detection_worker.cli.batch.submit import Order
from detection_worker.cli.console import confirm
from detection_worker.cli.progress import Progress
from detection_worker.config import Loaded
from detection_worker.core.batch.requests import PRICES_OF, outgoing, send_cost
from detection_worker.report.texts import printable
from detection_worker.sources.sqs_batches import BatchSender, Pacer
from detection_worker.sources.sqs_clients import check_exists, queue_client
from detection_worker.sources.traced_sends import TracedSender
from detection_worker.storage.s3_listing import S3Listing
from detection_worker.tracing import tracing_here

READ_TIMEOUT_S = 15.0


def run(order: Order, loaded: Loaded, stack: ExitStack) -> int:
    """Send the messages of an order; return the exit code.

    Args:
        order: What to send where.
        loaded: Settings.
        stack: Closes connections and the state file.

    Raises:
        UsageError: S3 or SQS failed, or a file cannot be read or written.
    """
    source = _source(order, loaded, stack)
    fifo = order.queue_url.endswith(".fifo")
    with explained():
        if order.dry_run:
            found = _survey(source, order, None)
            _tell(found, order, sent_before=0, fifo=fifo)
            return EXIT_FAILED if found.unreadable else EXIT_OK
        sqs = queue_client(
            make_session(loaded.settings.aws),
            loaded.aws_for_queue(order.queue_url),
            order.queue_url,
            read_timeout_s=READ_TIMEOUT_S,
        )
        stack.callback(sqs.close)
        check_exists(sqs, order.queue_url)
        identity = order.identity(source.identity)
        journal = stack.enter_context(Journal(order.state_path(identity), identity))
        if journal.finished:
            print(
                f"All was sent by an earlier run: {counted(journal.sent, 'message')}\n"
                f"To send them again, remove {journal.path}"
            )
            return EXIT_OK
        found = _survey(source, order, journal)
    if not _agreed(found, order, journal, fifo=fifo):
        return EXIT_FAILED
    submission = Submission(
        source=source,
        selection=order.selection,
        message=partial(outgoing, callback_url=order.callback_url, threshold=order.threshold),
        sender=_sender(sqs, order.queue_url, stack),
        pacer=Pacer(order.rate),
        journal=journal,
        fifo=fifo,
    )
    _send(submission, total=journal.sent + found.messages)
    return _end(submission, found, order)


def _sender(sqs: Any, queue_url: str, stack: ExitStack) -> BatchSender:
    tracing = tracing_here()
    if tracing is None:
        return BatchSender(sqs, queue_url)
    stack.callback(tracing.close, timeout_s=FLUSH_S)
    return TracedSender(sqs, queue_url, tracing=tracing)


def _source(order: Order, loaded: Loaded, stack: ExitStack) -> Source:
    @cache
    def listing() -> S3Listing:
        made = S3Listing(make_session(loaded.settings.aws), loaded.settings.aws)
        stack.callback(made.close)
        return made

    within = order.selection.within
    if order.manifest is not None:
        reader = RowReader(
            bucket=order.bucket,
            encoded=order.encoded,
            endpoint_hosts=loaded.settings.aws.endpoint_hosts,
        )
        with explained():
            return ManifestSource(Files(listing), order.manifest, reader)
    assert within is not None  # noqa: S101 - the order has one of both
    return PrefixSource(listing, within.bucket, within.prefix)


def _survey(source: Source, order: Order, journal: Journal | None) -> Survey:
    progress = Progress(None, unit="objects listed", lines=True)
    after = None if journal is None else journal.position
    try:
        return survey(source, order.selection, after=after, on_item=progress.show)
    finally:
        progress.clear()


def _agreed(found: Survey, order: Order, journal: Journal, *, fifo: bool) -> bool:
    """Show what will be sent, and ask; an empty submission needs no answer."""
    _tell(found, order, sent_before=journal.sent, fifo=fifo)
    if not found.messages or order.yes:
        return True
    if confirm("Send them?", default=True):
        return True
    print("Nothing was sent.")
    if not journal.sent and order.state is None:
        journal.remove()
    return False


def _tell(found: Survey, order: Order, *, sent_before: int, fifo: bool) -> None:
    if sent_before:
        sent = counted(sent_before, "message was", "messages were")
        print(f"{sent} sent by an earlier run; it goes on from there")
    print(f"{counted(found.messages, 'message')} for {printable(order.what)} to {order.queue_url}")
    if found.messages:
        requests, usd = send_cost(found.messages, fifo=fifo)
        print(
            f"{counted(requests, 'SQS request')} to send them, {_dollars(usd)} "
            f"({PRICES_OF}, without the free tier)"
        )
    for why, count in found.skipped.items():
        print(f"Skipped {count}: {why}")
    if found.unreadable:
        print(
            f"Unreadable {found.unreadable}: rows of the manifest that name no object",
            file=sys.stderr,
        )
        for bad in found.examples:
            print(f"  {printable(bad.where)}: {printable(bad.why)}", file=sys.stderr)
    if order.dry_run and found.first is not None:
        message = outgoing(found.first, callback_url=order.callback_url, threshold=order.threshold)
        print(f"The first:\n{json.dumps(json.loads(message.body), indent=2)}")


def _dollars(usd: float) -> str:
    return "under $0.01" if usd < 0.01 else f"about ${usd:,.2f}"


def _send(submission: Submission, *, total: int) -> None:
    journal = submission.journal
    progress = Progress(total, unit="messages", lines=True, done_before=journal.sent)

    def done() -> str:
        messages = counted(total, "message was", "messages were")
        return f"{journal.sent} of {messages} sent; the same command goes on"

    try:
        with explained(done):
            submission.run(progress.show)
    except KeyboardInterrupt:
        progress.clear()
        print(done(), file=sys.stderr)
        raise
    finally:
        progress.clear()


def _end(submission: Submission, found: Survey, order: Order) -> int:
    journal = submission.journal
    if journal.sent or found.messages:
        print(f"Sent {counted(journal.sent, 'message')}")
    if order.state is None:
        journal.remove()
    if journal.refused:
        print(f"SQS refused {counted(journal.refused, 'message')}:", file=sys.stderr)
        for url, reason in submission.refused:
            print(f"  {printable(url)}: {printable(reason)}", file=sys.stderr)
    return EXIT_FAILED if journal.refused or found.unreadable else EXIT_OK
