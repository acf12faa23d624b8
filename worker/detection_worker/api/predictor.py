"""Detection in local files and S3 objects; results are envelopes as in callbacks."""

import logging
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from detection_contract.media_types import MediaKind
from detection_contract.messages import DEFAULT_THRESHOLD
from detection_contract.result_types import DetectionResult
from detection_worker.api.batch import Batch, Needs, concluded
from detection_worker.api.evidence import EvidenceKind, draw
from detection_worker.api.files import S3Files
from detection_worker.api.inputs import LocalFile, at_hand, fetched, is_url
from detection_worker.api.lazy_models import ALL_KINDS, LazyModels
from detection_worker.cores import usable_cores
from detection_worker.errors import Cancelled, UsageError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.jail.trust import trust_list_of
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.stages.file_pipeline import FilePipeline, FileTask
from detection_worker.settings import Settings

BATCH_UNITS: Final = 0
"""Units of one forward pass: as many as the device asks for."""
BATCH_WAIT_S: Final = 0.004
"""Seconds an idle device waits for more units; both are the consumer's defaults."""

log = logging.getLogger(__name__)


class Predictor:
    """Detects deepfakes in local files and S3 objects.

    Thread-safe: files of several threads are decoded in parallel and scored together. Decoding
    runs in child processes, so close it, or use it in a ``with`` statement.

    Args:
        settings: AWS settings, limits and models.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, which takes the GPU if there is one.
        threads: Threads of one forward pass; 0 leaves the number to torch.
        threshold: P(fake) from which the label is FAKE, in [0, 1], unless a call gives another.
        decoders: Files that ``predict_many`` decodes at once; 0 means one for each core.

    Raises:
        ValueError: The threshold is out of range.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        device: str = "auto",
        threads: int = 0,
        threshold: float = DEFAULT_THRESHOLD,
        decoders: int = 0,
    ) -> None:
        self._settings = settings
        self._threshold = _checked(threshold, "threshold")
        self._decoders = decoders or usable_cores()
        self._decoder = ProcessDecoder(1, trust_list=trust_list_of(settings.provenance))
        self._models = LazyModels(settings, device=device, threads=threads)
        self._decoding: Decoding | None = None
        self._pipeline: FilePipeline | None = None
        self._files: S3Files | None = None
        self._closed = False
        self._lock = threading.RLock()

    @property
    def files(self) -> S3Files:
        """The S3 client; made when first needed, so local files need no AWS."""
        with self._lock:
            if self._files is None:
                self._files = S3Files(self._settings)
            return self._files

    def load_models(self) -> list[str]:
        """Load the models of all kinds, where a file would load those that it needs.

        Returns:
            The media kinds that can be scored: ``image``, ``video``, ``audio``.

        Raises:
            UsageError: No model could be loaded, or the predictor is closed.
        """
        with self._lock:
            self._running(ALL_KINDS)
            return [kind.value for kind in MediaKind if kind in self._models.by_kind]

    def predict_auto(
        self, path_or_url: str | Path, *, confidence_threshold: float | None = None
    ) -> DetectionResult:
        """Analyse a local file or an S3 object.

        Models are loaded if they are not loaded yet. A download is removed afterwards unless
        ``cleanup_temp_files`` is off; ``local_path`` of the result says where it was.

        Args:
            path_or_url: Path, or S3 URL in any documented form.
            confidence_threshold: P(fake) from which the label is FAKE, in [0, 1]. None takes the
                predictor's.

        Returns:
            The result envelope, with ``status`` ``finished``.

        Raises:
            JobError: The file cannot be fetched, decoded or scored; ``code`` and ``message`` say
                why.
            UsageError: No model could be loaded, or the predictor is closed.
            ValueError: The threshold is out of range.
        """
        threshold = self._chosen(confidence_threshold)
        started_s = time.perf_counter()
        file = self._at_hand(path_or_url)
        try:
            task = self._run(file, threshold)
            return concluded(
                file,
                task,
                started_s=started_s,
                trust_declared=self._settings.provenance.trust_declared,
            )
        except Cancelled as exc:
            raise _closed() from exc
        finally:
            file.remove()

    def predict_many(
        self,
        paths_or_urls: Iterable[str | Path],
        *,
        confidence_threshold: float | None = None,
    ) -> Iterator[DetectionResult]:
        """Analyse many files and yield their result envelopes in the order of the inputs.

        Files are decoded in parallel and scored together. Inputs are read as they are needed and
        results are not kept, so memory does not grow with the number of files.

        Args:
            paths_or_urls: Paths, and S3 URLs in any documented form. ``s3://bucket/prefix/`` means
                every media object below, ``s3://bucket/dir/*.mp4`` those that match: ``*`` stands
                for any characters but ``/``, ``**`` for any.
            confidence_threshold: P(fake) from which the label is FAKE, in [0, 1]. None takes the
                predictor's.

        Yields:
            One result envelope for each file. A file that cannot be fetched, decoded or scored
            has ``status`` ``failed`` and ``error``, and does not stop the others.

        Raises:
            UsageError: No model could be loaded, or the predictor is closed.
            ValueError: The threshold is out of range.
            TypeError: A single path was given instead of several.
        """
        return _results(self.batch(paths_or_urls, confidence_threshold=confidence_threshold))

    def batch(
        self,
        paths_or_urls: Iterable[str | Path],
        *,
        confidence_threshold: float | None = None,
    ) -> Batch:
        """Return the ``Batch`` behind ``predict_many``, for callers that poll with a timeout.

        Args:
            paths_or_urls: As for ``predict_many``.
            confidence_threshold: As for ``predict_many``.

        Raises:
            ValueError: The threshold is out of range.
            TypeError: A single path was given instead of several.
        """
        if isinstance(paths_or_urls, str):  # every letter of it would be a path
            raise TypeError("give a list of paths, or use predict_auto for a single one")
        return Batch(
            paths_or_urls,
            Needs(
                start=partial(self._put, decoders=self._decoders),
                files=lambda: self.files,
                max_bytes=self._settings.limits.max_bytes,
                keep_downloads=not self._settings.data.cleanup_temp_files,
                trust_declared=self._settings.provenance.trust_declared,
                threshold=self._chosen(confidence_threshold),
            ),
        )

    def evidence(self, path_or_url: str | Path, *, kind: EvidenceKind = "patches") -> bytes:
        """Return a PNG of a still image with the evidence for its score in red.

        Args:
            path_or_url: Path, or S3 URL in any documented form.
            kind: ``patches`` draws the score of each part of the image, ``saliency`` the pixels
                that change the score most.

        Returns:
            The bytes of the PNG; its longer side has at most 1600 pixels.

        Raises:
            JobError: The file cannot be fetched, decoded or scored.
            UsageError: It is not a still image, its model does not use crops, or the predictor is
                closed.
        """
        file = self._at_hand(path_or_url)
        try:
            info = self._run(file, self._threshold).conclude().info
            if info.kind is not MediaKind.IMAGE or info.width is None or info.height is None:
                raise UsageError(
                    f"Not a still image: {file.asked}\nEvidence is drawn over images."
                )
            with self._lock:
                decoding, pipeline = self._decoding, self._pipeline
            if decoding is None or pipeline is None:
                raise _closed()
            size_px = info.visible_px or (info.width, info.height)
            pixels = decoding.picture(file.path, name=file.name, size_px=size_px)
            with pipeline.device:
                return draw(decoding.detectors[MediaKind.IMAGE], pixels, kind=kind)
        except Cancelled as exc:
            raise _closed() from exc
        finally:
            file.remove()

    def close(self) -> None:
        """Stop decoding and, unless ``cleanup_temp_files`` is off, remove downloads."""
        with self._lock:
            self._closed = True
            pipeline, self._pipeline, self._decoding = self._pipeline, None, None
            files, self._files = self._files, None
        # The children first, so that threads that wait for one learn that it was stopped.
        self._decoder.close()
        if pipeline is not None:
            pipeline.close()
        if files is not None:
            files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _chosen(self, threshold: float | None) -> float:
        return (
            self._threshold if threshold is None else _checked(threshold, "confidence_threshold")
        )

    def _at_hand(self, path_or_url: str | Path) -> LocalFile:
        if is_url(path_or_url):
            keep = not self._settings.data.cleanup_temp_files
            return fetched(self.files, str(path_or_url), keep=keep)
        return at_hand(path_or_url, max_bytes=self._settings.limits.max_bytes)

    def _run(self, file: LocalFile, threshold: float) -> FileTask:
        """Analyse one file and wait for its end."""
        ended = threading.Event()
        task = FileTask(
            request_id=str(uuid.uuid4()),
            path=file.path,
            name=file.name,
            threshold=threshold,
            stop=threading.Event(),
            on_decoded=lambda: None,
            on_end=lambda _: ended.set(),
        )
        self._put([task])
        try:
            ended.wait()
        except BaseException:
            task.stop.set()
            raise
        return task

    def _put(self, tasks: Sequence[FileTask], *, decoders: int = 1) -> None:
        # One lock over both: a task put in after ``close`` would never end.
        with self._lock:
            self._decoder.grow(decoders)
            for task in tasks:
                self._running(self._models.needed_for(task.name)).put(task)

    def _running(self, kinds: Collection[MediaKind]) -> FilePipeline:
        """Return the pipeline, with the models of these kinds; the first call starts it."""
        with self._lock:
            if self._closed:
                raise _closed()
            self._decoder.start()
            self._load(kinds)
            if self._pipeline is None:
                self._decoding = Decoding(
                    decoder=self._decoder,
                    detectors=self._models.by_kind,
                    limits=self._settings.limits,
                    video_audio=self._settings.video_audio,
                    load_others=lambda: self._load(ALL_KINDS),
                )
                self._pipeline = FilePipeline(
                    self._decoding,
                    decoders=self._decoders,
                    batch_units=BATCH_UNITS,
                    batch_wait_s=BATCH_WAIT_S,
                )
            return self._pipeline

    def _load(self, kinds: Collection[MediaKind]) -> None:
        with self._lock:
            idle = self._pipeline.device if self._pipeline else nullcontext()
            self._models.load(kinds, idle=idle)


def _results(batch: Batch) -> Iterator[DetectionResult]:
    with batch:
        yield from batch


def _checked(threshold: float, name: str) -> float:
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"{name} is {threshold}, not 0 to 1")
    return threshold


def _closed() -> UsageError:
    return UsageError("The predictor is closed\nMake a new one.")
