"""What a consumer waits for before it has a pipeline: models and the queue."""

import logging
import threading
from collections.abc import Callable

from detection_contract import user_messages
from detection_worker.cores import usable_cores
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.registry import LoadedDetectors, load_detectors
from detection_worker.metrics import Metrics
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import MessageSource, QueueError, QueueFacts

START_PAUSE_S = 2.0
MAX_START_PAUSE_S = 60.0

log = logging.getLogger(__name__)


def load_models(
    settings: Settings, consumer: ConsumerSettings, metrics: Metrics
) -> LoadedDetectors:
    """Return the detectors of a worker, and show them in its metrics.

    Raises:
        UsageError: There is none.
    """
    loaded = load_detectors(
        settings.models_dir or bundled_models_dir(),
        device=_device(consumer.device),
        threads=consumer.torch_threads or usable_cores(),
        prefer=settings.models_prefer,
    )
    for problem in loaded.problems:
        log.warning("model not loaded: %s", problem)
    log.info(user_messages.LOG_LOADED.format(kinds=[k.value for k in loaded.by_kind]))
    for card in loaded.cards:
        metrics.model.labels(card.kind.value, card.name, card.version, card.grade).set(1)
    return loaded


def wait_for_queue(
    source: MessageSource,
    consumer: ConsumerSettings,
    *,
    stop: threading.Event,
    on_wait: Callable[[str], None],
) -> QueueFacts | None:
    """Read the queue's attributes; None if told to stop before it could be reached.

    In a pod, broken credentials or a missing queue must not become a crash loop: the worker
    stays up, not ready, and says why. At a terminal, and when it is to run once, it ends.

    Args:
        source: The queue.
        consumer: Says whether somebody waits.
        stop: Ends the wait.
        on_wait: Told why it waits.

    Raises:
        QueueError: It cannot be read, and nobody waits for it.
    """
    pause_s = START_PAUSE_S
    while not stop.is_set():
        try:
            facts = source.facts()
        except QueueError as exc:
            if consumer.run_once or (exc.fatal and not consumer.control_port):
                raise
            on_wait(str(exc))
            log.error("cannot reach the queue: %s", exc)  # noqa: TRY400 - no bug, no traceback
            stop.wait(pause_s)
            pause_s = min(pause_s * 2, MAX_START_PAUSE_S)
        else:
            _warn(facts, consumer)
            return facts
    return None


def _warn(facts: QueueFacts, consumer: ConsumerSettings) -> None:
    if not (consumer.dead_letter_queue_url or facts.dead_letter_queue_url):
        log.warning(
            "the queue has no dead-letter queue: messages that cannot succeed stay in it and "
            "are tried again and again; set a redrive policy or --dead-letter-queue-url"
        )


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    # Imported here so that a process which never scores does not pay for torch.
    import torch  # noqa: PLC0415

    return "cuda" if torch.cuda.is_available() else "cpu"
