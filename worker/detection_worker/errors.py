"""The worker's errors. ``JobError`` is about one message; ``UsageError`` stops a command."""

from detection_contract.error_codes import Disposition, ErrorCode, disposition


class WorkerError(Exception):
    """Base of every error that this package raises on purpose."""


class UsageError(WorkerError):
    """A command cannot go on; the text says why and, on the next line, what to do.

    The command line prints it and exits non-zero without a traceback.
    """


class JobError(WorkerError):
    """One job failed, for a coded reason.

    Attributes:
        code: Why; decides what becomes of the message.
        retry_after_s: How long the failing side asked us to wait, if it did.
        environment: The worker's own surroundings failed (credentials, clock, network, disk):
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
        """What was wrong, for a person; holds no secret and no signed URL."""
        return str(self.args[0])

    @property
    def disposition(self) -> Disposition:
        """What becomes of the message."""
        return disposition(self.code)


class Cancelled(WorkerError):  # noqa: N818 - not an error of the job: its lease was lost or it must stop
    """The job was told to stop: its lease was lost or the worker drains. Nothing is reported."""
