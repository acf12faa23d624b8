"""A result in words, and several in a table."""

from collections.abc import Sequence

from detection_contract.results import NOTHING_FOUND
from detection_contract.s3_urls import redact_url

_NAME_WIDTH = 60
_VERDICT_WIDTH = 12
_WORDS = {"REAL": f"REAL ({NOTHING_FOUND})"}


def shown(name: str) -> str:
    """Return a path or URL for the terminal: no signature, no control character."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in redact_url(name))


def summary(result: dict[str, object]) -> str:
    """Return a few lines about one result envelope."""
    name = shown(str(result["file_path"]))
    if result["error"] is not None:
        return f"{name}\n  failed: {_error(result)}"
    media = _object(result["media"])
    lines = [
        name,
        *_opinion(result),
        f"  Type:       {result['file_type']}{_media(media)}",
        f"  Model:      {_model(result)}",
    ]
    notes = [*_strings(media.get("warnings")), *_strings(media.get("quality"))]
    return "\n".join(lines + [f"  Note:       {note.replace('_', ' ')}" for note in notes])


def _opinion(result: dict[str, object]) -> list[str]:
    reason = _object(result.get("verdict_reason")).get("message", "")
    if result["label"] is None:
        return ["  Prediction: none, not applicable", f"  Reason:     {reason}"]
    label = str(result["label"])
    lines = [
        f"  Prediction: {_WORDS.get(label, label)}",
        f"  Confidence: {_percent(result['confidence'])}",
        f"  P(fake):    {_number(result['prediction_score'])} (threshold {result['threshold']}, "
        f"margin {_percent(result.get('margin'))})",
    ]
    if result.get("verdict") == "inconclusive":
        lines.append(f"  Verdict:    inconclusive. {reason}")
    return lines


def _model(result: dict[str, object]) -> str:
    model = _object(result.get("model"))
    return f"{model['name']} {model['version']}{_standing(model)}" if model else ""


def _standing(model: dict[str, object]) -> str:
    grade = f", grade {model['grade']}" if "grade" in model else ""
    return grade if model.get("calibrated", True) else f"{grade}, not calibrated"


def table(results: Sequence[dict[str, object]]) -> str:
    """Return one line for each result, and how many there are of which kind."""
    width = min(_NAME_WIDTH, max(len(_short(r)) for r in results))
    head = f"{'File':<{width}}  {'Type':<5}  {'Label':<6}  {'Confidence':>10}  P(fake)  "
    head += f"{'Verdict':<{_VERDICT_WIDTH}}  Model"
    lines = [f"{_short(r):<{width}}  {_cells(r)}" for r in results]
    labels = [_word(r) for r in results]
    counts = [f"{labels.count(x)} {x}" for x in ("FAKE", "REAL", "failed")]
    counts += [f"{labels.count(x)} {x}" for x in ("not applicable",) if x in labels]
    return "\n".join([head, *lines, f"{len(results)} files: {', '.join(counts)}"])


def _word(result: dict[str, object]) -> str:
    if result["error"] is not None:
        return "failed"
    return str(result["label"] or "not applicable")


def _cells(result: dict[str, object]) -> str:
    kind = str(result["file_type"] or "-")
    if result["error"] is not None:
        return f"{kind:<5}  failed  {_error(result)}"
    reason = _object(result.get("verdict_reason"))
    if result["label"] is None:
        scored = f"{'-':<6}  {'-':>10}  {'-':<7}"
        verdict = f"not applicable: {reason.get('code')}"
    else:
        label, score = result["label"], _number(result["prediction_score"])
        scored = f"{label:<6}  {_percent(result['confidence']):>10}  {score:<7}"
        verdict = str(result.get("verdict", ""))
    return f"{kind:<5}  {scored}  {verdict:<{_VERDICT_WIDTH}}  {_model(result)}".rstrip()


def _short(result: dict[str, object]) -> str:
    name = shown(str(result["file_path"]))
    return name if len(name) <= _NAME_WIDTH else "…" + name[1 - _NAME_WIDTH :]


def _error(result: dict[str, object]) -> str:
    return str(_object(result["error"]).get("message", "unknown"))


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _media(media: dict[str, object]) -> str:
    parts = []
    if media.get("width"):
        parts.append(f"{media['width']}x{media['height']}")
    if media.get("duration_s") is not None:
        parts.append(f"{media['duration_s']:.1f} s")
    if media.get("sample_rate_hz"):
        parts.append(f"{media['sample_rate_hz']} Hz")
    return f" ({', '.join(parts)})" if parts else ""
