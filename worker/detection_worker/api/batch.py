"""Many files analysed at once, with results in the order of the inputs."""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from detection_contract.error_codes import ErrorCode
from detection_contract.result_types import DetectionResult
from detection_worker.api.files import S3Files
from detection_worker.api.inputs import LocalFile, at_hand, failed, fetched, finished, is_url
from detection_worker.api.prefixes import Unlisted, expanded
from detection_worker.errors import Cancelled, JobError, UsageError
from detection_worker.pipeline.files.downloads import DiskBudget
from detection_worker.pipeline.stages.file_pipeline import FileTask
from detection_worker.pipeline.stages.stage import Stage
from detection_worker.report.values import NO_PICTURES, Pictures

WINDOW: Final = 256
"""Inputs in work at once, which is how many results may wait behind a slow file."""
DOWNLOADERS: Final = 12
MAX_BYTES_IN_FLIGHT: Final = 2 << 30
"""Downloaded bytes on the disk at which no further download starts; the consumer's default."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Dependencies and settings of a batch.

    Attributes:
        start: Puts files into the pipeline; the first call loads the models.
        files: Returns the S3 client; the first call needs credentials.
        max_bytes: Size of the largest file allowed.
        keep_downloads: Do not remove downloads.
        threshold: P(fake) from which the label is FAKE, in [0, 1].
        trust_declared: See ``ProvenanceSettings``.
        pictures: Keep pictures of each file until they are taken.
    """

    start: Callable[[Sequence[FileTask]], None]
    files: Callable[[], S3Files]
    max_bytes: int
    keep_downloads: bool
    threshold: float
    trust_declared: bool
    pictures: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class _Item:
    index: int
    asked: str | Path
    started_s: float
    file: LocalFile | None = None
    task: FileTask | None = None
    error: JobError | None = None


class Batch:
    """Results of many files; not thread-safe. Iterate over it, or ``poll`` it.

    A file that cannot be analysed has a result with ``status`` ``failed`` and stops no other.
    Models are loaded when the first file is there; inputs are read as they are needed.

    Args:
        inputs: Paths, S3 URLs and S3 prefixes.
        needs: Dependencies and settings.
    """

    def __init__(self, inputs: Iterable[str | Path], needs: Needs) -> None:
        self._inputs = expanded(inputs, needs.files)
        self._needs = needs
        self._stop = threading.Event()
        self._events: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._ready: list[_Item] = []
        self._results: dict[int, DetectionResult] = {}
        self._pictures: dict[str, Pictures] = {}
        self._taken = self._given = 0
        self._exhausted = False
        self._download: Stage[_Item, None] | None = None
        self._disk = DiskBudget(MAX_BYTES_IN_FLIGHT)

    @property
    def ended(self) -> bool:
        """True once the result of every input has been returned."""
        return self._exhausted and self._given == self._taken

    def poll(self, timeout_s: float | None = None) -> list[DetectionResult]:
        """Return the next results that are ready, in the order of the inputs.

        Args:
            timeout_s: Seconds to wait for the first; None waits without limit.

        Returns:
            One or more results; an empty list after the timeout, or at the end.

        Raises:
            UsageError: No model could be loaded, or the predictor was closed.
        """
        self._take()
        if not (found := self._in_order()) and not self.ended:
            self._start()
            try:
                self._await(timeout_s)
            except Cancelled as exc:
                raise UsageError("The predictor is closed\nMake a new one.") from exc
            found = self._in_order()
        return found

    def take_pictures(self, result: DetectionResult) -> Pictures:
        """Return the pictures of the file of a result, once; none if they were not asked for."""
        return self._pictures.pop(result["request_id"], NO_PICTURES)

    def finished(self) -> list[DetectionResult]:
        """Return results that wait behind an unfinished file, in order; for an early end."""
        while not self._events.empty():
            with suppress(Cancelled):
                self._note(self._events.get())
        waiting = [self._results[index] for index in sorted(self._results)]
        self._results.clear()
        return waiting

    def close(self) -> None:
        """Stop unfinished files and remove downloads; ``finished`` still works."""
        self._stop.set()
        if self._download is not None:
            self._download.close()
            self._download = None
        for item in self._ready:
            assert item.file is not None  # noqa: S101 - it is at hand
            item.file.remove()
        self._ready.clear()

    def __iter__(self) -> Iterator[DetectionResult]:
        while not self.ended:
            yield from self.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- one input ------------------------------------------------------------------

    def _take(self) -> None:
        """Read inputs up to the window; check local files, and queue S3 objects for download."""
        while not self._exhausted and self._taken - self._given < WINDOW:
            try:
                asked = next(self._inputs)
            except StopIteration:
                self._exhausted = True
                return
            item = _Item(index=self._taken, asked=_name(asked), started_s=time.perf_counter())
            self._taken += 1
            if isinstance(asked, Unlisted):
                item.error = asked.error
                self._note(item)
            elif is_url(item.asked):
                self._downloads().put(item)
            else:
                self._look_at(item)

    def _look_at(self, item: _Item) -> None:
        try:
            item.file = at_hand(item.asked, max_bytes=self._needs.max_bytes)
            self._ready.append(item)
        except JobError as exc:
            item.error = exc
            self._note(item)

    def _downloads(self) -> Stage[_Item, None]:
        if self._download is None:
            self._download = Stage(
                "download", self._fetch, threads=DOWNLOADERS, capacity=WINDOW + DOWNLOADERS
            )
        return self._download

    def _fetch(self, item: _Item) -> None:
        try:
            self._disk.wait(cancelled=self._stop.is_set)
            item.file = fetched(
                self._needs.files(),
                str(item.asked),
                keep=self._needs.keep_downloads,
                cancelled=self._stop.is_set,
            )
            self._disk.use(_download_bytes(item.file))
        except JobError as exc:
            item.error = exc
        except Cancelled:
            return
        except Exception:
            log.exception("the download failed")
            item.error = JobError(ErrorCode.INTERNAL, "internal error")
        self._events.put(item)

    def _start(self) -> None:
        """Send the files at hand into the pipeline."""
        ready, self._ready = self._ready, []
        if ready:
            self._needs.start([self._task(item) for item in ready])

    def _task(self, item: _Item) -> FileTask:
        file = item.file
        assert file is not None  # noqa: S101 - only files at hand are started
        item.task = FileTask(
            request_id=str(uuid.uuid4()),
            path=file.path,
            name=file.name,
            threshold=self._needs.threshold,
            stop=self._stop,
            on_decoded=lambda: self._release(file),
            on_end=lambda _: self._events.put(item),
            previews=self._needs.pictures,
        )
        return item.task

    def _release(self, file: LocalFile) -> None:
        self._disk.free(_download_bytes(file))
        file.remove()

    # -- results -------------------------------------------------------------------------------

    def _await(self, timeout_s: float | None) -> None:
        """Wait for one event, then note every event that is there."""
        try:
            self._note(self._events.get(timeout=timeout_s))
            while True:
                self._note(self._events.get_nowait())
        except queue.Empty:
            return

    def _note(self, item: _Item) -> None:
        if item.error is None and item.task is None:
            self._ready.append(item)
        else:
            self._results[item.index] = self._result(item)

    def _result(self, item: _Item) -> DetectionResult:
        error = item.error
        if error is None:
            try:
                return self._concluded(item)
            except JobError as exc:
                error = exc
            except Cancelled:
                raise
            except Exception:
                # A bug that one file triggers must not lose the results of the others.
                log.exception("no result could be made")
                error = JobError(ErrorCode.INTERNAL, "internal error")
        log.debug("%s failed: %s: %s", ascii(str(item.asked))[1:-1], error.code, error.message)
        return failed(item.asked, error, threshold=self._needs.threshold)

    def _concluded(self, item: _Item) -> DetectionResult:
        result = concluded(
            item.file,
            item.task,
            started_s=item.started_s,
            trust_declared=self._needs.trust_declared,
        )
        if self._needs.pictures and item.task is not None:
            self._pictures[result["request_id"]] = item.task.pictures
        return result

    def _in_order(self) -> list[DetectionResult]:
        found = []
        while self._given in self._results:
            found.append(self._results.pop(self._given))
            self._given += 1
        return found


def _name(asked: str | Path | Unlisted) -> str | Path:
    return asked.asked if isinstance(asked, Unlisted) else asked


def _download_bytes(file: LocalFile) -> int:
    return 0 if file.file_info is None else file.file_info["size"]


def concluded(
    file: LocalFile | None, task: FileTask | None, *, started_s: float, trust_declared: bool
) -> DetectionResult:
    """Return the envelope of a task that has ended.

    Raises:
        JobError: It failed.
        Cancelled: It was stopped.
    """
    assert file is not None  # noqa: S101 - what has ended was begun
    assert task is not None  # noqa: S101
    found = task.conclude()
    total_s = time.perf_counter() - started_s
    result = finished(
        file,
        found,
        request_id=task.request_id,
        threshold=task.threshold,
        timings_s={**task.timings_s, "total": total_s},
        trust_declared=trust_declared,
    )
    _tell(result)
    return result


def _tell(result: DetectionResult) -> None:
    media, model = result["media"], result["model"]
    if media is None or model is None or not log.isEnabledFor(logging.DEBUG):
        return
    ms = result["timings_ms"]
    log.debug(
        "%s: %s %s, %d bytes, %s frame(s) or window(s), decoded in %.0f ms; "
        "scored by %s in %.0f ms",
        ascii(result["file_path"])[1:-1],
        media["container"],
        result["file_type"],
        media["size_bytes"],
        media["frames_analysed"],
        ms.get("decode", 0.0),
        model["name"],
        ms.get("inference", 0.0),
    )
