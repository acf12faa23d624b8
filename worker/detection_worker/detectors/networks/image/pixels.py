"""Pixels scaled as in the training of published image networks."""

from collections.abc import Mapping
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
