"""What the stages hand over: Job → Fetched → Decoded → Scored → Concluded, each frozen.

``Decoded`` and ``Scored`` are those of ``pipeline.files``, with a ``Fetched`` as their ticket.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detection_contract.media_types import MediaKind
from detection_contract.result_types import DetectionResult
from detection_tracing.contexts import Carrier
from detection_tracing.port import Span
from detection_worker.cache.scores import Unwritten
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.report.values import NO_PICTURES, Pictures
from detection_worker.storage.base import FetchedObject, ObjectFacts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fetched:
    """An object of a job: downloaded, or known from the cache of scores.

    Attributes:
        job: The job that asks for it.
        file: What S3 said of it; a ``FetchedObject`` says where it lies too.
        folder: Private temporary folder, removed as soon as the file is decoded; None if nothing
            was downloaded.
        kind: As its name announces, after decoding as its content says.
        timings_s: Seconds of each finished stage.
        replaces: ETag of the cache entry that its scores replace; None if there is none.
        trace: The span of its scoring; None without tracing, and before.
    """

    job: Job
    file: ObjectFacts
    folder: Path | None
    kind: MediaKind | None
    timings_s: Mapping[str, float]
    replaces: str | None = None
    trace: Span | None = None

    @property
    def path(self) -> Path | None:
        """Where it lies; None if nothing was downloaded."""
        return self.file.path if isinstance(self.file, FetchedObject) else None

    @property
    def cached(self) -> bool:
        """Its scores come from the cache."""
        return self.folder is None

    @property
    def request_id(self) -> str:
        """Names the job in results and logs."""
        return self.job.request_id

    @property
    def cancelled(self) -> bool:
        """The message is no longer ours."""
        return self.job.cancelled

    @property
    def carrier(self) -> Carrier | None:
        """The context of the span of its scoring."""
        return None if self.trace is None else self.trace.carrier

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
        entry: Its scores, to be written to the cache; None if they are not.
        pictures: Pictures of the file, if pages are made.
    """

    job: Job
    finished: Finished
    result: DetectionResult | None = None
    kind: MediaKind | None = None
    entry: Unwritten | None = None
    pictures: Pictures = NO_PICTURES
