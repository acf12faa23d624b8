"""Limits that a detector must keep, and which of them a report breaks."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from detection_training.evaluation.intervals import Measure
from detection_training.evaluation.tables import KindReport, Report, Slice
from detection_worker.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Limits; None does not check.

    Attributes:
        max_false_alarms: Highest false alarm rate of each source of real files, 0 to 1.
        max_eer: Highest EER for the fakes that training saw, or for all if no label says.
        max_unseen_eer: Highest EER for the fakes that training did not see.
        min_auc: Lowest AUC over all files of a kind.
        min_detection: Lowest detection rate of each family of fakes.
        max_ece: Highest ECE over all files of a kind.
        max_baseline_auc: Highest AUC of the trivial features.
        max_not_scored: Share of files without a score.
    """

    max_false_alarms: float | None = None
    max_eer: float | None = None
    max_unseen_eer: float | None = None
    min_auc: float | None = None
    min_detection: float | None = None
    max_ece: float | None = None
    max_baseline_auc: float | None = None
    max_not_scored: float | None = None


NAMES: Final = tuple(field.name for field in fields(Gates))


def read_gates(file: Path, *, over: Gates) -> Gates:
    """Return the limits in a JSON object, replaced by those of ``over`` that are set.

    Raises:
        UsageError: It cannot be read, or names a gate that there is not.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"Cannot read the gates {file}: {reason}\n{_example()}") from exc
    if not isinstance(found, dict):
        raise UsageError(f"The gates {file} are no JSON object\n{_example()}")
    chosen = {name: getattr(over, name) for name in NAMES}
    return Gates(**{**_checked(found, file), **{n: v for n, v in chosen.items() if v is not None}})


def broken(gates: Gates, report: Report) -> list[str]:
    """Return a line for each broken gate: what, where, the value and the limit.

    A gate on a number that could not be measured is broken too; else leaving files out would pass.
    """
    lines = [line for kind in report.kinds for line in _of_kind(gates, kind)]
    if not report.kinds:
        lines.append("nothing was scored")
    if gates.max_not_scored is not None:
        scored = sum(kind.whole.real + kind.whole.fake for kind in report.kinds)
        share = len(report.not_scored) / max(scored + len(report.not_scored), 1)
        if share > gates.max_not_scored:
            lines.append(_line("not scored", share, "more", gates.max_not_scored))
    return lines


def _of_kind(gates: Gates, kind: KindReport) -> Iterator[str]:
    where, whole = str(kind.kind), kind.whole.measures
    known = {part.seen: part for part in kind.known}
    for part in kind.sources:
        rate = part.measures["false_alarm_rate"]
        yield from _above(f"{where}: false alarms of {part.name}", rate, gates.max_false_alarms)
    if not kind.sources:
        yield from _missing(f"{where}: false alarms", "no real files", gates.max_false_alarms)
    yield from _above(f"{where}: EER{_which(known)}", _eer(known, kind.whole), gates.max_eer)
    if False in known:
        unseen = known[False].measures["eer"]
        yield from _above(f"{where}: EER of unseen families", unseen, gates.max_unseen_eer)
    else:
        reason = "no family is marked unseen"
        yield from _missing(f"{where}: EER of unseen families", reason, gates.max_unseen_eer)
    yield from _below(f"{where}: AUC", whole["auc"], gates.min_auc)
    for part in kind.families:
        rate = part.measures["detection_rate"]
        yield from _below(f"{where}: detection of {part.name}", rate, gates.min_detection)
    yield from _above(f"{where}: ECE", whole["ece"], gates.max_ece)
    auc = kind.baseline.auc if kind.baseline else Measure(value=None, reason="not fitted")
    yield from _above(f"{where}: AUC of trivial features", auc, gates.max_baseline_auc)


def _eer(known: Mapping[bool | None, Slice], whole: Slice) -> Measure:
    return known.get(True, whole).measures["eer"]


def _which(known: Mapping[bool | None, Slice]) -> str:
    return " of seen families" if True in known else ""


def _above(what: str, measure: Measure, limit: float | None) -> Iterator[str]:
    if measure.value is None:
        yield from _missing(what, measure.reason or "", limit)
    elif limit is not None and measure.value > limit:
        yield _line(what, measure.value, "more", limit)


def _below(what: str, measure: Measure, limit: float | None) -> Iterator[str]:
    if measure.value is None:
        yield from _missing(what, measure.reason or "", limit)
    elif limit is not None and measure.value < limit:
        yield _line(what, measure.value, "less", limit)


def _missing(what: str, reason: str, limit: float | None) -> Iterator[str]:
    if limit is not None:
        yield f"{what} could not be measured: {reason}"


def _line(what: str, value: float, how: str, limit: float) -> str:
    return f"{what} is {value:.4f}, {how} than {limit:g}"


def _checked(found: Mapping[str, Any], file: Path) -> dict[str, float]:
    for name, value in found.items():
        if name not in NAMES:
            raise UsageError(f"{file}: no such gate: {name!r}\nKnown: {', '.join(NAMES)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UsageError(f"{file}: {name}: {value!r}\nGive a number from 0 to 1.")
    return {name: float(value) for name, value in found.items()}


def _example() -> str:
    return 'Give an object such as {"max_false_alarms": 0.1, "max_eer": 0.15}.'
