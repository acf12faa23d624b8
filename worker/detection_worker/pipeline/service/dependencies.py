"""What a pipeline stands on: the outside world behind ports, and what its stages share of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from detection_contract.media_types import MediaKind
from detection_tracing.port import Tracing
from detection_worker.cache.base import EntryStore
from detection_worker.cache.digest import installed, scoring_digest
from detection_worker.cache.scores import ScoreCache
from detection_worker.callback.base import CallbackClient
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.media.values import Decoder
from detection_worker.metrics import Metrics
from detection_worker.outbox.base import Outbox
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.files.downloads import DiskBudget
from detection_worker.pipeline.files.handovers import MakeInference
from detection_worker.pipeline.messages.flights import Flights
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.result_cache import ResultCache
from detection_worker.pipeline.messages.settlement import Settlement
from detection_worker.pipeline.stages.breaker import CircuitBreaker
from detection_worker.pipeline.stages.context import Pages, ResultHandler, StageContext
from detection_worker.pipeline.stages.handovers import Fetched
from detection_worker.report.cards import Cards
from detection_worker.results.base import Notifier, PageStore, ResultStore
from detection_worker.settings import ConsumerSettings, ResultSettings, Settings
from detection_worker.sources.base import MessageSource, QueueFacts
from detection_worker.storage.base import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDependencies:
    """The outside world, behind ports.

    Attributes:
        source: The queue.
        facts: Read from it at the start.
        storage: Where media come from.
        decoder: Makes units of them; the pipeline does not close it.
        decoders: How many files it decodes at once.
        detectors: By media kind.
        callbacks: Posts results.
        store: Keeps every envelope; None without one.
        pages: Keeps pages beside the envelopes; None without a store.
        notifier: Publishes notifications; None without destinations.
        outbox: Takes over callbacks that failed for now; None without one.
        entries: Keeps the entries of the shared cache of scores; None without one.
        inference: Makes what scores; None scores in this process.
        device_share: Part of the device's time that this pipeline gets, above 0 and at most 1.
        tracing: Records forward passes; None without tracing.
    """

    source: MessageSource
    facts: QueueFacts
    storage: Storage
    decoder: Decoder
    decoders: int
    detectors: Mapping[MediaKind, Detector]
    callbacks: CallbackClient
    store: ResultStore | None = None
    pages: PageStore | None = None
    notifier: Notifier | None = None
    outbox: Outbox | None = None
    entries: EntryStore | None = None
    inference: MakeInference[Fetched] | None = None
    device_share: float = 1.0
    tracing: Tracing | None = None


def delivery_threads(results: ResultSettings, *, callback_workers: int) -> int:
    """Return how many results are delivered at once.

    One waits for the cache, the store, every topic, queue or bus and its receiver in turn: as many
    threads for each, so that destinations cost latency and no throughput.
    """
    others = (results.cache_url is not None) + (results.results_url is not None)
    told = max(len(results.on_success), len(results.on_failure))
    return callback_workers * (1 + others + told)


def make_scores(
    dependencies: PipelineDependencies, *, settings: Settings, metrics: Metrics
) -> ScoreCache | None:
    """Return the shared cache of scores of the loaded detectors; None without one."""
    if dependencies.entries is None:
        return None
    cards = [detector.card for detector in dependencies.detectors.values()]
    trusted = settings.provenance.trust_list
    scoring = scoring_digest(
        cards,
        settings.limits,
        video_audio=settings.video_audio,
        libraries=installed(),
        trust_list=None if trusted is None else trusted.read_bytes(),
    )
    return ScoreCache(dependencies.entries, scoring=scoring, cards=cards, metrics=metrics)


def make_pages(dependencies: PipelineDependencies, settings: Settings) -> Pages | None:
    """Return what makes pages of results; None if none are wanted."""
    if not settings.results.results_pages or dependencies.pages is None:
        return None
    cards = Cards(settings.models_dir or bundled_models_dir())
    return Pages(store=dependencies.pages, notes=cards.notes)


def make_context(
    dependencies: PipelineDependencies,
    *,
    settings: Settings,
    consumer: ConsumerSettings,
    metrics: Metrics,
    in_flight: InFlight,
    settlement: Settlement,
    scores: ScoreCache | None,
    flights: Flights | None,
    on_result: ResultHandler | None,
) -> StageContext:
    """Return what the stages of one pipeline work with."""
    return StageContext(
        storage=dependencies.storage,
        decoding=Decoding(
            decoder=dependencies.decoder,
            detectors=dependencies.detectors,
            limits=settings.limits,
            video_audio=settings.video_audio,
        ),
        store=dependencies.store,
        notifier=dependencies.notifier,
        callbacks=dependencies.callbacks,
        outbox=dependencies.outbox,
        in_flight=in_flight,
        settlement=settlement,
        breaker=CircuitBreaker(),
        results=ResultCache(),
        scores=scores,
        flights=flights,
        metrics=metrics,
        data=settings.data,
        disk=DiskBudget(consumer.max_bytes_in_flight),
        destinations=settings.results,
        region=settings.aws.region,
        pages=make_pages(dependencies, settings),
        trust_declared=settings.provenance.trust_declared,
        queue_url=consumer.queue_url,
        on_result=on_result,
        lanes={
            "download": consumer.downloaders,
            "decode": dependencies.decoders,
            "inference": dependencies.device_share,
            "callback": delivery_threads(
                settings.results, callback_workers=consumer.callback_workers
            ),
        },
    )
