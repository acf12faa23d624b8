"""What published image networks share: pixels scaled as in their training, bounded batches."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

SCALES: Final[Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
"""Mean and standard deviation of red, green and blue of 0 to 1, by name: left alone, brought to -1
to 1, by the statistics of ImageNet that torchvision's networks are trained on, and by those of
CLIP's own pictures."""
AT_ONCE: Final[Mapping[str, int]] = {"cpu": 4, "cuda": 64}
"""Most units in one pass through a network's wide early layers, by type of device."""


class Scale(nn.Module):
    """Pixels as a network learned to see them.

    Args:
        name: Key of ``SCALES``.

    Raises:
        ValueError: There is no such scale.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in SCALES:
            raise ValueError(f"scale: {name!r} is unknown; known: {', '.join(SCALES)}")
        for what, values in zip(("mean", "std"), SCALES[name], strict=True):
            self.register_buffer(what, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float ``(n, 3, h, w)`` for RGB pixels ``(n, 3, h, w)`` in 0 to 255."""
        return (x.float() / 255.0 - self.mean) / self.std


def in_parts(work: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return ``work(x)``, done a few units at a time.

    A full batch in the first layers, which are wide and of half the resolution, takes more memory
    than a worker has: 64 faces of 380 px fill 1.3 GB with one map of EfficientNet-B4.

    Args:
        work: Treats every unit by itself.
        x: Shape ``(n, …)``, ``n >= 1``. Undivided where gradients are kept: training normalises
            by the whole batch.
    """
    if torch.is_grad_enabled():
        return work(x)
    at_once = AT_ONCE.get(x.device.type, 1)
    return torch.cat([work(part) for part in torch.split(x, at_once)])
