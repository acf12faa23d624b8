"""How much the resumable training does: ``full``, ``small`` or ``tiny``; and its steps."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detection_training.pipeline.steps import Stage
from detection_worker.errors import UsageError

PresetName = Literal["full", "small", "tiny"]
PRESETS: Final[tuple[PresetName, ...]] = ("full", "small", "tiny")
"""``full`` made the bundled models, ``small`` is ``train --demo``, ``tiny`` tests every step."""
STEPS: Final = ("fetch", "build", "train", "calibrate", "evaluate", "package")
SEED: Final = 20_261
MINUTES: Final = 5.0
PIPELINES: Final[Mapping[str, str]] = {
    "audio": "detection_training.audio.stages:stages",
    "image": "detection_training.image.stages:stages",
}
"""What can be trained to ``module:function``; imported when asked for.

The function takes an ``Order`` and returns the steps ``<what>-fetch`` to ``<what>-package``.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to train and where.

    Attributes:
        preset: How much to do.
        cache: Folder where downloads are kept.
        output: Models directory that the last step writes to.
        force: Overwrite folders that training did not make.
        seed: Seed of every choice.
        minutes: With ``small``: about how long to take on two cores of 2020.
    """

    preset: PresetName
    cache: Path
    output: Path
    force: bool = False
    seed: int = SEED
    minutes: float = MINUTES


def stages_of(order: Order, *, only: Sequence[str] = (), until: str = STEPS[-1]) -> list[Stage]:
    """Return the steps to run, in order.

    Args:
        order: What and where.
        only: Keys of ``PIPELINES``; empty means all.
        until: Last step of each.

    Raises:
        UsageError: There is no such pipeline or step.
    """
    if until not in STEPS:
        raise UsageError(f"--until {until}: no such step\nUse one of: {', '.join(STEPS)}")
    for name in only:
        if name not in PIPELINES:
            raise UsageError(f"--only {name}: unknown\nUse one of: {', '.join(PIPELINES)}")
    wanted = STEPS[: STEPS.index(until) + 1]
    found: list[Stage] = []
    for name, target in PIPELINES.items():
        if only and name not in only:
            continue
        module, _, function = target.partition(":")
        stages: list[Stage] = getattr(importlib.import_module(module), function)(order)
        found += [stage for stage in stages if stage.step in wanted]
    return found
