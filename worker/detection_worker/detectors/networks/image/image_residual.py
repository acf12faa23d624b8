"""``image_residual``: does a crop carry the low-level traces of a neural decoder?

The front end keeps only what neighbouring pixels do not predict of each other, because decoders
that up-sample leave regular traces there (Tan et al. 2024, "Rethinking the Up-Sampling Operations
in CNN-based Generative Network for Generalizable Deepfake Detection"), and the content of the
picture would only teach a small network what was on the training photographs.
"""

import itertools
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LAPLACIAN = ((-0.25, 0.5, -0.25), (0.5, -1.0, 0.5), (-0.25, 0.5, -0.25))
"""Second-order residual in both directions, the "square 3x3" of rich models (Fridrich 2012)."""
WIDTHS = (16, 24, 48, 96, 128)
"""Every stage halves the resolution at once: 2 ms a crop on one core, against 4 otherwise."""
LIMIT = 2.0
"""Bound of one crop's logit unless a model says another. Far from the training data a network gets
ever surer of itself; one such crop must not outweigh the others, nor a score claim what no
held-out set can support."""
RESIDUAL_GAIN = 16.0
"""Residuals of photographs are a few hundredths of the range; this brings them to order one."""


class Residuals(nn.Module):
    """Neighbour and second-order residuals of each colour, in half the resolution, losslessly.

    All are sums of neighbouring pixels, so one convolution takes them together, which is three
    times as fast as one step after the other.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", residual_filters(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float ``(n, 24, h/2, w/2)`` for pixels ``(n, 3, h, w)`` in 0 to 255."""
        padded = functional.pad(x.float(), (1, 1, 1, 1), mode="reflect")
        both = functional.conv2d(padded, self.kernel, stride=2)
        # Outliers at hard edges say nothing about decoders and would swamp small traces.
        return both.clamp(-4.0, 4.0)


def residual_filters() -> Tensor:
    """Return the filters of all residuals of a square of 2x2 pixels, ``(24, 3, 4, 4)``.

    By kind (difference from the square's upper left pixel, second order), colour and pixel of the
    square; they see the square and a pixel around it. Every weight is a power of two times the
    same number: in half precision too, they add up to exactly zero.
    """
    filters = torch.zeros(2, 3, 2, 2, 3, 4, 4)
    second = torch.tensor(LAPLACIAN)
    for colour, row, column in itertools.product(range(3), range(2), range(2)):
        filters[0, colour, row, column, colour, 1 + row, 1 + column] += 1.0
        filters[0, colour, row, column, colour, 1, 1] -= 1.0
        filters[1, colour, row, column, colour, row : row + 3, column : column + 3] = second
    return filters.view(24, 3, 4, 4) * (RESIDUAL_GAIN / 255.0)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016); halves the resolution first."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, h/stride, w/stride)`` for ``(n, inputs, h, w)``."""
        y = functional.relu(self.norm1(self.conv1(x)))
        result: Tensor = functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
        return result


class ImageResidual(nn.Module):
    """Residual front end, four stages, mean and spread over the crop, one logit.

    Args:
        widths: Channels after the stem and after each stage.
        limit: Bound of the logit.
    """

    def __init__(self, *, widths: Sequence[int] = WIDTHS, limit: float = LIMIT) -> None:
        super().__init__()
        self._limit = limit
        self.residuals = Residuals()
        self.stem = nn.Sequential(
            nn.Conv2d(24, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(*(Block(a, b, 2) for a, b in pairwise(widths)))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n,)`` within the limit for pixels ``(n, 3, h, w)``.

        Args:
            x: Any dtype, 0 to 255, even sides.
        """
        y = self.stages(self.stem(self.residuals(x)))
        spread = (y.var(dim=(2, 3), unbiased=False) + 1e-5).sqrt()
        logits: Tensor = self.head(torch.cat([y.mean(dim=(2, 3)), spread], dim=1)).squeeze(1)
        return self._limit * torch.tanh(logits / self._limit)


def build(*, width: int = 16, limit: float = LIMIT) -> ImageResidual:
    """Return an untrained network for the registry.

    Args:
        width: Channels after the stem; the stages scale with it.
        limit: Bound of one crop's logit.
    """
    return ImageResidual(widths=[w * width // WIDTHS[0] for w in WIDTHS], limit=limit)
