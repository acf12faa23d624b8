"""A result in words, and several in a table."""

from collections.abc import Sequence

from detection_contract.s3_urls import redact_url

_NAME_WIDTH = 60


def shown(name: str) -> str:
    """Return a path or URL for the terminal: no signature, no control character."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in redact_url(name))


def summary(result: dict[str, object]) -> str:
    """Return a few lines about one result envelope."""
    name = shown(str(result["file_path"]))
    if result["label"] is None:
        return f"{name}\n  failed: {_error(result)}"
    lines = [
        name,
        f"  Prediction: {result['label']}",
        f"  Confidence: {_percent(result['confidence'])}",
        f"  P(fake):    {_number(result['prediction_score'])} (threshold {result['threshold']})",
        f"  Type:       {result['file_type']}{_media(result['media'])}",
    ]
    model = result["model"]
    if isinstance(model, dict):
        grade = f", grade {model['grade']}" if "grade" in model else ""
        lines.append(f"  Model:      {model.get('name')} {model.get('version')}{grade}")
    media = result["media"]
    warnings = media.get("warnings", []) if isinstance(media, dict) else []
    return "\n".join(lines + [f"  Note:       {w}" for w in warnings])


def table(results: Sequence[dict[str, object]]) -> str:
    """Return one line for each result, and how many there are of which kind."""
    width = min(_NAME_WIDTH, max(len(_short(r)) for r in results))
    head = f"{'File':<{width}}  {'Type':<5}  {'Label':<6}  {'Confidence':>10}  P(fake)"
    lines = [f"{_short(r):<{width}}  {_cells(r)}" for r in results]
    labels = [str(r["label"] or "failed") for r in results]
    counts = ", ".join(f"{labels.count(x)} {x}" for x in ("FAKE", "REAL", "failed"))
    return "\n".join([head, *lines, f"{len(results)} files: {counts}"])


def _cells(result: dict[str, object]) -> str:
    kind = str(result["file_type"] or "-")
    if result["label"] is None:
        return f"{kind:<5}  failed  {_error(result)}"
    confidence = _percent(result["confidence"])
    return (
        f"{kind:<5}  {result['label']:<6}  {confidence:>10}  {_number(result['prediction_score'])}"
    )


def _short(result: dict[str, object]) -> str:
    name = shown(str(result["file_path"]))
    return name if len(name) <= _NAME_WIDTH else "…" + name[1 - _NAME_WIDTH :]


def _error(result: dict[str, object]) -> str:
    error = result["error"]
    return str(error.get("message")) if isinstance(error, dict) else "unknown"


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _media(media: object) -> str:
    if not isinstance(media, dict):
        return ""
    parts = []
    if media.get("width"):
        parts.append(f"{media['width']}x{media['height']}")
    if media.get("duration_s") is not None:
        parts.append(f"{media['duration_s']:.1f} s")
    if media.get("sample_rate_hz"):
        parts.append(f"{media['sample_rate_hz']} Hz")
    return f" ({', '.join(parts)})" if parts else ""
