"""The preset ``small``: both pipelines beside each other, with the media that can be fetched."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import torch

from detection_training.pipeline.presets import PIPELINES, STEPS, Order, stages_of
from detection_training.pipeline.sources import Log, NoMediaError
from detection_training.pipeline.steps import run_stages
from detection_worker.detectors.registry import load_detectors

MISSING: Final[Mapping[str, str]] = {
    "audio": "audio model: no speech could be fetched (that needs apt-get)",
    "image": "image and video models: no photographs could be fetched",
}
"""What is said where a pipeline of ``PIPELINES`` has no media."""


def train_small(
    order: Order,
    work_dir: Path,
    *,
    only: Sequence[str] = (),
    until: str = STEPS[-1],
    processes: int,
    log: Log,
) -> list[str]:
    """Make every model that the available media allow; return what is missing, one text each.

    Args:
        order: What and where.
        work_dir: Where the steps leave their work, a folder for each pipeline.
        only: Keys of ``PIPELINES``; empty means all.
        until: Last step of each.
        processes: 2 trains pictures and sound at once, each on half of the cores. Two processes
            of one thread each are faster than one of two: small networks split badly.
        log: Takes progress lines; with 2 processes a function of a module, for it is pickled.

    Raises:
        UsageError: The media allow no model at all, or a folder is in the way.
    """
    started = time.monotonic()
    kinds = tuple(only) or tuple(PIPELINES)
    # One after the other, because both write the digests of one cache.
    missing = {kind: _run(kind, order, work_dir, until=STEPS[0], log=log) for kind in kinds}
    ready = [kind for kind in kinds if missing[kind] is None]
    rest = partial(_run, order=order, work_dir=work_dir, until=until, log=log)
    missing |= zip(ready, _map(rest, ready, processes=processes), strict=True)
    reasons = [reason for reason in missing.values() if reason]
    if len(reasons) == len(kinds):
        raise NoMediaError(
            "Not enough training media!\nMake `apt-get download` work on this machine, or use the "
            "models that ship with the package."
        )
    if until == STEPS[-1]:
        loaded = load_detectors(order.output)
        log(f"Loaded models: {[str(kind) for kind in loaded.by_kind]}")
        log(f"Done after {time.monotonic() - started:.0f} s: {order.output}")
    return reasons


def _map(
    run: "partial[str | None]", kinds: Sequence[str], *, processes: int
) -> Sequence[str | None]:
    if processes == 1 or len(kinds) == 1:
        return [run(kind) for kind in kinds]
    with ProcessPoolExecutor(
        max_workers=processes,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(max(1, (os.cpu_count() or 1) // 2),),
    ) as pool:
        return list(pool.map(run, kinds))


def _run(kind: str, order: Order, work_dir: Path, *, until: str, log: Log) -> str | None:
    """Return why there is no model, or None."""
    try:
        run_stages(stages_of(order, only=[kind], until=until), work_dir / kind, log=log)
    except NoMediaError:
        return MISSING[kind]
    return None
