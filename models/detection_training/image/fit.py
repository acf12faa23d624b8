"""Training of the image network on pairs of a real crop and its remake, treated alike."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from detection_training.image.data import Pool
from detection_training.image.making.passages import draw_passage
from detection_training.image.making.photographs import Pixels
from detection_training.image.plan import FitPlan
from detection_training.pipeline.fitting import Progress, fit
from detection_training.pipeline.package import Design
from detection_training.pipeline.sources import Log
from detection_worker.detectors import architectures

CROP_PX: Final = 96
"""Side of the training crops. The network is convolutional up to its means, so it scores larger
ones too; smaller ones give more of them in the same time."""


class Pairs:
    """Draws batches in which every real crop comes with its reconstruction, treated alike."""

    def __init__(self, pool: Pool, *, pairs: int, rng: np.random.Generator) -> None:
        self._pool = pool
        self._pairs = pairs
        self._rng = rng
        self._by_maker = [np.argwhere(pool.maker == i) for i in np.unique(pool.maker)]

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return pixels ``(2 * pairs, 3, CROP_PX, CROP_PX)`` and labels, 1 for fake."""
        crops: list[Pixels] = []
        for _ in range(self._pairs):
            # By maker first, so that every maker has the same weight.
            places = self._by_maker[int(self._rng.integers(len(self._by_maker)))]
            patch, which = places[int(self._rng.integers(len(places)))]
            crops += self.pair(int(patch), int(which))
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return pixels, torch.tensor([0.0, 1.0]).repeat(self._pairs)

    def pair(self, patch: int, which: int) -> list[Pixels]:
        """Return a real crop and its reconstruction's after the same passage."""
        rng, pool = self._rng, self._pool
        passage = draw_passage(rng, compress=bool(pool.compress[patch]))
        seed = int(rng.integers(1 << 31))
        both = [passage.apply(p, seed=seed) for p in (pool.real[patch], pool.fakes[patch, which])]
        top, left = (int(rng.integers(0, side - CROP_PX + 1)) for side in both[0].shape[:2])
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        cut = (p[top : top + CROP_PX, left : left + CROP_PX] for p in both)
        turned = (np.rot90(p, turns) for p in cut)
        return [np.ascontiguousarray(p[:, ::-1] if mirrored else p) for p in turned]


def new_network(design: Design, *, seed: int) -> torch.nn.Module:
    """Return the untrained network of a model."""
    torch.manual_seed(seed)
    return architectures.build_network(design.architecture, design.params, where=design.id)


def train(
    network: torch.nn.Module,
    pool: Pool,
    plan: FitPlan,
    *,
    seed: int,
    log: Log,
    progress: Progress | None = None,
) -> torch.nn.Module:
    """Return the network trained on the pool.

    Args:
        network: New, or one to train further.
        pool: Pairs.
        plan: How much to train.
        seed: Seed of the batches.
        log: Takes progress lines.
        progress: Keeps the state, so that an interrupted training resumes.
    """
    torch.manual_seed(seed)
    trained = fit(
        network.to(memory_format=torch.channels_last),
        Pairs(pool, pairs=plan.pairs, rng=np.random.default_rng(seed)),
        name="images",
        steps=plan.steps,
        rate=plan.rate,
        seconds=plan.seconds,
        log=log,
        progress=progress,
    )
    return trained.to(memory_format=torch.contiguous_format)
