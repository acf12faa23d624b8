"""Deterministic weights and pictures, the same on every machine.

With them two networks can be compared that never run in one place: what one answered is written
down, and the other must answer it.
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SEED: Final = 4
COARSE_PX: Final = 16
"""Side of the squares of the coarse picture."""


def weights(shapes: Mapping[str, tuple[int, ...]], *, gain: float) -> dict[str, Tensor]:
    """Return a tensor for each name; no two of one shape are alike, so none can stand for another.

    PCG64's raw integers are stable across versions of numpy; only they are used.

    Args:
        shapes: By name, as in PyTorch: outputs first. How a name ends tells what it is.
        gain: Variance of a layer's sums over the mean square of its inputs.
    """
    return {
        name: _values(name, shape, number=number, gain=gain)
        for number, (name, shape) in enumerate(sorted(shapes.items()))
    }


def pictures(side_px: int) -> NDArray[np.uint8]:
    """Return noise, coarse noise and a ramp of colours: RGB, ``(3, side_px, side_px, 3)``."""
    raw = np.random.PCG64(SEED).random_raw(side_px * side_px * 3) >> np.uint64(56)
    noise = raw.reshape(side_px, side_px, 3).astype(np.uint8)
    few = side_px // COARSE_PX + 1
    coarse = noise[:few, :few].repeat(COARSE_PX, 0).repeat(COARSE_PX, 1)[:side_px, :side_px]
    along = (np.arange(side_px) * 255 // side_px).astype(np.uint8)
    ramp = np.stack(np.broadcast_arrays(along[:, None], along[None], along[::-1, None]), axis=2)
    return np.stack([noise, coarse, ramp])


def _values(name: str, shape: tuple[int, ...], *, number: int, gain: float) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    raw = np.random.PCG64([SEED, number]).random_raw(math.prod(shape)) >> np.uint64(40)
    even = raw.astype(np.float32).reshape(shape) / np.float32(1 << 24) - np.float32(0.5)
    if len(shape) > 1:
        even *= np.float32(math.sqrt(12 * gain / math.prod(shape[1:])))
    elif name.endswith("running_var"):
        even += np.float32(1)
    elif name.endswith("weight"):
        even = np.float32(1) + even * np.float32(0.2)
    else:
        even *= np.float32(0.4)
    return torch.from_numpy(even)
