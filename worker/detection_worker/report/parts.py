"""Pictures and charts of a page, from the segments of a result."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Final, Literal

from markupsafe import Markup

from detection_contract.user_messages import counted
from detection_worker.core.sampling import spread
from detection_worker.report.envelope import Object, as_number, boxes, number, share
from detection_worker.report.scale import Level, Scale, clock, percent
from detection_worker.report.shown import Bar, Chart, Gauge, Mark, Tile
from detection_worker.report.words import LEVEL_WORDS

SHOWN_FRAMES: Final = 24
SHOWN_MARKS: Final = 16
CHART: Final = 1000.0
"""Width of a chart, in its own units."""
_HIGHEST: Final = 5


def data_url(picture: bytes, *, kind: Literal["jpeg", "png"] = "jpeg") -> Markup:
    """Return a picture of ours as the only kind of address that a page may have."""
    # Base64 has no character that means anything in HTML.
    return Markup(f"data:image/{kind};base64,{b64encode(picture).decode()}")  # noqa: S704


def gauge_of(score: float, scale: Scale) -> Gauge:
    """Return a score on its scale."""
    zones: list[tuple[Level, str]] = [
        ("real", f"below {100 * scale.low:g} %: nothing found"),
        ("fake", f"from {100 * scale.high:g} %: looks manipulated"),
    ]
    if scale.doubtful:
        zones.insert(1, ("doubt", f"{100 * scale.low:g} to {100 * scale.high:g} %: cannot tell"))
    return Gauge(
        score=percent(score),
        at=100 * score,
        low=100 * scale.low,
        high=100 * scale.high,
        threshold=100 * scale.threshold,
        zones=zones,
    )


def marks_of(segment: Object, size_px: tuple[float, float], scale: Scale) -> list[Mark]:
    """Return the scored parts of a picture.

    Args:
        segment: A segment of the result.
        size_px: Width and height of the picture.
        scale: Scale of the model.
    """
    found = boxes(segment)
    scores = segment.get("region_scores")
    known = [as_number(s) for s in scores] if isinstance(scores, list) else []
    known += [None] * (len(found) - len(known))
    pairs = list(zip(found, known, strict=False))[:SHOWN_MARKS]
    return [
        _mark(i, box, score=score, size_px=size_px, scale=scale)
        for i, (box, score) in enumerate(pairs, start=1)
    ]


def _mark(
    label: int,
    box: Sequence[float],
    *,
    score: float | None,
    size_px: tuple[float, float],
    scale: Scale,
) -> Mark:
    width, height = size_px
    left, right = (min(max(x / width, 0.0), 1.0) for x in (box[0], box[2]))
    top, bottom = (min(max(y / height, 0.0), 1.0) for y in (box[1], box[3]))
    return Mark(
        label=str(label),
        score=percent(score),
        level=scale.level(score),
        left=100 * left,
        top=100 * top,
        width=100 * max(right - left, 0.0),
        height=100 * max(bottom - top, 0.0),
    )


def picture_of(
    jpeg: bytes, segment: Object, *, size_px: tuple[float, float], scale: Scale, faces: bool
) -> Tile:
    """Return a still image with the parts that were scored."""
    marks = marks_of(segment, size_px, scale)
    what = "face" if faces else "square"
    told = ", ".join(f"{m.label}: {m.score}" for m in marks)
    alt = f"The image, with {counted(len(marks), f'scored {what}')}"
    return Tile(
        source=data_url(jpeg),
        alt=f"{alt} ({told})" if told else "The image",
        title="",
        score="",
        level="none",
        marks=marks,
    )


def frames_of(
    jpegs: Sequence[bytes],
    segments: Sequence[Object],
    *,
    size_px: tuple[float, float],
    scale: Scale,
) -> list[Tile]:
    """Return the frames of a video that are shown: spread over it, with the highest score."""
    count = min(len(jpegs), len(segments))
    scores = [share(s, "score") for s in segments[:count]]
    chosen = set(spread(count, SHOWN_FRAMES))
    known = [i for i in range(count) if scores[i] is not None]
    if known:
        chosen.add(max(known, key=lambda i: scores[i] or 0.0))
    return [
        _frame(jpegs[i], segments[i], size_px=size_px, scale=scale, score=scores[i])
        for i in sorted(chosen)
    ]


def _frame(
    jpeg: bytes,
    segment: Object,
    *,
    size_px: tuple[float, float],
    scale: Scale,
    score: float | None,
) -> Tile:
    at, level = clock(max(number(segment, "start_s") or 0.0, 0.0)), scale.level(score)
    return Tile(
        source=data_url(jpeg),
        alt=f"Frame at {at}, score {percent(score)}: {LEVEL_WORDS[level]}",
        title=at,
        score=percent(score),
        level=level,
        marks=marks_of(segment, size_px, scale),
    )


def chart_of(
    segments: Sequence[Object],
    *,
    scale: Scale,
    duration_s: float | None,
    what: str,
    spectrogram: bytes | None = None,
) -> Chart | None:
    """Return the scores of segments over time; None if none of them has one.

    Args:
        segments: Segments of the result, in time order.
        scale: Scale of the model.
        duration_s: Where the chart ends if no segment goes further.
        what: What the segments are, in the plural.
        spectrogram: Spectrogram of the segments, from 0 to the last one's end.
    """
    spans = [(*_span(s), share(s, "score")) for s in segments]
    scored = [(start, end, score) for start, end, score in spans if score is not None]
    if not scored:
        return None
    last_s = max(end for _, end, _ in spans)
    # The axis of the spectrogram is that of its windows.
    end_s = last_s if spectrogram else max(last_s, duration_s or 0.0)
    end_s = max(end_s, 0.001)
    highest = sorted(scored, key=lambda s: -s[2])[:_HIGHEST]
    told = [f"{clock(start)}: {percent(score)}" for start, _, score in highest]
    return Chart(
        alt=f"Scores of {len(scored)} {what} from the start to {clock(end_s)}; "
        f"the highest at {told[0]}",
        bars=_bars(scored, end_s, scale),
        end=clock(end_s),
        low=100 * scale.low,
        high=100 * scale.high,
        threshold=100 * scale.threshold,
        spectrogram=data_url(spectrogram) if spectrogram else None,
        above=told,
    )


def _span(segment: Object) -> tuple[float, float]:
    start = max(number(segment, "start_s") or 0.0, 0.0)
    return start, max(number(segment, "end_s") or start, start)


def _bars(scored: Sequence[tuple[float, float, float]], end_s: float, scale: Scale) -> list[Bar]:
    """A bar for each score, up to the next: windows overlap, and frames have no width."""
    thin = CHART / max(2 * len(scored), 60)
    found = []
    nexts = [start for start, _, _ in scored[1:]]
    for (start, end, score), following in zip(scored, [*nexts, end_s], strict=True):
        x = CHART * start / end_s
        until = CHART * min(end, max(following, start)) / end_s if end > start else x + thin
        width = max(until - x, thin if end == start else 2.0)
        found.append(
            Bar(
                x=round(min(x, CHART - width), 2),
                width=round(width, 2),
                height=round(max(100 * score, 1.0), 2),
                level=scale.level(score),
            )
        )
    return found
