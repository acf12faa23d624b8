"""A whole pipeline over a strict in-memory queue; network, decoder and model are scripted."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind, kind_of_name
from detection_contract.result_types import DetectionResult
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.values import Disorder, QueueSettings
from detection_testing.media.sample_info import media_info
from detection_tracing.port import Span
from detection_worker.cache.base import CacheError, StoredEntry
from detection_worker.core.sampling import AudioSampling, ImageSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard
from detection_worker.errors import Cancelled, JobError
from detection_worker.media.declarations import Provenance
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.metrics import Metrics
from detection_worker.outbox.base import PendingCallback
from detection_worker.outbox.gate import GatedCallbacks, HostGate
from detection_worker.pipeline.device.client import Device, RemoteInference, connect
from detection_worker.pipeline.device.server import DeviceServer
from detection_worker.pipeline.messages.settlement import MessageCounts
from detection_worker.pipeline.service.dependencies import PipelineDependencies
from detection_worker.pipeline.service.pipeline import Pipeline
from detection_worker.results.base import Notification, ResultId, StoredResult
from detection_worker.settings import (
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    ProvenanceSettings,
    ResultSettings,
    Settings,
)
from detection_worker.sources.base import (
    EntryFailure,
    QueueError,
    QueueFacts,
    ReceivedMessage,
    VisibilityChange,
)
from detection_worker.storage.base import FetchedObject, ObjectFacts

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/deepfake-queue"
DLQ_URL = QUEUE_URL + "-dlq"


class StrictSource:
    """A MessageSource over ``SqsQueue`` with the real clock and scripted faults."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.queue = SqsQueue(name="q", arn="arn:aws:sqs:us-east-1:1:q", settings=QueueSettings())
        self.dead: list[tuple[ReceivedMessage, str, str]] = []
        self.calls: list[str] = []
        self.refuse: dict[str, str] = {}
        self.max_receive_count: int | None = 5
        self.poll_gate: threading.Event | None = None
        self.slow_polls_s = 0.2
        self.late_answer_s = 0.0
        self.polls = threading.Semaphore(0)

    def duplicate_deliveries(self) -> None:
        self.queue = SqsQueue(
            name="q",
            arn=self.queue.arn,
            settings=QueueSettings(),
            disorder=Disorder(seed=1, duplicate_rate=0.9),
        )

    def send(self, body: object) -> str:
        text = body if isinstance(body, str) else json.dumps(body)
        with self._lock:
            return self.queue.send(text, now_s=time.time()).message_id

    def facts(self) -> QueueFacts:
        counts = self.counts()
        return QueueFacts(
            visibility_timeout_s=30,
            max_receive_count=self.max_receive_count,
            dead_letter_queue_url=DLQ_URL if self.max_receive_count else None,
            visible=counts[0],
            in_flight=counts[1],
            delayed=counts[2],
            fifo=False,
        )

    def counts(self) -> tuple[int, int, int]:
        with self._lock:
            return self.queue.counts(now_s=time.time())

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_s: int
    ) -> list[ReceivedMessage]:
        self._note("receive")
        self.polls.release()
        if self.poll_gate is not None:
            self.poll_gate.wait(30)
        deadline = time.monotonic() + min(wait_s, self.slow_polls_s)
        while True:
            with self._lock:
                found = self.queue.receive(
                    max_messages=max_messages, now_s=time.time(), visibility_s=visibility_s
                )
            if found or time.monotonic() >= deadline:
                return [
                    ReceivedMessage(
                        message_id=d.message.message_id,
                        receipt_handle=d.handle,
                        body=d.message.body,
                        receive_count=d.receive_count,
                        sent_at_s=d.message.sent_s,
                        attributes={},
                    )
                    for d in found
                ]
            time.sleep(0.01)

    def delete(self, handles: Sequence[tuple[str, str]]) -> list[EntryFailure]:
        self._note("delete")
        with self._lock:
            for _, handle in handles:
                self.queue.delete(handle, now_s=time.time())
        return []

    def change_visibility(self, changes: Sequence[VisibilityChange]) -> list[EntryFailure]:
        self._note("change_visibility")
        failures = []
        with self._lock:
            for change in changes:
                try:
                    self.queue.change_visibility(
                        change.receipt_handle, change.seconds, now_s=time.time()
                    )
                except SqsError as exc:
                    failures.append(
                        EntryFailure(message_id=change.message_id, code=exc.code, lost=True)
                    )
        time.sleep(self.late_answer_s)
        return failures

    def dead_letter(
        self, message: ReceivedMessage, *, queue_url: str, code: str, reason: str
    ) -> None:
        self._note("dead_letter")
        assert queue_url == DLQ_URL
        self.dead.append((message, code, reason))

    def steal(self, message_id: str) -> None:
        """Let the lease run out on the server's side and give the message to another worker."""
        with self._lock:
            held = self.queue.in_flight(now_s=time.time())
            assert message_id in {m.message_id for m in held}
            late = max(m.due_s for m in held) + 1
            self.queue.receive(max_messages=10, now_s=late, visibility_s=600)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.refuse:
            raise QueueError(self.refuse[call], code="Scripted", fatal=False)


class Script:
    """What happens to a key in one stage: errors to raise in turn, or a gate to wait at."""

    def __init__(self) -> None:
        self.errors: dict[str, list[Exception]] = {}
        self.gates: dict[str, threading.Event] = {}
        self.entered: dict[str, threading.Event] = {}
        self.count: dict[str, int] = {}
        self._lock = threading.Lock()

    def gate(self, key: str) -> threading.Event:
        self.gates[key] = threading.Event()
        self.entered[key] = threading.Event()
        return self.gates[key]

    def enter(self, key: str, cancelled: Callable[[], bool]) -> None:
        with self._lock:
            self.count[key] = self.count.get(key, 0) + 1
            errors = self.errors.get(key)
            error = errors.pop(0) if errors else None
        if key in self.gates:
            self.entered[key].set()
            while not self.gates[key].wait(0.01):
                if cancelled():
                    raise Cancelled
        if error is not None:
            raise error


class FakeStorage:
    """Objects of four bytes, each with the ETag ``e`` until a test gives it another one."""

    def __init__(self) -> None:
        self.script = Script()
        self.etags: dict[str, str] = {}
        self.kept: dict[str, int] = {}
        self.results: set[str] = set()

    def fetch(
        self,
        location: S3Location,
        target: Path,
        *,
        max_bytes: int,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> FetchedObject:
        del max_bytes
        self.script.enter(location.key, cancelled)
        on_progress()
        target.write_bytes(location.key.encode())
        return FetchedObject(
            path=target,
            size_bytes=4,
            content_type="image/png",
            last_modified=None,
            etag=self.etags.get(location.key, "e"),
            is_result=location.key in self.results,
        )

    def fetch_unless(
        self,
        location: S3Location,
        known: ObjectFacts,
        target: Path,
        *,
        max_bytes: int,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> FetchedObject | None:
        if known.etag == self.etags.get(location.key, "e"):
            self.script.enter(location.key, cancelled)
            self.kept[location.key] = self.kept.get(location.key, 0) + 1
            return None
        return self.fetch(
            location,
            target,
            max_bytes=max_bytes,
            on_progress=on_progress,
            cancelled=cancelled,
        )

    def probe(self, location: S3Location, target: Path) -> None:
        self.script.enter(location.key, lambda: False)
        target.write_bytes(b"x")


class FakeEntries:
    """Cache entries of all workers of a test, in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[str, StoredEntry] = {}
        self.calls: list[str] = []
        self.error: CacheError | None = None

    def get(self, name: str) -> StoredEntry | None:
        self._called("get")
        return self.entries.get(name)

    def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        self._called("put")
        old = self.entries.get(name)
        if (old.etag if old else None) != replaces:
            return None
        etag = f'"{len(self.calls)}"'
        self.entries[name] = StoredEntry(body=body, etag=etag)
        return etag

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


class FakeDecoder:
    """Units whose first pixel is taken from the name: ``7_x.png`` decodes to sevens."""

    def __init__(self) -> None:
        self.script = Script()
        self.folders: list[Path] = []
        self.provenance: Provenance | None = None
        self.previews: list[bool] = []

    def decode(
        self,
        request: DecodeRequest,
        *,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> DecodedMedia:
        key = request.path.read_text()
        self.folders.append(request.path.parent)
        self.script.enter(key, cancelled)
        on_progress()
        kind = kind_of_name(key) or MediaKind.IMAGE
        value = int(key.split("_")[0]) if key.split("_")[0].isdigit() else 1
        units: NDArray[np.uint8] | NDArray[np.float32]
        if kind is MediaKind.AUDIO:
            units = np.full((2, 16), value, dtype=np.float32)
        else:
            units = np.full((2, 8, 8, 3), value, dtype=np.uint8)
        thumbnails = np.full((1, 6, 6, 3), value, dtype=np.uint8)
        self.previews.append(request.preview)
        return DecodedMedia(
            info=replace(media_info(side_px=8, kind=kind), provenance=self.provenance),
            thumbnails=thumbnails if request.preview and kind is not MediaKind.AUDIO else None,
            units=units,
            frame=np.zeros(2, dtype=np.int32),
            at_s=np.zeros(1),
            boxes=np.zeros((0, 4), dtype=np.int32),
        )

    def close(self) -> None:
        pass


class ValueDetector:
    """Logit = value - 5; refuses the value 13, answers 14 with NaN."""

    def __init__(self, kind: MediaKind) -> None:
        self.card = DetectorCard(
            name=f"value-{kind}",
            version="1",
            sha256="f" * 64,
            grade="demo",
            kind=kind,
            sampling=AudioSampling() if kind is MediaKind.AUDIO else ImageSampling(),
            pooling=Pooling(),
            calibration=Calibration(),
        )
        self.batches: list[int] = []

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        values = units.reshape(len(units), -1)[:, 0].astype(np.float32)
        self.batches.append(len(units))
        if (values == 13).any():
            raise RuntimeError("the device does not like thirteen")
        return np.where(values == 14, np.nan, values - 5).astype(np.float32)


@dataclass(slots=True)
class Posted:
    url: str
    body: bytes
    webhook_id: str
    request_id: str

    @property
    def result(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class FakeCallbacks:
    def __init__(self) -> None:
        self.script = Script()
        self.posted: list[Posted] = []
        self.attempts: list[Posted] = []
        self.journal: list[str] = []

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
        del trace
        post = Posted(url, body, webhook_id, request_id)
        self.attempts.append(post)
        on_progress()
        self.script.enter(request_id, cancelled)
        self.posted.append(post)
        self.journal.append(f"post {request_id}")


class FakeStore:
    """Keeps the first envelope of each message; a ``put`` is scripted by request id."""

    def __init__(self, journal: list[str]) -> None:
        self.script = Script()
        self.find_script = Script()
        self.journal = journal
        self.kept: dict[str, tuple[ResultId, bytes]] = {}
        self.tried: list[tuple[ResultId, bytes]] = []
        self.sought: list[str] = []

    @property
    def bodies(self) -> dict[str, bytes]:
        return {request_id: body for request_id, (_, body) in self.kept.items()}

    def put(self, result_id: ResultId, body: bytes) -> StoredResult:
        self.tried.append((result_id, body))
        self.script.enter(result_id.request_id, lambda: False)
        there = self._of(result_id)
        if there is None:
            self.kept[result_id.request_id] = (result_id, body)
            self.journal.append(f"store {result_id.request_id}")
        return self._stored(result_id.request_id)

    def find(self, result_id: ResultId) -> StoredResult | None:
        self.sought.append(result_id.request_id)
        self.find_script.enter(result_id.request_id, lambda: False)
        return self._stored(result_id.request_id) if self._of(result_id) else None

    def _of(self, result_id: ResultId) -> bytes | None:
        whose, body = self.kept.get(result_id.request_id, (None, b""))
        same = whose and (whose.message_id, whose.index) == (result_id.message_id, result_id.index)
        return body if same else None

    def _stored(self, request_id: str) -> StoredResult:
        return StoredResult(url=f"s3://results/{request_id}.json", body=self.kept[request_id][1])


class FakePages:
    """Keeps pages; scripted by request id."""

    def __init__(self, journal: list[str]) -> None:
        self.script = Script()
        self.journal = journal
        self.kept: dict[str, str] = {}

    def put_page(self, result_id: ResultId, page: bytes, *, only_if_missing: bool) -> None:
        name = result_id.request_id
        self.script.enter(name, lambda: False)
        self.journal.append(f"page {name}")
        if not (only_if_missing and name in self.kept):
            self.kept[name] = page.decode()


class FakeNotifier:
    """Takes notifications; scripted by destination."""

    def __init__(self, journal: list[str]) -> None:
        self.script = Script()
        self.journal = journal
        self.published: list[tuple[str, Notification]] = []
        self.calls: list[tuple[str, int]] = []

    def publish(self, arn: str, notifications: Sequence[Notification]) -> list[JobError | None]:
        self.calls.append((arn, len(notifications)))
        return [self._publish(arn, notification) for notification in notifications]

    def _publish(self, arn: str, notification: Notification) -> JobError | None:
        try:
            self.script.enter(arn, lambda: False)
        except JobError as exc:
            return exc
        self.published.append((arn, notification))
        self.journal.append(f"notify {arn}")
        return None


class FakeOutbox:
    """Takes callbacks; scripted by request id."""

    def __init__(self, journal: list[str]) -> None:
        self.script = Script()
        self.journal = journal
        self.taken: list[PendingCallback] = []

    def put(self, callback: PendingCallback) -> None:
        self.script.enter(callback.request_id, lambda: False)
        self.taken.append(callback)
        self.journal.append(f"outbox {callback.request_id}")


@dataclass
class Rig:
    """A pipeline and everything around it."""

    cache_dir: Path
    source: StrictSource = field(default_factory=StrictSource)
    storage: FakeStorage = field(default_factory=FakeStorage)
    decoder: FakeDecoder = field(default_factory=FakeDecoder)
    callbacks: FakeCallbacks = field(default_factory=FakeCallbacks)
    metrics: Metrics = field(default_factory=Metrics)
    message_counts: MessageCounts = field(default_factory=MessageCounts)
    consumer: ConsumerSettings = field(
        default_factory=lambda: ConsumerSettings(
            queue_url=QUEUE_URL,
            wait_time_s=1,
            poll_interval_s=0.05,
            max_backoff_s=1,
            downloaders=4,
            callback_workers=4,
            pollers=1,
        )
    )
    detectors: dict[MediaKind, ValueDetector] = field(
        default_factory=lambda: {k: ValueDetector(k) for k in (MediaKind.IMAGE, MediaKind.AUDIO)}
    )
    results: list[DetectionResult] = field(default_factory=list)
    on_result_error: Exception | None = None
    video_audio: bool = True
    provenance: ProvenanceSettings = field(default_factory=ProvenanceSettings)
    destinations: ResultSettings = field(default_factory=ResultSettings)
    callback_url: str | None = None
    store: FakeStore | None = None
    pages: FakePages | None = None
    notifier: FakeNotifier | None = None
    entries: FakeEntries | None = None
    outbox: FakeOutbox | None = None
    gate: HostGate | None = None
    pipeline: Pipeline | None = None
    remote: bool = False
    """Score through a connection to a server of the device, as a feeder does."""
    server: DeviceServer | None = None

    @property
    def journal(self) -> list[str]:
        """What was stored, published and posted, in order."""
        return self.callbacks.journal

    def keep_results(
        self,
        *,
        on_success: Sequence[str] = (),
        on_failure: Sequence[str] = (),
        pages: bool = False,
    ) -> None:
        """Give the pipeline a store, and a notifier for these destinations."""
        self.pages = FakePages(self.journal)
        self.store = FakeStore(self.journal)
        self.notifier = FakeNotifier(self.journal) if on_success or on_failure else None
        self.destinations = ResultSettings(
            results_url="s3://results/",
            results_pages=pages,
            on_success=tuple(on_success),
            on_failure=tuple(on_failure),
        )

    def keep_callbacks(self) -> None:
        """Give the pipeline an outbox, and what is known of hosts."""
        self.outbox = FakeOutbox(self.journal)
        self.gate = HostGate(self.metrics.outbox)

    def share_scores(self) -> None:
        """Give the pipeline, and those of ``another``, a shared cache of scores."""
        self.entries = FakeEntries()

    def another(self, name: str) -> "Rig":
        """Return a second worker on the same queue, store and destinations."""
        return replace(
            self,
            cache_dir=self.cache_dir.with_name(name),
            storage=FakeStorage(),
            decoder=FakeDecoder(),
            metrics=Metrics(),
            message_counts=MessageCounts(),
            results=[],
            pipeline=None,
        )

    def start(self, **changes: object) -> Pipeline:
        self.consumer = replace(self.consumer, **changes)  # type: ignore[arg-type] # test values
        device = self._connected() if self.remote else None
        self.pipeline = Pipeline(
            PipelineDependencies(
                inference=None if device is None else partial(RemoteInference, device),
                source=self.source,
                facts=self.source.facts(),
                storage=self.storage,
                decoder=self.decoder,
                decoders=2,
                detectors=self.detectors if device is None else device.detectors,
                callbacks=(
                    GatedCallbacks(
                        self.callbacks, self.gate, threads=self.consumer.callback_workers
                    )
                    if self.gate
                    else self.callbacks
                ),
                outbox=self.outbox,
                store=self.store,
                pages=self.pages,
                notifier=self.notifier,
                entries=self.entries,
            ),
            settings=Settings(
                data=DataSettings(s3_cache_dir=self.cache_dir),
                callback=CallbackSettings(url=self.callback_url),
                results=self.destinations,
                video_audio=self.video_audio,
                provenance=self.provenance,
            ),
            consumer=self.consumer,
            metrics=self.metrics,
            counts=self.message_counts,
            on_result=self._on_result,
        )
        self.pipeline.start()
        return self.pipeline

    def _connected(self) -> Device:
        # The server takes units of the detector's shape only: those of ``FakeDecoder``.
        for detector in self.detectors.values():
            sound = detector.card.kind is MediaKind.AUDIO
            sampling = AudioSampling(window=16) if sound else ImageSampling(crop_px=8)
            detector.card = replace(detector.card, sampling=sampling)
        self.server = DeviceServer(
            self.detectors,
            max_units=self.consumer.batch_units,
            max_wait_s=self.consumer.batch_wait_s,
            memory_bytes=1 << 20,
            on_batch=self.metrics.batch_units.observe,
        )
        return connect(self.server.connect(), timeout_s=20)

    def send(self, key: str, **fields: object) -> str:
        return self.source.send(
            {"sqs_to_ml_url": f"s3://bucket/{key}", "callback_url": "https://cb.test/x", **fields}
        )

    def empty(self) -> bool:
        return self.source.counts() == (0, 0, 0)

    @staticmethod
    def eventually(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> bool:
        """Wait until ``condition`` holds; False if it did not in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.005)
        return condition()

    @staticmethod
    def error(code: ErrorCode, text: str = "scripted", **more: Any) -> JobError:
        return JobError(code, text, **more)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def counts(self, wanted: float, name: str, **labels: str) -> bool:
        """Wait until a counter stands at ``wanted``: it moves after the queue is empty."""
        return self.eventually(lambda: self.metric(name, **labels) == wanted)

    def files(self) -> list[Path]:
        return list(self.cache_dir.rglob("*")) if self.cache_dir.exists() else []

    def _on_result(self, result: DetectionResult) -> None:
        if self.on_result_error is not None:
            error, self.on_result_error = self.on_result_error, None
            raise error
        self.results.append(result)

    def stop(self, *, grace_s: float = 5.0) -> bool:
        pipeline, self.pipeline = self.pipeline, None
        if pipeline is None:
            return True
        for part in (self.storage, self.decoder, self.callbacks, self.store, self.notifier):
            if grace_s >= 5.0 and part is not None:
                for gate in part.script.gates.values():
                    gate.set()
        clean = pipeline.stop(grace_s=grace_s)
        pipeline.close()
        if self.server is not None:
            self.server.close()
        return clean


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    built = Rig(cache_dir=tmp_path / "cache", remote=getattr(request, "param", None) == "device")
    yield built
    if built.source.poll_gate is not None:
        built.source.poll_gate.set()
    built.stop()
