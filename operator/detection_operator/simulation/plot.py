"""The picture of a simulation: queue, age and replicas over time, one line for each policy."""

from collections.abc import Mapping
from pathlib import Path

from detection_operator.simulation.simulator import Run, World

MISSING = "drawing needs matplotlib\nInstall it with: pip install 'detection-queue[plot]'"


class PlotUnavailable(RuntimeError):  # noqa: N818 - says what it is
    """Matplotlib is not installed; the operator's image does not carry it."""


def draw(runs: Mapping[str, Run], world: World, path: Path, *, title: str) -> None:
    """Write the picture to ``path`` as PNG.

    Raises:
        PlotUnavailable: Matplotlib is not installed.
        OSError: The file cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and absent from the image
    except ImportError as exc:
        raise PlotUnavailable(MISSING) from exc

    figure = Figure(figsize=(11, 8), layout="constrained")
    queue, age, replicas = figure.subplots(3, sharex=True)
    for name, run in runs.items():
        minutes = [sample.at_s / 60 for sample in run.samples]
        queue.plot(minutes, [sample.queue for sample in run.samples], label=name, lw=1)
        age.plot(minutes, [sample.age_s for sample in run.samples], lw=1)
        replicas.step(minutes, [sample.replicas for sample in run.samples], where="post", lw=1)
    age.axhline(world.wait_s, color="black", ls=":", lw=1)
    queue.set_ylabel("messages waiting")
    age.set_ylabel("oldest message, s")
    replicas.set_ylabel("replicas")
    replicas.set_xlabel("minutes")
    queue.set_title(title)
    queue.legend(loc="upper right")
    figure.savefig(path, format="png", dpi=100)
