"""The outbox as the pipeline sees it."""

from dataclasses import dataclass
from typing import Protocol

from detection_contract.error_codes import ErrorCode
from detection_tracing.contexts import Carrier


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCallback:
    """A callback that could not be delivered for now.

    Attributes:
        url: Callback URL.
        body: The encoded envelope; every attempt posts these bytes.
        webhook_id: The same for every attempt.
        request_id: For the header, and in the log.
        message_id: SQS message id of the work message.
        result_url: ``s3://`` URL of the stored envelope; None without a store.
        code: Why the last attempt failed.
        reason: The same as a sentence.
        retry_after_s: How long the receiver asked us to wait, if it did.
        carrier: The trace that later attempts go on with; None without one.
    """

    url: str
    body: bytes
    webhook_id: str
    request_id: str
    message_id: str
    result_url: str | None
    code: ErrorCode
    reason: str
    retry_after_s: float | None = None
    carrier: Carrier | None = None


class Outbox(Protocol):
    """Takes over callbacks; thread-safe."""

    def put(self, callback: PendingCallback) -> None:
        """Keep a callback until it is delivered; returns once SQS has it.

        Raises:
            JobError: ``CALLBACK_UNREACHABLE`` with the callback's own reason if the outbox does
                not take it: the work message is tried again as without an outbox.
        """
        ...
