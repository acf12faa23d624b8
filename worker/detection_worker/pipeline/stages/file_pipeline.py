"""Local files through the worker's decoding and inference stages, without a queue."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from detection_contract.error_codes import ErrorCode
from detection_worker.core.batch_size import CPU_UNITS
from detection_worker.core.messages.outcome import Failure
from detection_worker.errors import Cancelled, JobError
from detection_worker.media.values import MediaInfo
from detection_worker.pipeline.files.analysis import (
    Analysis,
    NotApplicableResult,
    conclude_tracks,
)
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.files.handovers import Decoded, Scored, Unscored
from detection_worker.pipeline.files.pictures import pictures_of
from detection_worker.pipeline.stages.inference import InferenceStage
from detection_worker.pipeline.stages.stage import UNBOUNDED, Activity, Stage
from detection_worker.report.values import NO_PICTURES, Pictures

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class FileTask:
    """One local file to analyse, and how that ended.

    Attributes:
        request_id: Names it in results and logs.
        path: Where it lies.
        name: What the user calls it, for its extension.
        threshold: In [0, 1].
        stop: Set when its result is no longer wanted.
        on_decoded: Called once the file is needed no more, also if it could not be decoded.
        on_end: Called last, from a stage's thread: it is scored, failed or cancelled.
        scored: Its scores, once it has ended well.
        failure: Why it failed, once it has.
        timings_s: Seconds of each finished stage.
        previews: Small pictures are wanted.
        pictures: Pictures of the file, once it is concluded, if they were wanted.
        info: Facts about it, once it is concluded.
    """

    request_id: str
    path: Path
    name: str
    threshold: float
    stop: threading.Event
    on_decoded: Callable[[], None]
    on_end: Callable[["FileTask"], None]
    scored: "Scored[FileTask] | None" = None
    failure: Failure | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    previews: bool = False
    pictures: Pictures = NO_PICTURES
    info: MediaInfo | None = None

    @property
    def cancelled(self) -> bool:
        """The result is no longer wanted."""
        return self.stop.is_set()

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it."""
        return {"request_id": self.request_id}

    @property
    def carrier(self) -> None:
        """It belongs to no trace."""

    def conclude(self) -> Analysis | NotApplicableResult:
        """Return what is found in the file, once it has ended; may be called once.

        Raises:
            JobError: It failed; says why.
            Cancelled: It was stopped.
        """
        if self.failure is not None:
            raise JobError(self.failure.code, self.failure.message)
        scored, self.scored = self.scored, None
        if self.cancelled:
            raise Cancelled
        if scored is None:
            raise RuntimeError("the file has no scores")
        self.pictures = pictures_of(scored.main, scored.sound)
        self.info = scored.main.decoded.info
        return conclude_tracks(scored.main, scored.sound, threshold=self.threshold)


class FilePipeline:
    """Decodes several files at once and scores their units together. Thread-safe.

    Args:
        decoding: How files are decoded; the caller closes its decoder, after ``close``.
        decoders: Files that are decoded at once.
        batch_units: Most units in one forward pass; 0 leaves it to the device.
        batch_wait_s: How long an idle device waits for units that are being decoded.
    """

    def __init__(
        self, decoding: Decoding, *, decoders: int, batch_units: int, batch_wait_s: float
    ) -> None:
        self._decoding = decoding
        decoding_now = Activity()
        self._inference: InferenceStage[FileTask] = InferenceStage(
            max_units=batch_units,
            max_wait_s=batch_wait_s,
            more_coming=lambda: len(decoding_now) > 0,
            on_scored=_scored,
            on_progress=lambda _: None,
            capacity=max(8, batch_units or CPU_UNITS),
        )
        self._decode_stage: Stage[FileTask, Decoded[FileTask]] = Stage(
            "decode",
            self._decode,
            then=self._inference.put,
            threads=decoders,
            capacity=UNBOUNDED,
            activity=decoding_now,
        )

    @property
    def device(self) -> threading.Lock:
        """Hold it to use a detector beside the pipeline."""
        return self._inference.device

    def put(self, task: FileTask) -> None:
        """Analyse a file; ``task.on_end`` is called at its end."""
        self._decode_stage.put(task)

    def close(self) -> None:
        """Finish what was put in, then stop; set ``stop`` of tasks that need not be finished."""
        self._decode_stage.close()
        self._inference.close()

    def _decode(self, task: FileTask) -> Decoded[FileTask] | None:
        started = time.perf_counter()
        decoded = self._decoded(task)
        task.timings_s["decode"] = time.perf_counter() - started
        task.on_decoded()
        if decoded is None or task.cancelled:
            task.on_end(task)
            return None
        return decoded

    def _decoded(self, task: FileTask) -> Decoded[FileTask] | None:
        if task.cancelled:
            return None
        try:
            return self._decoding.decode_for(
                task,
                task.path,
                name=task.name,
                on_progress=lambda: None,
                previews=task.previews,
            )
        except Cancelled:
            task.stop.set()
        except JobError as exc:
            task.failure = Failure.of(exc)
        except Exception:
            log.exception("decoding %s failed", task.request_id)
            task.failure = Failure(code=ErrorCode.INTERNAL, message="internal error")
        return None


def _scored(task: FileTask, outcome: Scored[FileTask] | Unscored | None) -> None:
    if isinstance(outcome, Unscored):
        task.failure = outcome.failure
    elif outcome is not None:
        task.scored = outcome
        task.timings_s["inference"] = outcome.seconds
    task.on_end(task)
