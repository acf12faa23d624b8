"""Large batches through a network's wide first layers, a few units at a time."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

PICTURES_AT_ONCE: Final[Mapping[str, int]] = {"cpu": 4, "cuda": 64}
"""Most pictures in one pass through wide early layers, by type of device."""


def in_parts(
    work: Callable[[Tensor], Tensor], x: Tensor, *, at_once: Mapping[str, int] = PICTURES_AT_ONCE
) -> Tensor:
    """Return ``work(x)``, computed on a few units at a time.

    A full batch in the first layers, which are wide and of half the resolution, takes more memory
    than a worker has: 64 faces of 380 px fill 1.3 GB with one map of EfficientNet-B4.

    Args:
        work: Function that treats every unit by itself.
        x: Pictures or sound, shape ``(n, ...)``, ``n >= 1``. Not divided where gradients are
            recorded: training normalises by the whole batch.
        at_once: Most units in one part, by type of device; 1 on others.

    Returns:
        The results of all parts, joined in order.
    """
    if torch.is_grad_enabled():
        return work(x)
    return torch.cat([work(part) for part in torch.split(x, at_once.get(x.device.type, 1))])
