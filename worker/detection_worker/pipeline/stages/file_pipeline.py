"""Local files through the worker's decoding and inference stages, without a queue."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_contract.error_codes import ErrorCode
from detection_worker.core.messages.outcome import Failure
from detection_worker.errors import Cancelled, JobError
from detection_worker.pipeline.files.analysis import Analysis, NotApplicableResult, conclude_tracks
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.files.file_job import FileJob
from detection_worker.pipeline.stages.inference import InferenceStage
from detection_worker.pipeline.stages.stage import Stage

UNBOUNDED: Final = 0

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class FileTask(FileJob):
    """One local file to analyse.

    Attributes:
        path: Where it lies.
        name: What the user calls it, for its extension.
        threshold: In [0, 1].
        stop: Set when its result is no longer wanted.
        on_decoded: Called once the file is needed no more, also if it could not be decoded.
        on_end: Called last, from a stage's thread: it is scored, failed or cancelled.
    """

    path: Path
    name: str
    threshold: float
    stop: threading.Event
    on_decoded: Callable[[], None]
    on_end: Callable[["FileTask"], None]

    @property
    def cancelled(self) -> bool:
        """The result is no longer wanted."""
        return self.stop.is_set()

    def conclude(self) -> Analysis | NotApplicableResult:
        """Return what is found in the file, once it has ended.

        Raises:
            JobError: It failed; says why.
            Cancelled: It was stopped.
        """
        if self.failure is not None:
            raise JobError(self.failure.code, self.failure.message)
        self.check()
        main, sound = self.take_scored()
        return conclude_tracks(main, sound, threshold=self.threshold)


class FilePipeline:
    """Decodes several files at once and scores their units together. Thread-safe.

    Args:
        decoding: How files are decoded; the caller closes its decoder, after ``close``.
        decoders: Files that are decoded at once.
        batch_units: Most units in one forward pass.
        batch_wait_s: How long an idle device waits for units that are being decoded.
    """

    def __init__(
        self, decoding: Decoding, *, decoders: int, batch_units: int, batch_wait_s: float
    ) -> None:
        self._decoding = decoding
        self._inference: InferenceStage[FileTask] = InferenceStage(
            max_units=batch_units,
            max_wait_s=batch_wait_s,
            more_coming=lambda: self._decode_stage.busy > 0,
            on_scored=lambda task: task.on_end(task),
            on_progress=lambda _: None,
            capacity=max(8, batch_units),
        )
        self._decode_stage: Stage[FileTask] = Stage(
            "decode", self._decode, threads=decoders, capacity=UNBOUNDED
        )

    @property
    def device(self) -> threading.Lock:
        """Hold it to use a detector beside the pipeline."""
        return self._inference.device

    def put(self, task: FileTask) -> None:
        """Analyse a file; ``task.on_end`` hears of its end."""
        self._decode_stage.put(task)

    def close(self) -> None:
        """Finish what was put in, then stop; set ``stop`` of tasks that need not be finished."""
        self._decode_stage.close()
        self._inference.close()

    def _decode(self, task: FileTask) -> None:
        started = time.perf_counter()
        try:
            task.check()
            self._decoding.decode_job(task, task.path, name=task.name, on_progress=lambda: None)
        except Cancelled:
            task.stop.set()
        except JobError as exc:
            task.failure = Failure(code=exc.code, message=exc.message)
        except Exception:
            log.exception("decoding %s failed", task.request_id)
            task.failure = Failure(code=ErrorCode.INTERNAL, message="internal error")
        task.timings_s["decode"] = time.perf_counter() - started
        task.on_decoded()
        if task.failure is None and not task.cancelled:
            self._inference.put(task)
        else:
            task.on_end(task)
