"""Files through the pipeline, one after another or at once: what a predictor stands on."""

import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.api.files import S3Files
from detection_worker.api.inputs import LocalFile, at_hand, fetched, is_url
from detection_worker.api.lazy_models import ALL_KINDS, LazyModels
from detection_worker.cores import usable_cores
from detection_worker.detectors.base import Detector
from detection_worker.errors import UsageError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.jail.trust import trust_list_of
from detection_worker.media.values import MediaInfo
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.stages.file_pipeline import FilePipeline, FileTask
from detection_worker.settings import Settings

BATCH_UNITS: Final = 0
"""Units of one forward pass: as many as the device asks for."""
BATCH_WAIT_S: Final = 0.004
"""Seconds an idle device waits for more units; both are the consumer's defaults."""

T = TypeVar("T")


class FileRunner:
    """Decoding children, models and the S3 client, each started when first needed. Thread-safe.

    Args:
        settings: AWS settings, limits and models.
        device: As for ``Predictor``.
        threads: As for ``Predictor``.
        decoders: As for ``Predictor``.
    """

    def __init__(self, settings: Settings, *, device: str, threads: int, decoders: int) -> None:
        self._settings = settings
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
        """Load the models of all kinds; return the kinds that can be scored.

        Raises:
            UsageError: No model could be loaded, or it is closed.
        """
        with self._lock:
            self._running(ALL_KINDS)
            return [kind.value for kind in MediaKind if kind in self._models.by_kind]

    def at_hand(self, path_or_url: str | Path) -> LocalFile:
        """Return an input as a file on this machine; downloads an S3 object.

        Raises:
            JobError: It cannot be fetched or read.
        """
        if is_url(path_or_url):
            keep = not self._settings.data.cleanup_temp_files
            return fetched(self.files, str(path_or_url), keep=keep)
        return at_hand(path_or_url, max_bytes=self._settings.limits.max_bytes)

    def run(self, file: LocalFile, threshold: float, *, previews: bool = False) -> FileTask:
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
            previews=previews,
        )
        self._put([task], decoders=1)
        try:
            ended.wait()
        except BaseException:
            task.stop.set()
            raise
        return task

    def put(self, tasks: Sequence[FileTask]) -> None:
        """Analyse several files at once; returns before they end."""
        self._put(tasks, decoders=self._decoders)

    def draw(
        self, file: LocalFile, info: MediaInfo, how: Callable[[Detector, NDArray[np.uint8]], T]
    ) -> T:
        """Draw over the pixels of a still image with its detector, which is held meanwhile.

        Args:
            file: Analysed before.
            info: What that told of it.
            how: Draws, from the detector and RGB of shape ``(height, width, 3)``.

        Raises:
            JobError: The file cannot be decoded.
            UsageError: It is not a still image, or the predictor is closed.
        """
        if info.kind is not MediaKind.IMAGE or info.width is None or info.height is None:
            raise UsageError(f"Not a still image: {file.asked}\nEvidence is drawn over images.")
        with self._lock:
            decoding, pipeline = self._decoding, self._pipeline
        if decoding is None or pipeline is None:
            raise closed()
        size_px = info.visible_px or (info.width, info.height)
        pixels = decoding.picture(file.path, name=file.name, size_px=size_px)
        with pipeline.device:
            return how(decoding.detectors[MediaKind.IMAGE], pixels)

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

    def _put(self, tasks: Sequence[FileTask], *, decoders: int) -> None:
        # One lock over both: a task put in after ``close`` would never end.
        with self._lock:
            self._decoder.grow(decoders)
            for task in tasks:
                self._running(self._models.needed_for(task.name)).put(task)

    def _running(self, kinds: Collection[MediaKind]) -> FilePipeline:
        """Return the pipeline, with the models of these kinds; the first call starts it."""
        with self._lock:
            if self._closed:
                raise closed()
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


def closed() -> UsageError:
    """Return the error of a predictor that was closed."""
    return UsageError("The predictor is closed\nMake a new one.")
