"""What the stages work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from detection_contract.result_types import DetectionResult
from detection_worker.cache.scores import ScoreCache
from detection_worker.callback.base import CallbackClient
from detection_worker.metrics import Metrics
from detection_worker.outbox.base import Outbox
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.files.downloads import DiskBudget
from detection_worker.pipeline.messages.flights import Flights
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.result_cache import ResultCache
from detection_worker.pipeline.messages.settlement import Settlement
from detection_worker.pipeline.stages.breaker import CircuitBreaker
from detection_worker.report.view import NotesOf
from detection_worker.results.base import Notifier, PageStore, ResultStore
from detection_worker.settings import DataSettings, ResultSettings
from detection_worker.storage.base import Storage

ResultHandler = Callable[[DetectionResult], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """How pages of results are made and kept.

    Attributes:
        store: Keeps them.
        notes: Knows the cards of models.
    """

    store: PageStore
    notes: NotesOf


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What the stages work with.

    Attributes:
        storage: Where media come from.
        decoding: Makes units of them.
        store: Keeps every envelope; None without one.
        notifier: Publishes notifications; None without destinations.
        callbacks: Posts results.
        outbox: Takes over callbacks that failed for now; None without one.
        in_flight: Notes signs of life.
        settlement: Ends jobs.
        breaker: Opens at downloads and destinations that fail for every message.
        results: Remembers finished jobs.
        metrics: Series to report to.
        data: Where downloads go, and whether they are removed.
        disk: How much of them.
        destinations: Which notifications go where.
        region: The worker's AWS region.
        pages: Makes a page of every stored result; None if none is wanted.
        trust_declared: See ``ProvenanceSettings``.
        queue_url: Named in results.
        on_result: Called with every delivered result; may be None.
        lanes: Parallel workers of each stage, a part of one where it is shared, for the service
            time.
        scores: The shared cache of scores; None without one.
        flights: Which objects are being analysed; None without ``scores``.
    """

    storage: Storage
    decoding: Decoding
    store: ResultStore | None
    notifier: Notifier | None
    callbacks: CallbackClient
    outbox: Outbox | None
    in_flight: InFlight
    settlement: Settlement
    breaker: CircuitBreaker
    results: ResultCache
    metrics: Metrics
    data: DataSettings
    disk: DiskBudget
    destinations: ResultSettings
    region: str
    queue_url: str
    on_result: ResultHandler | None
    lanes: Mapping[str, float]
    scores: ScoreCache | None = None
    flights: Flights | None = None
    pages: Pages | None = None
    trust_declared: bool = False
