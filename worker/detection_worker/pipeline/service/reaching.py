"""Reaching a queue at the start; loads nothing heavy."""

import logging
import threading
from collections.abc import Callable

from detection_contract.environment import EXIT_FAILED
from detection_worker.errors import UsageError
from detection_worker.settings import ConsumerSettings
from detection_worker.sources.base import QueueError, QueueFacts

START_PAUSE_S = 2.0
MAX_START_PAUSE_S = 60.0

log = logging.getLogger(__name__)


def reach_queue(
    read_facts: Callable[[], QueueFacts],
    consumer: ConsumerSettings,
    *,
    stop: threading.Event,
    on_wait: Callable[[str], None],
) -> QueueFacts | None:
    """Read a queue's attributes; None if told to stop before it could be reached.

    In a pod, broken credentials or a missing queue must not become a crash loop: the process
    stays up, not ready, and says why. At a terminal, and when it is to run once, it ends.

    Args:
        read_facts: Reads them.
        consumer: Its settings say whether a failure ends the process.
        stop: Ends the wait.
        on_wait: Told why it waits.

    Raises:
        QueueError: They cannot be read, and nobody waits for it.
    """
    pause_s = START_PAUSE_S
    while not stop.is_set():
        try:
            return read_facts()
        except QueueError as exc:
            if consumer.run_once or (exc.fatal and not consumer.control_port):
                raise
            on_wait(str(exc))
            log.error("cannot reach the queue: %s", exc)  # noqa: TRY400 - no bug, no traceback
            stop.wait(pause_s)
            pause_s = min(pause_s * 2, MAX_START_PAUSE_S)
    return None


def out_of_reach(exc: QueueError) -> int:
    """Return the exit code for a queue that cannot be read now.

    Raises:
        UsageError: Trying again is useless until a person has acted.
    """
    if exc.fatal:
        raise UsageError(str(exc)) from exc
    log.error("cannot reach the queue: %s", exc)
    return EXIT_FAILED
