"""``npr``: how a pixel differs from its neighbours.

Tan et al., Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable
Deepfake Detection, CVPR 2024.

The first half of torchvision's ResNet-50 (He et al. 2016) on the difference between a picture and
itself at half the resolution.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck, conv1x1

from detection_worker.detectors.networks.image.pixels import Scale
from detection_worker.detectors.networks.parts import in_parts

GAIN: Final = 2.0 / 3.0
"""Factor of the differences, as published."""
FEATURES: Final = 512


class Npr(nn.Module):
    """Neighbour differences, stem, two of ResNet-50's stages, mean over the map, one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Scale("imagenet")
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks=3)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.fc1 = nn.Linear(FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds of fake, ``(n, 1)``, for RGB pixels ``(n, 3, h, w)`` in 0 to 255."""
        logits: Tensor = self.fc1(in_parts(self._features, x))
        return logits

    def _features(self, x: Tensor) -> Tensor:
        y = neighbour_differences(self.scale(x)) * GAIN
        y = functional.relu(self.bn1(self.conv1(y)))
        y = functional.max_pool2d(y, 3, stride=2, padding=1)
        features: Tensor = self.layer2(self.layer1(y)).mean(dim=(2, 3))
        return features


def neighbour_differences(x: Tensor) -> Tensor:
    """Return each pixel less the upper left one of its 2x2 square.

    Args:
        x: Shape ``(n, c, h, w)``; the last row or column of an odd side is left out.
    """
    even = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    corners = even[:, :, ::2, ::2]
    return even - corners.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def build() -> Npr:
    """Return an untrained network for the registry."""
    return Npr()


def _stage(inputs: int, inner: int, *, blocks: int, stride: int = 1) -> nn.Sequential:
    outputs = inner * Bottleneck.expansion
    shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
    first = Bottleneck(inputs, inner, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(outputs, inner) for _ in range(1, blocks)))
