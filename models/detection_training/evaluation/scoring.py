"""Scoring labelled files with loaded detectors, by the worker's own decoding and verdict."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from detection_contract.media_types import MediaKind
from detection_training.evaluation.features import codec_of, trivial_features
from detection_training.evaluation.grid import Treatment, TreatmentError, treatments_for
from detection_training.evaluation.items import Item
from detection_training.evaluation.rows import AS_IS, NOT_APPLICABLE, Model, Row
from detection_training.pipeline.sources import Log
from detection_worker.core.sampling import AudioSampling
from detection_worker.detectors.registry import LoadedDetectors
from detection_worker.errors import JobError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.previews import icon
from detection_worker.media.values import DecodedMedia, Decoder, DecodeRequest
from detection_worker.pipeline.files.analysis import NotApplicableResult
from detection_worker.pipeline.files.analyzer import Analyzer
from detection_worker.pipeline.files.pictures import with_previews
from detection_worker.settings import MediaLimits

PROGRESS_S: Final = 5.0
THRESHOLD: Final = 0.5
"""The worker's default; the score itself does not depend on it."""


class _Watched:
    """Passes decoding on and keeps what trivial features and the report need of the result."""

    def __init__(self, decoder: Decoder, *, unit_rate_hz: int) -> None:
        self._decoder = decoder
        self._unit_rate_hz = unit_rate_hz
        self.kind: MediaKind | None = None
        self.codec = ""
        self.features: dict[str, float] = {}
        self._last: tuple[DecodedMedia, DecodeRequest] | None = None

    def forget(self) -> None:
        self.kind, self.codec, self.features = None, "", {}
        self._last = None

    def icon(self) -> bytes | None:
        """Return a small picture of the last file; None if there is none."""
        if self._last is None:
            return None
        previews = with_previews(*self._last).previews
        # The middle of a video: its first frame is often black.
        return icon(previews[len(previews) // 2]) if previews else None

    def decode(
        self,
        request: DecodeRequest,
        *,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> DecodedMedia:
        request = replace(request, preview=True)
        media = self._decoder.decode(request, on_progress=on_progress, cancelled=cancelled)
        self.kind, self.codec = media.info.kind, codec_of(media.info)
        self.features = trivial_features(media, unit_rate_hz=self._unit_rate_hz)
        self._last = media, request
        return media

    def close(self) -> None:
        self._decoder.close()


class Scorer:
    """Scores files one after another; not thread-safe, as detectors are not.

    Args:
        loaded: Detectors.
        decoder: Decodes; the caller closes it.
        limits: What one file may cost.
        threshold: Where a file counts as fake, for the pictures of those that are misjudged.
    """

    def __init__(
        self,
        loaded: LoadedDetectors,
        decoder: Decoder,
        *,
        limits: MediaLimits | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        self._threshold = threshold
        cards = loaded.cards
        rates = [c.sampling.sample_rate_hz for c in cards if isinstance(c.sampling, AudioSampling)]
        self._watched = _Watched(decoder, unit_rate_hz=rates[0] if rates else 0)
        self._analyzer = Analyzer(self._watched, loaded.by_kind, limits or MediaLimits())
        self._models = {
            c.kind: Model(name=c.name, version=c.version, sha256=c.sha256, grade=c.grade)
            for c in cards
        }

    def score(self, item: Item, *, path: Path | None = None, treatment: str = AS_IS) -> Row:
        """Return the row of one file; what cannot be scored has the reason instead.

        Args:
            item: What to score.
            path: The treated copy; None scores the file itself.
            treatment: Name of what was done to the copy.
        """
        self._watched.forget()
        score = None
        path = path or item.path
        problem = _unreadable(path)
        if not problem:
            try:
                found, _ = self._analyzer.analyse(path, name=path.name, threshold=THRESHOLD)
            except JobError as exc:
                problem = exc.message
            else:
                if isinstance(found, NotApplicableResult):
                    problem = f"{NOT_APPLICABLE}: {found.reason}"
                else:
                    score = found.verdict.score
        kind = self._watched.kind
        row = Row(
            item=item,
            treatment=treatment,
            kind=kind,
            score=score,
            problem=problem,
            found_codec=self._watched.codec,
            features=self._watched.features,
            model=self._models.get(kind) if kind else None,
        )
        shown = treatment == AS_IS and row.misjudged(self._threshold)
        return replace(row, icon=self._watched.icon()) if shown else row


def _unreadable(path: Path) -> str:
    """Return why there is no file to score; empty if there is one."""
    try:
        return "" if path.is_file() else "no such file"
    except OSError as exc:
        return f"cannot be opened: {exc.strerror}"


@contextmanager
def scorer(loaded: LoadedDetectors, *, threshold: float = THRESHOLD) -> Iterator[Scorer]:
    """Yield a scorer that decodes in a jailed child process, as the worker does.

    Args:
        loaded: Detectors.
        threshold: As for ``Scorer``.
    """
    decoder = ProcessDecoder(1)
    try:
        yield Scorer(loaded, decoder, threshold=threshold)
    finally:
        decoder.close()


def score_items(
    scoring: Scorer, items: Iterable[Item], *, grid: bool = False, total: int, log: Log
) -> Iterator[Row]:
    """Yield a row for each file, and with ``grid`` one more for each treatment of it.

    Holds one file at a time.

    Args:
        scoring: Scores.
        items: Files.
        grid: Score treated copies too.
        total: How many items there are, for progress.
        log: Takes progress lines.
    """
    started = said = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        for done, item in enumerate(items, start=1):
            row = scoring.score(item)
            yield row
            if grid and row.score is not None and row.kind is not None:
                yield from _treated(scoring, row, treatments_for(row.kind), Path(scratch))
            now = time.monotonic()
            if now - said >= PROGRESS_S or done == total:
                said = now
                left_s = (now - started) / done * (total - done)
                log(f"  {done}/{total} files, about {left_s:.0f} s left")


def _treated(
    scoring: Scorer, row: Row, treatments: Mapping[str, Treatment], scratch: Path
) -> Iterator[Row]:
    for name, treatment in treatments.items():
        copy = scratch / f"treated{treatment.suffix}"
        try:
            treatment.write(row.item.path, copy)
        except TreatmentError as exc:
            yield replace(row, treatment=name, score=None, problem=str(exc))
        else:
            yield scoring.score(row.item, path=copy, treatment=name)
        finally:
            copy.unlink(missing_ok=True)
