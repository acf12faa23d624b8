"""The errors of Amazon S3, as it sends them."""

import uuid
from collections.abc import Mapping
from xml.sax.saxutils import escape

from detection_testing.http.values import Response


class S3Error(Exception):
    """A request that S3 refuses.

    Attributes:
        code: As S3 names it.
        status: HTTP status.
        details: More elements of the error document, by name.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.details = details or {}
        self.headers = headers or {}


def invalid_argument(message: str, *, name: str, value: str) -> S3Error:
    """Return the error for a header or parameter whose value S3 does not take."""
    details = {"ArgumentName": name, "ArgumentValue": value}
    return S3Error("InvalidArgument", message, status=400, details=details)


def precondition_failed(condition: str) -> S3Error:
    """Return the error for a condition, named by its header, that does not hold."""
    text = "At least one of the pre-conditions you specified did not hold"
    details = {"Condition": condition}
    return S3Error("PreconditionFailed", text, status=412, details=details)


def not_implemented(what: str) -> S3Error:
    """Return the error for what S3, or this stand-in for it, does not do."""
    text = "A header you provided implies functionality that is not implemented"
    return S3Error("NotImplemented", f"{text}: {what}", status=501)


def render_error(error: S3Error, *, resource: str) -> Response:
    """Return an error as S3 sends it; the server leaves the body away for HEAD, as S3 does."""
    request_id, host_id = uuid.uuid4().hex[:16].upper(), uuid.uuid4().hex
    elements = {
        "Code": error.code,
        "Message": str(error),
        **error.details,
        "Resource": resource,
        "RequestId": request_id,
        "HostId": host_id,
    }
    text = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'
    headers = {
        "Content-Type": "application/xml",
        "x-amz-request-id": request_id,
        "x-amz-id-2": host_id,
        **error.headers,
    }
    return Response(status=error.status, headers=headers, body=body.encode())
