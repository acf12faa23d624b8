"""Results in words: one as a summary, several as a table."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from detection_contract.results import NOTHING_FOUND, verdict_in_words
from detection_worker.cli.terminal import fitted, printable, shown, wrapped

_VERDICTS: Final = ("fake", "real", "inconclusive", "not applicable", "failed")
_INDENT: Final = "    "
_ROW: Final = "{verdict:<14}  {score:>7}  {kind:<5}  "


def summary(result: Mapping[str, object], *, width: int | None = None) -> str:
    """Return a few lines about one result envelope.

    Args:
        result: The result envelope of a finished or a failed job.
        width: Columns of the terminal; None breaks no line.
    """
    name = shown(str(result["file_path"]))
    if result["error"] is not None:
        return f"{name}\n{wrapped('  failed: ', _error(result), width)}"
    media = _object(result["media"])
    lines = [
        *_opinion(result),
        ("Type", f"{result['file_type']}{_media(media)}"),
        ("Model", _model(_object(result.get("model")))),
    ]
    notes = [*_strings(media.get("warnings")), *_strings(media.get("quality"))]
    lines += [("Note", printable(note.replace("_", " "))) for note in notes]
    return "\n".join([name, *(wrapped(f"  {k + ':':<12}", text, width) for k, text in lines)])


def _opinion(result: Mapping[str, object]) -> list[tuple[str, str]]:
    reason = str(_object(result.get("verdict_reason")).get("message", ""))
    verdict = verdict_in_words(result)
    if verdict == "not applicable":
        return [("Prediction", "none, not applicable"), ("Reason", reason)]
    score = (
        f"{_number(result['prediction_score'])} (threshold {result['threshold']}, "
        f"margin {_percent(result.get('margin'))})"
    )
    sure = _percent(result["confidence"])
    if verdict == "inconclusive":
        return [
            ("Prediction", "INCONCLUSIVE"),
            ("Reason", reason),
            ("P(fake)", score),
            ("Label", f"{result['label']} by the threshold alone (confidence {sure})"),
        ]
    found = f"REAL ({NOTHING_FOUND})" if verdict == "real" else verdict.upper()
    return [("Prediction", found), ("Confidence", sure), ("P(fake)", score)]


def _model(model: Mapping[str, object]) -> str:
    return f"{model['name']} {model['version']}{_standing(model)}" if model else ""


def _standing(model: Mapping[str, object]) -> str:
    grade = f", grade {model['grade']}" if "grade" in model else ""
    return grade if model.get("calibrated", True) else f"{grade}, not calibrated"


class Table:
    """A table with a row for each result, and the number of results for each verdict.

    Args:
        width: Columns of the terminal; None cuts nothing.
    """

    def __init__(self, *, width: int | None = None) -> None:
        self._width = width
        self._counts: Counter[str] = Counter()
        self._models: dict[str, None] = {}

    def head(self) -> str:
        """Return the names of the columns."""
        return _ROW.format(verdict="Verdict", score="P(fake)", kind="Type") + "File"

    def row(self, result: Mapping[str, object]) -> str:
        """Return the row of a result, with a second line if there is a reason to show."""
        verdict = verdict_in_words(result)
        self._counts[verdict] += 1
        if model := _object(result.get("model")):
            self._models[_model(model)] = None
        row = _ROW.format(
            verdict=verdict,
            score=_number(result["prediction_score"]),
            kind=str(result["file_type"] or "-"),
        )
        room = None if self._width is None else self._width - len(row)
        row += fitted(shown(str(result["file_path"])), room, keep_end=True)
        reason = _why_none(result, verdict)
        return f"{row}\n{fitted(_INDENT + reason, self._width)}" if reason else row

    def foot(self) -> str:
        """Return the number of results for each verdict, and the models that made them."""
        total = sum(self._counts.values())
        counts = [f"{self._counts[v]} {v}" for v in _VERDICTS if self._counts[v]]
        lines = [
            f"{total} file{'' if total == 1 else 's'}: {', '.join(counts) or 'none analysed'}"
        ]
        lines += [wrapped("Model: ", model, self._width) for model in self._models]
        if self._counts["real"]:
            lines.append(f"real: {NOTHING_FOUND}, which proves nothing")
        return "\n".join(lines)


def _why_none(result: Mapping[str, object], verdict: str) -> str:
    if verdict == "failed":
        return _error(result)
    if verdict == "not applicable":
        return str(_object(result.get("verdict_reason")).get("message", ""))
    return ""


def _error(result: Mapping[str, object]) -> str:
    return printable(str(_object(result["error"]).get("message", "unknown")))


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _media(media: Mapping[str, object]) -> str:
    parts = []
    if media.get("width"):
        parts.append(f"{media['width']}x{media['height']}")
    if media.get("duration_s") is not None:
        parts.append(f"{media['duration_s']:.1f} s")
    if media.get("sample_rate_hz"):
        parts.append(f"{media['sample_rate_hz']} Hz")
    return f" ({', '.join(parts)})" if parts else ""
