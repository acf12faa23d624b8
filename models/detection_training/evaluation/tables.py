"""From scored rows to the numbers of a report, one set a media kind. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detection_contract.media_types import MediaKind
from detection_training.evaluation.baseline import Baseline, baseline
from detection_training.evaluation.intervals import (
    DRAWS,
    SEED,
    Measure,
    Sample,
    measures,
    share,
)
from detection_training.evaluation.rows import AS_IS, Model, Row

SCHEMA: Final = 1
"""Version of the JSON report."""
PREVALENCES: Final = (0.01, 0.10, 0.50)
SLICE_METRICS: Final = ("auc", "eer", "false_alarm_rate", "detection_rate")
FAMILY_METRICS: Final = ("auc", "eer", "detection_rate")
"""All families are compared with the same real files; their false alarms have their own table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How numbers are made.

    Attributes:
        threshold: P(fake) from which on a file counts as FAKE.
        draws: Bootstrap draws.
        seed: Seed of the bootstrap and the folds.
        with_baseline: Fit the trivial-feature baseline too.
    """

    threshold: float = 0.5
    draws: int = DRAWS
    seed: int = SEED
    with_baseline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Numbers of a part of the files.

    Attributes:
        name: Name of the source, family, codec or treatment.
        seen: Whether training saw it; None if not given or irrelevant.
        real: Real files in it.
        fake: Fake files in it.
        groups: Groups in it.
        measures: By name, a part of those of ``evaluation_intervals.measures``.
    """

    name: str
    seen: bool | None
    real: int
    fake: int
    groups: int
    measures: Mapping[str, Measure]

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {
            "name": self.name,
            "seen": self.seen,
            "real": self.real,
            "fake": self.fake,
            "groups": self.groups,
            **{name: m.as_json() for name, m in self.measures.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What an alarm is worth where fakes are so common.

    Attributes:
        prevalence: Share of fakes among the files that come in, 0 to 1.
        precision: Share of alarms that are right; None if nothing raised an alarm.
        cautious: The same with the upper end of the false-alarm rate's interval; None without.
    """

    prevalence: float
    precision: float | None
    cautious: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KindReport:
    """Everything about one media kind.

    Attributes:
        kind: Media kind of the files.
        models: Models that scored; more than one only if score files were joined.
        sample: Scores of the files as they are.
        whole: All files.
        sources: False alarms by source of the real files.
        families: Each family of fakes against all real files.
        known: Fakes whose family training saw, and those of which it did not.
        codecs: By the manifest's codec; empty if it names none.
        grid: Under each treatment; empty without a grid.
        precision: By prevalence.
        baseline: Trivial features; None if not asked for.
        misjudged: Files whose label is wrong, furthest from the truth first.
    """

    kind: MediaKind
    models: tuple[Model, ...]
    sample: Sample
    whole: Slice
    sources: tuple[Slice, ...]
    families: tuple[Slice, ...]
    known: tuple[Slice, ...]
    codecs: tuple[Slice, ...]
    grid: tuple[Slice, ...]
    precision: tuple[Precision, ...]
    baseline: Baseline | None
    misjudged: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """What an evaluation found.

    Attributes:
        origin: Where the files come from.
        grouped: Whether speakers, photographs or videos were given.
        settings: How the numbers were made.
        kinds: Media kinds that were scored.
        not_scored: Names of files without a score, and why; treated copies are named so.
    """

    origin: str
    grouped: bool
    settings: Settings
    kinds: tuple[KindReport, ...]
    not_scored: tuple[tuple[str, str], ...]


def report(rows: Iterable[Row], settings: Settings, *, origin: str, grouped: bool) -> Report:
    """Return the numbers of scored rows; a kind without scores is left out."""
    rows = list(rows)
    scored = [row for row in rows if row.score is not None]
    by_kind = {kind: [row for row in scored if row.kind is kind] for kind in MediaKind}
    return Report(
        origin=origin,
        grouped=grouped,
        settings=settings,
        kinds=tuple(_kind(kind, of, settings) for kind, of in by_kind.items() if of),
        not_scored=tuple((_called(row), row.problem) for row in rows if row.score is None),
    )


def precision_at(prevalence: float, *, detection: float, false_alarms: float) -> float | None:
    """Return the share of alarms that are right (Bayes); None if there is never an alarm.

    At a prevalence of 1 %, a detection rate of 0.7 and a false-alarm rate of 0.05, 12 %.
    """
    right, wrong = prevalence * detection, (1 - prevalence) * false_alarms
    return right / (right + wrong) if right + wrong > 0 else None


def _called(row: Row) -> str:
    return row.item.name + ("" if row.treatment == AS_IS else f" ({row.treatment})")


def _kind(kind: MediaKind, scored: Sequence[Row], settings: Settings) -> KindReport:
    rows = [row for row in scored if row.treatment == AS_IS]
    real, fake = [r for r in rows if not r.item.fake], [r for r in rows if r.item.fake]
    whole = _slice("all", rows, settings, only=())
    return KindReport(
        kind=kind,
        models=tuple(dict.fromkeys(row.model for row in rows if row.model)),
        sample=sample_of(rows),
        whole=whole,
        sources=tuple(
            _source(name, of, settings) for name, of in _by(real, lambda r: r.item.source).items()
        ),
        families=tuple(
            _slice(name, [*real, *of], settings, only=FAMILY_METRICS, seen=_seen(of))
            for name, of in _by(fake, lambda r: r.item.family).items()
        ),
        known=_known(real, fake, settings),
        codecs=tuple(
            _slice(name, of, settings)
            for name, of in _by(rows, lambda r: r.item.codec).items()
            if name
        ),
        grid=_grid(scored, settings),
        precision=_precisions(whole.measures),
        baseline=_baseline(rows, settings) if settings.with_baseline else None,
        misjudged=_misjudged(rows, settings.threshold),
    )


def _misjudged(rows: Sequence[Row], threshold: float) -> tuple[Row, ...]:
    wrong = [row for row in rows if row.misjudged(threshold)]
    return tuple(sorted(wrong, key=lambda row: -abs((row.score or 0.0) - row.item.fake)))


def sample_of(rows: Sequence[Row]) -> Sample:
    """Return scored rows as arrays."""
    return Sample(
        scores=np.array([row.score for row in rows], np.float64),
        is_fake=np.array([row.item.fake for row in rows], np.bool_),
        groups=[row.item.group for row in rows],
    )


def _by(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return dict(sorted(found.items()))


def _seen(rows: Sequence[Row]) -> bool | None:
    words = {row.item.seen for row in rows}
    return words.pop() if len(words) == 1 else None


def _slice(
    name: str,
    rows: Sequence[Row],
    settings: Settings,
    *,
    only: Collection[str] = SLICE_METRICS,
    seen: bool | None = None,
) -> Slice:
    sample = sample_of(rows)
    found = measures(
        sample,
        only=only,
        threshold=settings.threshold,
        draws=settings.draws,
        seed=settings.seed,
    )
    return _counted(name, rows, found, seen=seen)


def _counted(
    name: str, rows: Sequence[Row], found: Mapping[str, Measure], *, seen: bool | None
) -> Slice:
    fake = sum(row.item.fake for row in rows)
    return Slice(
        name=name,
        seen=seen,
        real=len(rows) - fake,
        fake=fake,
        groups=len({row.item.group for row in rows}),
        measures=found,
    )


def _source(name: str, rows: Sequence[Row], settings: Settings) -> Slice:
    sample = sample_of(rows)
    alarms = sample.scores >= settings.threshold
    rate = share(alarms, sample.groups, draws=settings.draws, seed=settings.seed)
    return _counted(name, rows, {"false_alarm_rate": rate}, seen=_seen(rows))


def _known(real: Sequence[Row], fake: Sequence[Row], settings: Settings) -> tuple[Slice, ...]:
    names = {True: "seen in training", False: "never seen"}
    parts = {seen: [row for row in fake if row.item.seen is seen] for seen in names}
    return tuple(
        _slice(names[seen], [*real, *of], settings, only=FAMILY_METRICS, seen=seen)
        for seen, of in parts.items()
        if of
    )


def _grid(scored: Sequence[Row], settings: Settings) -> tuple[Slice, ...]:
    by_name: dict[str, list[Row]] = {}
    for row in scored:
        by_name.setdefault(row.treatment, []).append(row)
    if set(by_name) == {AS_IS}:
        return ()
    return tuple(_slice(name, rows, settings) for name, rows in by_name.items())


def _precisions(found: Mapping[str, Measure]) -> tuple[Precision, ...]:
    hits, alarms = found["detection_rate"].value, found["false_alarm_rate"]
    if hits is None or alarms.value is None:
        return ()
    return tuple(
        Precision(
            prevalence=p,
            precision=precision_at(p, detection=hits, false_alarms=alarms.value),
            cautious=None
            if alarms.high is None
            else precision_at(p, detection=hits, false_alarms=alarms.high),
        )
        for p in PREVALENCES
    )


def _baseline(rows: Sequence[Row], settings: Settings) -> Baseline:
    return baseline(
        [row.features for row in rows],
        [row.found_codec for row in rows],
        np.array([row.item.fake for row in rows], np.bool_),
        [row.item.group for row in rows],
        draws=settings.draws,
        seed=settings.seed,
    )
