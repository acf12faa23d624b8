"""Sends one message to an SQS queue."""

import json
from dataclasses import replace
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from detection_contract.aws.errors import QueueFault, error_code, queue_fault
from detection_contract.aws.sqs_urls import own_endpoint
from detection_contract.user_messages import NO_SUCH_QUEUE
from detection_tracing.start import FLUSH_S
from detection_worker.aws_session import (
    client,
    explain_credentials,
    is_credentials_error,
    make_session,
)
from detection_worker.config import Loaded
from detection_worker.errors import UsageError
from detection_worker.sources.traced_sends import tracing_one
from detection_worker.tracing import tracing_here

_MAX_FIFO_ID: Final = 128
"""Longest group and deduplication id of SQS, in characters."""


def send(message: dict[str, object], queue_url: str, loaded: Loaded) -> str:
    """Send ``message`` as JSON and return its SQS message id.

    Raises:
        UsageError: It was not sent, or traces cannot be exported; the message says why.
    """
    entry: dict[str, Any] = {"QueueUrl": queue_url, "MessageBody": json.dumps(message)}
    if queue_url.endswith(".fifo"):
        request_id = str(message["request_id"])[:_MAX_FIFO_ID]
        entry |= {"MessageGroupId": request_id, "MessageDeduplicationId": request_id}
    aws = loaded.aws_for_queue(queue_url)
    aws = replace(aws, endpoint_url=aws.endpoint_url or own_endpoint(queue_url))
    tracing = tracing_here()
    try:
        sqs = client(make_session(aws), "sqs", aws, read_timeout_s=15.0)
        try:
            with tracing_one(tracing, queue_url, entry) as traced:
                return str(sqs.send_message(**traced)["MessageId"])
        finally:
            sqs.close()
            if tracing is not None:
                tracing.close(timeout_s=FLUSH_S)
    except (BotoCoreError, ClientError, OSError) as exc:
        raise UsageError(_why(exc, queue_url)) from exc


def _why(exc: BotoCoreError | ClientError | OSError, queue_url: str) -> str:
    if is_credentials_error(exc):
        return explain_credentials(exc)
    if not isinstance(exc, ClientError):
        return f"The queue cannot be reached: {exc}\nCheck the network and the queue URL."
    if queue_fault(exc.response) is QueueFault.MISSING:
        return NO_SUCH_QUEUE.format(url=queue_url)
    code = error_code(exc.response)
    return f"The message was not sent: {code}\nCheck the permission sqs:SendMessage."
