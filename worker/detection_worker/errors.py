"""The worker's errors. ``JobError`` is about one message; ``UsageError`` stops a command."""

from detection_contract.error_codes import Disposition, ErrorCode, disposition


class WorkerError(Exception):
    """Base of every error that this package raises itself."""


class UsageError(WorkerError):
    """A command cannot continue; the message says why and, on the next line, what to do.

    The command line prints it and exits non-zero without a traceback.
    """


class JobError(WorkerError):
    """One job failed, for a coded reason.

    Attributes:
        code: Code of the reason; decides what becomes of the message.
        retry_after_s: Seconds that the failing service asked to wait; None if it did not.
        environment: The worker's own environment failed (credentials, clock, network, disk), so
            every message would fail like this one.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retry_after_s: float | None = None,
        environment: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
        self.environment = environment

    @property
    def message(self) -> str:
        """Human-readable reason, without secrets and signed URLs."""
        return str(self.args[0])

    @property
    def disposition(self) -> Disposition:
        """Whether the message is retried or dead-lettered."""
        return disposition(self.code)


class Cancelled(WorkerError):  # noqa: N818 - not an error of the job: its lease was lost or it must stop
    """The job was cancelled: its lease was lost or the worker drains. Nothing is reported."""
