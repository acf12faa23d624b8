"""``efficientnet-b4``: inverted bottlenecks with squeeze and excitation, scaled up.

Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019.

Tensors are named as in the PyTorch version that forged-face detectors are built on; what other
files call them is in ``layouts``. For scoring alone: no dropout, no stochastic depth.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.networks.image.pixels import Scale
from detection_worker.detectors.networks.parts import in_parts

WIDTH: Final = 1.4
DEPTH: Final = 1.8
"""How much wider and deeper than B0 the B4 is (table of the authors' release)."""
NORM_EPS: Final = 1e-3
"""Epsilon of all normalisations, as in the TensorFlow original."""
SQUEEZE: Final = 0.25
"""Channels of a squeeze over the channels that enter its block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One row of the paper's table 1, for B0.

    Attributes:
        repeats: Blocks.
        kernel: Side of the depthwise convolution.
        stride: Stride of the first block.
        expand: Channels inside a block over those that enter it.
        width: Channels that leave it.
    """

    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


STEM_WIDTH: Final = 32
STAGES: Final = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, width=16),
    Stage(repeats=2, kernel=3, stride=2, expand=6, width=24),
    Stage(repeats=2, kernel=5, stride=2, expand=6, width=40),
    Stage(repeats=3, kernel=3, stride=2, expand=6, width=80),
    Stage(repeats=3, kernel=5, stride=1, expand=6, width=112),
    Stage(repeats=4, kernel=5, stride=2, expand=6, width=192),
    Stage(repeats=1, kernel=3, stride=1, expand=6, width=320),
)
HEAD_WIDTH: Final = 1280


class SameConv(nn.Conv2d):
    """A convolution that gives ``ceil(side / stride)`` pixels, as TensorFlow pads for it.

    Args:
        inputs: Channels.
        outputs: Channels.
        kernel: Side of the kernel.
        stride: Stride of the convolution.
        groups: See ``Conv2d``.
        side_px: Side of the maps that the padding was fixed for when the network was built; other
            maps get the same padding, though another fits them. 0: each map gets what fits it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        side_px: int = 0,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.side_px = side_px

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, h', w')`` for ``(n, inputs, h, w)``."""
        high, wide = (same_padding(self.side_px or s, self._reach()) for s in x.shape[2:])
        padded = functional.pad(x, (*wide, *high)) if any((*wide, *high)) else x
        return super().forward(padded)

    def _reach(self) -> tuple[int, int]:
        return self.kernel_size[0], self.stride[0]


def same_padding(side_px: int, reach: tuple[int, int]) -> tuple[int, int]:
    """Return pixels before and after a side so that ``ceil(side / stride)`` come out.

    An odd number is uneven, the larger part after: TensorFlow's rule for ``SAME``.

    Args:
        side_px: Before padding.
        reach: Kernel and stride.
    """
    kernel, stride = reach
    total = max((math.ceil(side_px / stride) - 1) * stride + kernel - side_px, 0)
    return total // 2, total - total // 2


class Bottleneck(nn.Module):
    """Widen, filter each channel, weigh the channels, narrow; a shortcut where shapes allow.

    Args:
        inputs: Channels.
        outputs: Channels.
        stage: Gives kernel and expansion.
        stride: Stride of this block.
        side_px: As in ``SameConv``.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stage: Stage, stride: int, side_px: int
    ) -> None:
        super().__init__()
        inner = inputs * stage.expand
        self.expands = stage.expand != 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv(
            inner, inner, kernel=stage.kernel, stride=stride, groups=inner, side_px=side_px
        )
        self._bn1 = _norm(inner)
        squeezed = max(1, int(inputs * SQUEEZE))
        self._se_reduce = nn.Conv2d(inner, squeezed, 1)
        self._se_expand = nn.Conv2d(squeezed, inner, 1)
        self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, h', w')`` for ``(n, inputs, h, w)``."""
        y = functional.silu(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.silu(self._bn1(self._depthwise_conv(y)))
        squeezed = functional.silu(self._se_reduce(y.mean(dim=(2, 3), keepdim=True)))
        y = y * self._se_expand(squeezed).sigmoid()
        narrow: Tensor = self._bn2(self._project_conv(y))
        return narrow + x if self.adds else narrow


class EfficientNetB4(nn.Module):
    """Stem, 32 blocks, head, mean over the map, two classes.

    Args:
        scale: Scale of the pixels in training, a key of ``pixels.SCALES``.
        padding_px: Side of the pictures that the padding was fixed for, or 0: as in ``SameConv``.
        stem_padding: 0 if the first convolution pads nothing, 1 if it pads like the others.
    """

    def __init__(self, *, scale: str, padding_px: int, stem_padding: int) -> None:
        super().__init__()
        self.scale = Scale(scale)
        width = scaled_width(STEM_WIDTH)
        self._conv_stem: nn.Conv2d = nn.Conv2d(3, width, 3, stride=2, bias=False)
        if stem_padding:
            self._conv_stem = SameConv(3, width, kernel=3, stride=2, side_px=padding_px)
        self._bn0 = _norm(width)
        self._blocks = nn.ModuleList(_blocks(math.ceil(padding_px / 2)))
        last, head = scaled_width(STAGES[-1].width), scaled_width(HEAD_WIDTH)
        self._conv_head = nn.Conv2d(last, head, 1, bias=False)
        self._bn1 = _norm(head)
        self._fc = nn.Linear(head, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n, 2)`` for RGB pixels ``(n, 3, h, w)`` in 0 to 255."""
        logits: Tensor = self._fc(in_parts(self._features, x))
        return logits

    def _features(self, x: Tensor) -> Tensor:
        y = functional.silu(self._bn0(self._conv_stem(self.scale(x))))
        for block in self._blocks:
            y = block(y)
        return functional.silu(self._bn1(self._conv_head(y))).mean(dim=(2, 3))


def build(
    *, scale: str = "imagenet", padding_px: int = 380, stem_padding: int = 1
) -> EfficientNetB4:
    """Return an untrained EfficientNet-B4 for the registry: 17,552,202 parameters.

    Args:
        scale: See ``EfficientNetB4``.
        padding_px: See ``EfficientNetB4``; 380 is the side that B4 was scaled for.
        stem_padding: See ``EfficientNetB4``.
    """
    return EfficientNetB4(scale=scale, padding_px=padding_px, stem_padding=stem_padding)


def scaled_width(channels: int) -> int:
    """Return B4's channels for B0's: a multiple of 8, at most a tenth under the exact product."""
    exact = channels * WIDTH
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def scaled_repeats(blocks: int) -> int:
    """Return B4's blocks of a stage for B0's."""
    return math.ceil(blocks * DEPTH)


def _blocks(side_px: int) -> Iterator[Bottleneck]:
    inputs = scaled_width(STEM_WIDTH)
    for stage in STAGES:
        outputs = scaled_width(stage.width)
        for number in range(scaled_repeats(stage.repeats)):
            stride = stage.stride if number == 0 else 1
            yield Bottleneck(inputs, outputs, stage=stage, stride=stride, side_px=side_px)
            inputs, side_px = outputs, math.ceil(side_px / stride)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPS)
