"""Callbacks as the pipeline sees them."""

from collections.abc import Callable
from typing import Protocol

from detection_tracing.port import Span


class CallbackClient(Protocol):
    """Posts results; thread-safe."""

    def post(
        self,
        url: str,
        body: bytes,
        *,
        webhook_id: str,
        request_id: str,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
        trace: Span | None = None,
    ) -> None:
        """Post ``body`` (JSON) until a 2xx answer, with bounded in-process retries.

        Args:
            url: http or https URL.
            body: The result; the same bytes on every attempt.
            webhook_id: The receiver's idempotency key: the same for retries and redeliveries.
            request_id: Value of the header ``X-Request-Id``.
            on_progress: Called before every attempt.
            cancelled: Called before every attempt and while waiting for the next; True stops.
            trace: Each attempt is a step of it, whose context goes along; None sends none.

        Raises:
            JobError: ``CALLBACK_UNREACHABLE`` when attempts are used up (with ``retry_after_s`` if
                the receiver sent Retry-After), ``CALLBACK_REJECTED`` for an answer that a retry
                cannot change, ``CALLBACK_FORBIDDEN`` when the address may not be called.
            Cancelled: ``cancelled`` returned True.
        """
        ...
