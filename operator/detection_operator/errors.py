"""What can go wrong, one class for each thing that a caller does differently."""

# ruff: noqa: N818 - the names say what happened, as the API server does

from typing import Final

HTTP_CONFLICT: Final = 409
HTTP_GONE: Final = 410


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


class Forbidden(ClusterError):
    """401 or 403: the operator's role lacks a rule."""


class Conflict(ClusterError):
    """409: somebody else wrote first; read again and decide anew."""


class Gone(ClusterError):
    """410: the resource version is too old; list again."""


class Rejected(ClusterError):
    """400 or 422: the object itself is wrong; the same request fails again."""


class Overloaded(ClusterError):
    """429: ask again later."""


class Unavailable(ClusterError):
    """5xx, or no answer at all: ask again later."""


class NotLeading(ClusterError):
    """Not sent: the lease may be somebody else's by now."""


_KINDS: Final[dict[int, type[ClusterError]]] = {
    400: Rejected,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    HTTP_CONFLICT: Conflict,
    HTTP_GONE: Gone,
    422: Rejected,
    429: Overloaded,
}


def cluster_error(
    status: int, message: str, *, retry_after_s: float | None = None
) -> ClusterError:
    """Return the error for an HTTP status; 0 stands for no answer."""
    unknown = Unavailable if status == 0 or status >= 500 else ClusterError
    kind = _KINDS.get(status, unknown)
    return kind(message, status=status, retry_after_s=retry_after_s)


class LeaseLost(OperatorError):
    """Somebody else leads now, or the lease could not be renewed in time."""


class InvalidSettings(OperatorError):
    """An option or environment variable that cannot be followed; says which and why."""
