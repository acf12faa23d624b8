"""What the pipeline knows of callbacks."""

from collections.abc import Callable
from typing import Protocol


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
    ) -> None:
        """Post ``body`` (JSON) until a 2xx answer, with bounded in-process retries.

        Args:
            url: http or https.
            body: The result; the same bytes on every attempt.
            webhook_id: Stable over retries and redeliveries: the receiver's idempotency key.
            request_id: Sent as ``X-Request-Id``.
            on_progress: Called before every attempt.
            cancelled: Asked before every attempt and while waiting for the next.

        Raises:
            JobError: ``CALLBACK_UNREACHABLE`` when attempts are used up (``retry_after_s`` set if
                the endpoint said so), ``CALLBACK_REJECTED`` on an answer that a retry cannot
                change, ``CALLBACK_FORBIDDEN`` when the address may not be called.
            Cancelled: ``cancelled`` said so.
        """
        ...
