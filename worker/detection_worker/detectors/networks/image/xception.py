"""``xception``: separable convolutions in residual blocks, the usual baseline for forged faces.

Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, CVPR 2017; first trained
for faces by Roessler et al., FaceForensics++, ICCV 2019.

Tensors are named as in the first PyTorch version, which all published files descend from; what
files of other origins call them is in ``layouts``.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.networks.image.pixels import Scale
from detection_worker.detectors.networks.parts import in_parts

MIDDLE_BLOCKS: Final = range(4, 12)
"""Numbers of the eight equal blocks of the middle flow."""
FEATURES: Final = 2048


class SeparableConv(nn.Module):
    """A 3x3 convolution of each channel by itself, then one across channels at each pixel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, h, w)`` for ``(n, inputs, h, w)``."""
        result: Tensor = self.pointwise(self.conv1(x))
        return result


class Block(nn.Module):
    """Separable convolutions beside a shortcut.

    Args:
        widths: Channels before the first and after each convolution.
        halves: Halve the resolution at the end.
        opens: With a rectifier before the first convolution, as all blocks but the first have.
    """

    def __init__(self, widths: Sequence[int], *, halves: bool, opens: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.ReLU(), SeparableConv(inputs, outputs), nn.BatchNorm2d(outputs)]
        if halves:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.rep = nn.Sequential(*(layers if opens else layers[1:]))
        self.halves = halves
        if halves:
            self.skip = nn.Conv2d(widths[0], widths[-1], 1, stride=2, bias=False)
            self.skipbn = nn.BatchNorm2d(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, widths[-1], h', w')`` for ``(n, widths[0], h, w)``."""
        shortcut = self.skipbn(self.skip(x)) if self.halves else x
        result: Tensor = self.rep(x) + shortcut
        return result


class Xception(nn.Module):
    """Entry, middle and exit flow of the paper's figure 5, two classes.

    Args:
        scale: Scale of the pixels in training, a key of ``pixels.SCALES``.
    """

    def __init__(self, *, scale: str) -> None:
        super().__init__()
        self.scale = Scale(scale)
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.block1 = Block((64, 128, 128), halves=True, opens=False)
        self.block2 = Block((128, 256, 256), halves=True)
        self.block3 = Block((256, 728, 728), halves=True)
        for number in MIDDLE_BLOCKS:
            self.add_module(f"block{number}", Block((728,) * 4, halves=False))
        self.block12 = Block((728, 728, 1024), halves=True)
        self.conv3 = SeparableConv(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = SeparableConv(1536, FEATURES)
        self.bn4 = nn.BatchNorm2d(FEATURES)
        self.last_linear = nn.Linear(FEATURES, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n, 2)`` for RGB pixels ``(n, 3, h, w)`` in 0 to 255."""
        logits: Tensor = self.last_linear(in_parts(self._features, x))
        return logits

    def _features(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(self.scale(x))))
        y = functional.relu(self.bn2(self.conv2(y)))
        for number in range(1, 13):
            y = self.get_submodule(f"block{number}")(y)
        y = functional.relu(self.bn3(self.conv3(y)))
        return functional.relu(self.bn4(self.conv4(y))).mean(dim=(2, 3))


def build(*, scale: str = "symmetric") -> Xception:
    """Return an untrained Xception for the registry: 20,811,050 parameters.

    Args:
        scale: As in ``Xception``.
    """
    return Xception(scale=scale)
