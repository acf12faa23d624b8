"""Every request that the services got: who asked for what, and when."""

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from detection_testing.aws.journal import S3Access
from detection_testing.aws.query import FORM
from detection_testing.http.values import Request

_QUEUE = re.compile(rb'"QueueUrl"\s*:\s*"[^"]*/([^/"]+)"')
_APPLICATION = re.compile(r"\bapp/(\S+)")
_SIGNED = re.compile(r"Credential=([^/,\s]+)/")


class RecordedCall(NamedTuple):
    """One request.

    Attributes:
        at_s: When it came, Unix seconds on the server's clock.
        operation: ``s3.GetObject``.
        resource: Bucket and key, ``BUCKET/KEY``; name of the queue; ARN of the topic; path of a
            callback; empty where there is none.
        caller: The application of its User-Agent, which ``AWS_SDK_UA_APP_ID`` sets, or else its
            access key.
        status: HTTP status of the answer; 0 while there is none.
        carried_out: It reached its service: neither a fault nor its credentials refused it.
    """

    at_s: float
    operation: str
    resource: str
    caller: str
    status: int = 0
    carried_out: bool = False


def s3_accesses(calls: Iterable[RecordedCall]) -> list[S3Access]:
    """Return the requests that S3 carried out."""
    return [
        S3Access(
            at_s=call.at_s,
            operation=call.operation.removeprefix("s3."),
            bucket=call.resource.partition("/")[0],
            key=call.resource.partition("/")[2],
            status=call.status,
        )
        for call in calls
        if call.carried_out and call.operation.startswith("s3.")
    ]


def resource_of(service: str, request: Request) -> str:
    """Return what a request of a service other than S3 is about."""
    if service == "sqs":
        found = _QUEUE.search(request.body)
        return found[1].decode("utf-8", "replace") if found else ""
    if service == "sns" and request.headers.get("content-type", "").startswith(FORM):
        return request.form().get("TopicArn", "")
    if service == "events":
        return _bus_of(request.body)
    return request.path if service == "callback" else ""


def caller_of(request: Request) -> str:
    """Return who made a request."""
    application = _APPLICATION.search(request.headers.get("user-agent", ""))
    if application:
        return application[1]
    signed = _SIGNED.search(request.headers.get("authorization", ""))
    return signed[1] if signed else ""


def chosen(
    calls: Iterable[RecordedCall], *, operation: str = "*", resource: str = "*"
) -> list[RecordedCall]:
    """Return the calls whose operation and resource match the patterns."""
    return [
        call
        for call in calls
        if fnmatchcase(call.operation, operation) and fnmatchcase(call.resource, resource)
    ]


def _bus_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["Entries"][0].get("EventBusName", "default"))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return ""
