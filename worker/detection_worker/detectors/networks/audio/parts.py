"""Windows of sound, a few at a time through the wide first layers of a network."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def in_parts(work: Callable[[Tensor], Tensor], x: Tensor, *, at_once: Mapping[str, int]) -> Tensor:
    """Return ``work(x)``, done a few windows at a time.

    Args:
        work: Treats every window by itself.
        x: Shape ``(n, samples)``, ``n >= 1``. Undivided where gradients are kept: training
            normalises by the whole batch.
        at_once: Windows of one part, by type of the device.
    """
    if torch.is_grad_enabled():
        return work(x)
    return torch.cat([work(part) for part in torch.split(x, at_once.get(x.device.type, 1))])
