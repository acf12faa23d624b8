"""``meso4`` and ``mesoinception4``: small networks for forged faces in compressed video.

Afchar et al., MesoNet: a Compact Facial Video Forgery Detection Network, WIFS 2018.

Published as Keras weights: the map is flattened with its channels last, and normalisation and
leaky rectifiers have Keras's constants.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.networks.image.pixels import Scale
from detection_worker.detectors.networks.parts import in_parts

SIDE_PX: Final = 256
"""Of the faces; the dense layer takes no other."""
NORM_EPS: Final = 1e-3
SLOPE: Final = 0.1
"""Of the dense layer's leaky rectifier below zero."""
POOLS: Final = (2, 2, 2, 4)
"""Sides of the pooling after each of the four filters."""
HIDDEN: Final = 16
FEATURES: Final = 16 * (SIDE_PX // 32) ** 2
BRANCHES: Final = ((1, 4, 4, 2), (2, 4, 4, 2))
"""Channels of the branches of MesoInception-4's two modules."""


class Inception(nn.Module):
    """Four branches side by side: pixels alone, and 3x3 filters of dilation 1, 2 and 3.

    Args:
        inputs: Channels.
        widths: Channels of each branch.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(inputs, width, 1) for width in widths)
        self.wide = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            for dilation, width in enumerate(widths[1:], start=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, sum(widths), h, w)``, all positive, for ``(n, inputs, h, w)``."""
        first, *others = (functional.relu(narrow(x)) for narrow in self.narrow)
        pairs = zip(self.wide, others, strict=True)
        return torch.cat([first, *(functional.relu(wide(y)) for wide, y in pairs)], dim=1)


class MesoNet(nn.Module):
    """Four filters, each normalised and pooled, then two dense layers; one logit.

    Args:
        filters: Four modules from maps to maps of the same side.
        widths: Channels that leave each of them.
    """

    def __init__(self, filters: tuple[nn.Module, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = Scale("unit")
        self.filters = nn.ModuleList(filters)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, eps=NORM_EPS) for width in widths)
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds of real, ``(n, 1)``, for RGB ``(n, 3, 256, 256)`` in 0 to 255."""
        hidden = functional.leaky_relu(self.hidden(in_parts(self._features, x)), SLOPE)
        logits: Tensor = self.last(hidden)
        return logits

    def _features(self, x: Tensor) -> Tensor:
        y = self.scale(x)
        for convolve, norm, pool in zip(self.filters, self.norms, POOLS, strict=True):
            y = functional.max_pool2d(norm(functional.relu(convolve(y))), pool)
        flat: Tensor = y.permute(0, 2, 3, 1).flatten(1)
        return flat


def build_meso4() -> MesoNet:
    """Return an untrained Meso-4 for the registry: 27,977 parameters, as in the paper."""
    filters = (_filter(3, 8, kernel=3), _filter(8, 8), _filter(8, 16), _filter(16, 16))
    return MesoNet(filters, (8, 8, 16, 16))


def build_mesoinception4() -> MesoNet:
    """Return an untrained MesoInception-4 for the registry: 28,615 parameters, as in the paper."""
    first, second = (sum(widths) for widths in BRANCHES)
    modules = (Inception(3, BRANCHES[0]), Inception(first, BRANCHES[1]))
    filters = (*modules, _filter(second, 16), _filter(16, 16))
    return MesoNet(filters, (first, second, 16, 16))


def _filter(inputs: int, outputs: int, *, kernel: int = 5) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
