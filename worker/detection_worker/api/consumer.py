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
    from detection_worker.pipeline.service.feeders.worker import FedWorker

MessageHandler = Callable[[DetectionResult], None]
"""Gets each result envelope."""


class SQSDeepfakeConsumer:
    """Consumes an SQS queue: receives messages, analyses their files, posts and deletes.

    An argument that is None takes its value from the environment, the config file or the default,
    in this order; AWS keys from the config file, then from boto3's own chain.

    Args:
        queue_url: URL of the queue; None takes ``QUEUE_URL``.
        aws_region: AWS region of the queue and of buckets whose URLs do not name one.
        aws_access_key_id: AWS access key; give both keys or none.
        aws_secret_access_key: Secret of the access key.
        options: Every other option of ``detection-worker consume``, with underscores, such as
            ``models_dir``, ``wait_time``, ``visibility_timeout``, ``endpoint_url``, ``config``.

    Raises:
        UsageError: A setting is missing or wrong.
        TypeError: An option does not exist.
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
        self._consumer: Consumer | FedWorker | None = None

    def start_consuming(
        self, *, run_once: bool = False, message_handler: MessageHandler | None = None
    ) -> int:
        """Consume until ``stop`` or, in the main thread, SIGTERM or SIGINT.

        May be called from any thread, and again once it has returned.

        Args:
            run_once: Poll once, finish the messages received, and return.
            message_handler: Called with each result, one at a time, before its message is
                deleted. If it raises, the message goes back to the queue.

        Returns:
            An exit code. 0: done; with ``run_once``, every received message was finished. 1: the
            queue cannot be reached now, a message could not be released, or, with ``run_once``, a
            message was not finished. 130 or 143: SIGINT or SIGTERM interrupted ``run_once``.

        Raises:
            UsageError: No model, queue or credentials, or this consumer is already running.
        """
        # Here, so that importing the API stays cheap.
        from detection_worker.pipeline.service.feeders.choice import make_worker  # noqa: PLC0415 - heavy

        options = {**self._options, "run_once": True} if run_once else self._options
        with self._lock:
            if self._running:
                raise UsageError("This consumer is running\nMake another one, or stop it first.")
            self._consumer = make_worker(
                self._settings, load_consumer(options, os.environ), on_result=message_handler
            )
            self._running = True
        try:
            return self._consumer.run()
        finally:
            with self._lock:
                self._running = False

    def stop(self) -> None:
        """Drain, then end ``start_consuming``; a second call releases all messages at once."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.request_stop()

    def get_stats(self) -> dict[str, float]:
        """Return the counts of the current or the last run.

        Returns:
            ``messages_processed``, ``messages_failed``, ``messages_retried``, ``runtime_s`` and
            ``rate_per_s`` (messages per second); all 0 before the first run.
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
