"""Errors, one class for each that a caller handles differently."""

# ruff: noqa: N818 - the names say what happened, as the API server does

from typing import Final

HTTP_CONFLICT: Final = 409
HTTP_GONE: Final = 410
HTTP_SERVER_ERROR: Final = 500
TYPE_ERRORS: Final = (
    "failed to create typed patch object",
    "failed to convert new object",
    "unable to convert unstructured object",
)
"""Answers of a server-side apply, with status 500, to values of a wrong type."""


class OperatorError(Exception):
    """Base of all errors of the operator."""


class ClusterError(OperatorError):
    """The API server refused a request or did not answer.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        retry_after_s: Value of ``Retry-After`` in seconds; None without one.
    """

    def __init__(
        self, message: str, *, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class NotFound(ClusterError):
    """404: the object, or its kind, is not there."""


class Vanished(NotFound):
    """The DetectionQueue that owns the object was deleted, or one of its name was created."""


class Forbidden(ClusterError):
    """401 or 403: the operator's role lacks a rule."""


class Conflict(ClusterError):
    """409: the object changed since it was read; re-read and retry."""


class Gone(ClusterError):
    """410: the resource version is too old; list again."""


class Rejected(ClusterError):
    """400, 413, 422, or 500 for values of a wrong type: the same request fails again."""


class Overloaded(ClusterError):
    """429: too many requests; retry later."""


class Unavailable(ClusterError):
    """5xx or no answer: retry later."""


class Garbled(Unavailable, ValueError):
    """An answer that is not JSON: from a proxy, truncated, or a stream; retry later."""


class NotLeading(ClusterError):
    """Not sent: another process may hold the lease by now."""


_KINDS: Final[dict[int, type[ClusterError]]] = {
    400: Rejected,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    HTTP_CONFLICT: Conflict,
    HTTP_GONE: Gone,
    413: Rejected,
    422: Rejected,
    429: Overloaded,
}


def cluster_error(
    status: int, message: str, *, retry_after_s: float | None = None
) -> ClusterError:
    """Return the error for an HTTP status; 0 stands for no answer."""
    unknown: type[ClusterError] = Unavailable if status == 0 or status >= 500 else ClusterError
    if status == HTTP_SERVER_ERROR and any(words in message for words in TYPE_ERRORS):
        unknown = Rejected
    kind = _KINDS.get(status, unknown)
    return kind(message, status=status, retry_after_s=retry_after_s)


class LeaseLost(OperatorError):
    """Another process leads, or the lease could not be renewed in time."""


class InvalidSettings(OperatorError):
    """An option or environment variable has an invalid value; the message names it."""


class Failure(Exception):
    """A command failed; the message is for the terminal.

    Attributes:
        code: Exit code: 1 a negative result, 2 wrong usage or input.
    """

    def __init__(self, message: str, *, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
