"""What a consumer waits for before it has a pipeline: models and the queue."""

import logging
import threading
from collections.abc import Callable

from detection_contract import user_messages
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.registry import LoadedDetectors, load_detectors
from detection_worker.metrics import Metrics
from detection_worker.pipeline.service.reaching import reach_queue
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import MessageSource, QueueFacts

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
        device=consumer.device,
        threads=consumer.torch_threads,
        prefer=settings.models_prefer,
        analysis=settings.analysis,
        batch_units=consumer.batch_units,
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
    """Read the queue's attributes as ``reach_queue``, and warn if it has no dead-letter queue."""
    facts = reach_queue(source.facts, consumer, stop=stop, on_wait=on_wait)
    if facts is not None:
        _warn(facts, consumer)
    return facts


def _warn(facts: QueueFacts, consumer: ConsumerSettings) -> None:
    if not (consumer.dead_letter_queue_url or facts.dead_letter_queue_url):
        log.warning(
            "the queue has no dead-letter queue: messages that cannot succeed stay in it and "
            "are tried again and again; set a redrive policy or --dead-letter-queue-url"
        )
