"""Curves of a report as PNG pictures."""

import io
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

from detection_training import metrics
from detection_training.evaluation.intervals import Sample
from detection_training.evaluation.tables import KindReport
from detection_training.metrics import Floats
from detection_worker.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING: Final = "Drawing needs matplotlib\nInstall it with: pip install 'detection-queue[train]'"
SIZE_IN: Final = (5.2, 4.4)
DPI: Final = 110
REAL_COLOUR, FAKE_COLOUR, GREY = "#0072b2", "#d55e00", "#767676"
"""Told apart by people with any colour vision (Okabe and Ito 2008)."""
DET_TICKS: Final = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99)
DET_LIMITS: Final = (0.0005, 0.995)
BINS: Final = 20


def draw(kind: KindReport) -> dict[str, bytes]:
    """Return PNG files by name: ROC, DET, reliability and histogram of one media kind.

    Curves need both classes; without one of them only the histogram is drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    both = bool(kind.whole.real and kind.whole.fake)
    drawn: dict[str, Callable[[Axes, KindReport], None]] = {
        **({"roc": _roc, "det": _det, "reliability": _reliability} if both else {}),
        "scores": _histogram,
    }
    return {f"{kind.kind}-{name}.png": _picture(paint, kind) for name, paint in drawn.items()}


def _picture(paint: "Callable[[Axes, KindReport], None]", kind: KindReport) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy
        from matplotlib.figure import Figure  # noqa: PLC0415 - heavy
    except ModuleNotFoundError as exc:
        raise UsageError(MISSING) from exc
    figure = Figure(figsize=SIZE_IN, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(visible=True, alpha=0.3)
    paint(axes, kind)
    buffer = io.BytesIO()
    # Without the version of matplotlib in it the same numbers give the same file.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _curve(sample: Sample) -> tuple[Floats, Floats]:
    at = metrics.curve(sample.scores, sample.is_fake)
    return at.false_alarm_rates()[0], at.hit_rates()[0]


def _roc(axes: "Axes", kind: KindReport) -> None:
    false_alarms, hits = _curve(kind.sample)
    axes.plot([0, 1], [0, 1], linestyle=":", color=GREY, label="chance")
    axes.plot(false_alarms, hits, color=REAL_COLOUR, label="all files")
    _mark(axes, kind, lambda false_alarms, hits: (false_alarms, hits))
    axes.set(
        title=f"ROC, {kind.kind}",
        xlabel="false alarms (share of real files)",
        ylabel="detected (share of fake files)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
    )
    axes.legend(loc="lower right")


def _det(axes: "Axes", kind: KindReport) -> None:
    """Both error rates on normal-deviate axes (Martin et al. 1997)."""
    false_alarms, hits = _curve(kind.sample)
    x, y = ([_probit(rate) for rate in rates] for rates in (false_alarms, 1 - hits))
    axes.plot(x, y, color=REAL_COLOUR, label="all files")
    ends = [_probit(rate) for rate in DET_LIMITS]
    axes.plot(ends, ends, linestyle=":", color=GREY, label="equal error rate")
    _mark(axes, kind, lambda false_alarms, hits: (_probit(false_alarms), _probit(1 - hits)))
    places, words = [_probit(t) for t in DET_TICKS], [f"{t * 100:g}" for t in DET_TICKS]
    axes.set_xticks(places, words)
    axes.set_yticks(places, words)
    axes.set(
        title=f"DET, {kind.kind}",
        xlabel="false alarms (%)",
        ylabel="missed (%)",
        xlim=ends,
        ylim=ends,
    )
    axes.legend(loc="upper right")


def _probit(rate: float) -> float:
    low, high = DET_LIMITS
    return NormalDist().inv_cdf(min(max(float(rate), low), high))


def _mark(
    axes: "Axes", kind: KindReport, place: Callable[[float, float], tuple[float, float]]
) -> None:
    found = kind.whole.measures
    false_alarms, hits = found["false_alarm_rate"].value, found["detection_rate"].value
    if false_alarms is not None and hits is not None:
        x, y = place(false_alarms, hits)
        axes.plot([x], [y], "o", color=FAKE_COLOUR, label="at the threshold")


def _reliability(axes: "Axes", kind: KindReport) -> None:
    """Bins as for the calibration error; the number of files beside each point."""
    sample = kind.sample
    which = np.minimum((sample.scores * metrics.ECE_BINS).astype(int), metrics.ECE_BINS - 1)
    axes.plot([0, 1], [0, 1], linestyle=":", color=GREY, label="perfect")
    for b in sorted(set(which.tolist())):
        chosen = which == b
        count = int(chosen.sum())
        at = (float(sample.scores[chosen].mean()), float(sample.is_fake[chosen].mean()))
        # Areas as the numbers of files: what strays should not look like much if it is not.
        size = 12 + 300 * count / len(which)
        axes.scatter(*at, s=size, color=REAL_COLOUR, alpha=0.7)
        axes.annotate(str(count), at, (5, 5), textcoords="offset points", fontsize=8)
    axes.set(
        title=f"Reliability, {kind.kind}",
        xlabel="mean score of the bin",
        ylabel="share of fakes in the bin",
        xlim=(-0.02, 1.06),
        ylim=(-0.02, 1.08),
    )
    axes.legend(loc="upper left")


def _histogram(axes: "Axes", kind: KindReport) -> None:
    sample = kind.sample
    edges = [i / BINS for i in range(BINS + 1)]
    for chosen, name, colour, hatch in (
        (~sample.is_fake, "real", REAL_COLOUR, ""),
        (sample.is_fake, "fake", FAKE_COLOUR, "//"),
    ):
        count = int(chosen.sum())
        if count:
            axes.hist(
                sample.scores[chosen],
                edges,
                alpha=0.55,
                color=colour,
                hatch=hatch,
                label=f"{name} ({count})",
            )
    axes.set(title=f"Scores, {kind.kind}", xlabel="score, P(fake)", ylabel="files", xlim=(0, 1))
    if len(sample.scores):
        axes.legend()


def alt_text(name: str, kind: KindReport) -> str:
    """Return what a picture shows, for who cannot see it."""
    found = kind.whole.measures
    number = {"roc": "auc", "det": "eer", "reliability": "ece"}
    plot = name.rsplit("-", 1)[-1].removesuffix(".png")
    if plot == "scores":
        return (
            f"Histogram of the scores of {kind.whole.real} real and {kind.whole.fake} fake files"
        )
    value = found[number[plot]].value
    what = {"roc": "ROC curve, area", "det": "DET curve, equal error rate"}
    words = what.get(plot, "Reliability diagram, calibration error")
    return f"{words} {math.nan if value is None else value:.3f}"
