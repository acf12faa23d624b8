"""Clients for one queue, and what the errors of their calls mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

from detection_contract import user_messages
from detection_contract.aws.errors import QueueFault, error_code, queue_fault
from detection_contract.aws.sqs_urls import is_public_endpoint, own_endpoint, region_of_queue
from detection_worker import aws_session
from detection_worker.settings import AwsSettings
from detection_worker.sources.base import QueueError

POOL: Final = 16


def queue_client(
    session: boto3.Session,
    aws: AwsSettings,
    queue_url: str,
    *,
    read_timeout_s: float,
    attempts: int = aws_session.ATTEMPTS,
) -> Any:
    """Return an SQS client for the region and host of a queue.

    Args:
        session: Session from ``aws_session.make_session``.
        aws: Region for queue URLs that name none, and the endpoint. Without an endpoint, a
            queue URL on a host other than AWS's public ones (an emulator, a VPC endpoint) is
            called at that host.
        queue_url: ``https://host/account/name``.
        read_timeout_s: As for ``aws_session.client``.
        attempts: As for ``aws_session.client``.

    Raises:
        QueueError: ``queue_url`` is not a URL.
    """
    _check(queue_url)
    aws = replace(aws, region=region_of_queue(queue_url) or aws.region)

    def made(aws: AwsSettings) -> Any:
        return aws_session.client(
            session, "sqs", aws, read_timeout_s=read_timeout_s, pool=POOL, attempts=attempts
        )

    client = made(aws)
    # An endpoint may also come from AWS_ENDPOINT_URL or a profile, which boto3 reads itself.
    endpoint_url = own_endpoint(queue_url)
    if endpoint_url and is_public_endpoint(client.meta.endpoint_url):
        client.close()
        client = made(replace(aws, endpoint_url=endpoint_url))
    return client


@contextmanager
def explained(queue_url: str) -> Iterator[None]:
    """Turn errors of a call into ``QueueError``; other exceptions are bugs and pass."""
    try:
        yield
    except aws_session.CALL_ERRORS as exc:
        raise _queue_error(exc, queue_url) from exc


def check_exists(client: Any, queue_url: str) -> None:
    """Call the queue once, to fail before the work starts.

    Not being allowed to read its attributes is no failure: sending needs another permission.

    Raises:
        QueueError: There is no such queue, SQS cannot be reached, or credentials do not work.
    """
    try:
        with explained(queue_url):
            client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    except QueueError as exc:
        cause = exc.__cause__
        if isinstance(cause, ClientError) and queue_fault(cause.response) is QueueFault.DENIED:
            return
        raise


def _queue_error(exc: Exception, queue_url: str) -> QueueError:
    code = error_code(exc.response) if isinstance(exc, ClientError) else type(exc).__name__
    if aws_session.is_credentials_error(exc):
        fatal = aws_session.needs_human(exc)
        return QueueError(aws_session.explain_credentials(exc), code=code, fatal=fatal)
    if not isinstance(exc, ClientError):
        text = user_messages.QUEUE_UNREACHABLE.format(code=code, url=queue_url)
        return QueueError(text, code=code, fatal=False)
    fault = queue_fault(exc.response)
    if fault is QueueFault.MISSING:
        return QueueError(user_messages.NO_SUCH_QUEUE.format(url=queue_url), code=code, fatal=True)
    if fault is QueueFault.DENIED:
        text = user_messages.QUEUE_DENIED.format(url=queue_url, code=code)
        return QueueError(text, code=code, fatal=True)
    return QueueError(f"SQS answered {code} for {queue_url}", code=code, fatal=False)


def _check(queue_url: str) -> None:
    try:
        host = urlsplit(queue_url).hostname
    except ValueError:
        host = None
    if not host:
        text = user_messages.NO_SUCH_QUEUE.format(url=queue_url)
        raise QueueError(text, code="InvalidAddress", fatal=True)
