"""The queue consumer as a Python object."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from detection_contract.result_types import DetectionResult
from detection_worker.config import load_consumer, load_settings
from detection_worker.config.table import SETTINGS
from detection_worker.errors import UsageError

if TYPE_CHECKING:
    from detection_worker.pipeline.service.consumer import Consumer

MessageHandler = Callable[[DetectionResult], None]


class SQSDeepfakeConsumer:
    """Works off an SQS queue; see ``start_consuming``.

    Args:
        queue_url: None takes ``QUEUE_URL``.
        aws_region: Like every argument: None takes config file, environment or default.
        aws_access_key_id: AWS access key.
        aws_secret_access_key: Of that key.
        options: Every other option of ``detection-worker consume``, with underscores, such as
            ``models_dir``, ``wait_time``, ``visibility_timeout``, ``endpoint_url``, ``config``.

    Raises:
        UsageError: A setting is missing or wrong.
        TypeError: There is no such option.
    """

    def __init__(
        self,
        queue_url: str | None = None,
        aws_region: str | None = None,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        **options: object,
    ) -> None:
        known = {row.option for row in SETTINGS} | {"config"}
        if unknown := sorted(options.keys() - known):
            raise TypeError(f"SQSDeepfakeConsumer has no option {', '.join(unknown)}")
        self._options: dict[str, object] = {
            **options,
            "queue_url": queue_url,
            "aws_region": aws_region,
            "aws_access_key_id": aws_access_key_id,
            "aws_secret_access_key": aws_secret_access_key,
        }
        self._settings = load_settings(self._options, os.environ, Path.cwd()).settings
        load_consumer(self._options, os.environ)
        self._lock = threading.Lock()
        self._running = False
        self._consumer: Consumer | None = None

    def start_consuming(
        self, *, run_once: bool = False, message_handler: MessageHandler | None = None
    ) -> int:
        """Consume until ``stop`` or, in the main thread, SIGTERM or SIGINT; return an exit code.

        0: done; with ``run_once``, every message that came was finished. 1: the queue cannot be
        reached now, something could not be handed back, or, with ``run_once``, a message was not
        finished. 130 or 143: ``run_once`` was interrupted by SIGINT or SIGTERM.

        May be called from any thread, and again once it has returned.

        Args:
            run_once: Poll once, finish what came, return.
            message_handler: Called with every result, one at a time, before its message is
                deleted; what it raises makes the message come again.

        Raises:
            UsageError: No model, queue or credentials; or it is consuming already.
        """
        # Here, so that a predictor needs none of the queue's parts.
        from detection_worker.pipeline.service.consumer import Consumer  # noqa: PLC0415 - heavy

        options = {**self._options, "run_once": True} if run_once else self._options
        with self._lock:
            if self._running:
                raise UsageError("This consumer is running\nMake another one, or stop it first.")
            self._consumer = Consumer(
                self._settings, load_consumer(options, os.environ), on_result=message_handler
            )
            self._running = True
        try:
            return self._consumer.run()
        finally:
            with self._lock:
                self._running = False

    def stop(self) -> None:
        """Drain and end ``start_consuming``; a second call hands everything back at once."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.request_stop()

    def get_stats(self) -> dict[str, float]:
        """Return the counts of the present or the last run.

        ``messages_processed``, ``messages_failed``, ``messages_retried``, ``runtime_s`` and
        ``rate_per_s``; all 0 before the first.
        """
        if self._consumer is None:
            names = ("processed", "failed", "retried")
            return {f"messages_{n}": 0 for n in names} | {"runtime_s": 0.0, "rate_per_s": 0.0}
        now = self._consumer.statistics
        return {
            "messages_processed": now.processed,
            "messages_failed": now.failed,
            "messages_retried": now.retried,
            "runtime_s": now.runtime_s,
            "rate_per_s": now.rate_per_s,
        }
