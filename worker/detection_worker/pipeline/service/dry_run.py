"""``--dry-run``: receive and parse messages, say what would be done, hand them all back."""

import logging
import threading

from detection_contract import user_messages
from detection_contract.aws.s3_urls import redact_url
from detection_contract.messages import InvalidMessage
from detection_worker.pipeline.messages.jobs import Message, bad_job, open_jobs
from detection_worker.pipeline.messages.log import log_outcome
from detection_worker.pipeline.messages.parsing import Parse
from detection_worker.settings import ConsumerSettings
from detection_worker.sources.base import MessageSource, ReceivedMessage, VisibilityChange

BATCH = 10
"""Most entries of one SQS batch call."""

log = logging.getLogger(__name__)


def dry_run(
    source: MessageSource,
    consumer: ConsumerSettings,
    *,
    stop: threading.Event,
    parse: Parse,
) -> int:
    """Look at messages without processing them and return how many were seen.

    Each message is shown once; all of them are visible to other consumers again at the end.

    Args:
        source: The queue.
        consumer: How to poll; ``run_once`` polls once.
        stop: Ends the loop.
        parse: Reads the body of a message.

    Raises:
        QueueError: If the queue cannot be reached.
    """
    seen: dict[str, ReceivedMessage] = {}
    try:
        while not stop.is_set():
            received = source.receive(
                max_messages=consumer.max_messages,
                wait_s=consumer.wait_time_s,
                visibility_s=consumer.visibility_timeout_s,
            )
            if received:
                log.info(user_messages.LOG_RECEIVED.format(count=len(received)))
            for message in received:
                if message.message_id not in seen:
                    _show(message, parse)
                seen[message.message_id] = message
            if consumer.run_once:
                break
    finally:
        _hand_back(source, list(seen.values()))
    return len(seen)


def _show(received: ReceivedMessage, parse: Parse) -> None:
    message = Message(received, received_s=0.0)
    try:
        parsed = parse(received.body)
    except InvalidMessage as exc:
        line = f"dry run: message {message.message_id} would fail: {exc.code}: {exc}"
        bad = bad_job(message, exc)
        code = exc.code.value
        log_outcome(line, action="fail", about=bad, level=logging.WARNING, code=code)
        return
    message.jobs = open_jobs(message, parsed)
    for what in parsed.skipped:
        line = f"dry run: would skip {what} (message {message.message_id})"
        log_outcome(line, action="skip", about=message)
    for job in message.jobs:
        url = redact_url(job.request.sqs_to_ml_url or "")
        line = f"dry run: would process {url} (ID: {job.request_id})"
        log_outcome(line, action="process", about=job)


def _hand_back(source: MessageSource, messages: list[ReceivedMessage]) -> None:
    for start in range(0, len(messages), BATCH):
        source.change_visibility(
            [
                VisibilityChange(
                    message_id=m.message_id, receipt_handle=m.receipt_handle, seconds=0
                )
                for m in messages[start : start + BATCH]
            ]
        )
