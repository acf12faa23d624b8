"""What the stages hand over: Job → Fetched → Decoded → Scored → Concluded, each frozen.

``Decoded`` and ``Scored`` are those of ``pipeline.files``, with a ``Fetched`` as their ticket.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detection_contract.media_types import MediaKind
from detection_contract.result_types import DetectionResult
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.storage.base import FetchedObject


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fetched:
    """A downloaded object of a job.

    Attributes:
        job: The job that asks for it.
        file: Where it lies and what S3 said of it.
        folder: Private temporary folder; removed as soon as the file is decoded.
        kind: As its name announces, after decoding as its content says.
        timings_s: Seconds of each finished stage.
    """

    job: Job
    file: FetchedObject
    folder: Path
    kind: MediaKind | None
    timings_s: Mapping[str, float]

    @property
    def request_id(self) -> str:
        """Names the job in results and logs."""
        return self.job.request_id

    @property
    def cancelled(self) -> bool:
        """The message is no longer ours."""
        return self.job.cancelled

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it."""
        return {**self.job.facts, "media_type": self.kind.value if self.kind else None}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concluded:
    """A job with its envelope, ready for its destinations.

    Attributes:
        job: The job that it answers.
        finished: The encoded envelope, and how far it has come.
        result: The envelope; None if only its bytes were remembered.
        kind: Kind of the media object, if known.
    """

    job: Job
    finished: Finished
    result: DetectionResult | None = None
    kind: MediaKind | None = None
