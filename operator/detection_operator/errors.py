"""What can go wrong, one class for each thing that a caller does differently."""

# ruff: noqa: N818 - the names say what happened, as the API server does

from typing import Final

HTTP_CONFLICT: Final = 409
HTTP_GONE: Final = 410
HTTP_SERVER_ERROR: Final = 500
MISFITS: Final = (
    "failed to create typed patch object",
    "failed to convert new object",
    "unable to convert unstructured object",
)
"""What a server-side apply says, with a 500, of values that fit no field: they never will."""


class OperatorError(Exception):
    """Base of all errors of the operator."""


class ClusterError(OperatorError):
    """The API server did not do as asked.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        retry_after_s: How long the server asks to wait; None when it does not say.
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
    """The DetectionQueue that something was to be made for is gone, or another has its name."""


class Forbidden(ClusterError):
    """401 or 403: the operator's role lacks a rule."""


class Conflict(ClusterError):
    """409: somebody else wrote first; read again and decide anew."""


class Gone(ClusterError):
    """410: the resource version is too old; list again."""


class Rejected(ClusterError):
    """400, 413, 422 or a 500 for misfits: the object is wrong; the same request fails again."""


class Overloaded(ClusterError):
    """429: ask again later."""


class Unavailable(ClusterError):
    """5xx, or no answer at all: ask again later."""


class Garbled(Unavailable, ValueError):
    """An answer that is no JSON: of a proxy, cut off, or a stream; ask again later."""


class NotLeading(ClusterError):
    """Not sent: the lease may be somebody else's by now."""


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
    if status == HTTP_SERVER_ERROR and any(words in message for words in MISFITS):
        unknown = Rejected
    kind = _KINDS.get(status, unknown)
    return kind(message, status=status, retry_after_s=retry_after_s)


class LeaseLost(OperatorError):
    """Somebody else leads now, or the lease could not be renewed in time."""


class InvalidSettings(OperatorError):
    """An option or environment variable that cannot be followed; says which and why."""


class Failure(Exception):
    """A command that cannot do what was asked.

    Attributes:
        code: Exit code: 1 the answer is no, 2 the question was wrong.
    """

    def __init__(self, message: str, *, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
