"""``aasist`` and ``aasist-l``: is this speech of a person? Published weights load by name.

Written from Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph
Attention Networks" (ICASSP 2022). The published weights tell class 0, synthetic, from class 1,
"bona fide".
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.networks.audio.joint_graphs import JointGraphs
from detection_worker.detectors.networks.audio.rawnet2 import SincFilters

SAMPLE_RATE_HZ = 16_000
WINDOW = 64_600
"""Samples of a unit, about 4 s, as in training; shorter speech is repeated."""
FILTERS = 70
TAPS = 129
BANDS = FILTERS // 3
"""Rows of the first feature map after pooling by three."""
AT_ONCE = {"cpu": 1, "cuda": 16}
"""Units whose feature maps, about 0.25 GB each, are held at once; more are no faster on a CPU."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, then pooling of time.

    Args:
        inputs: Channels.
        outputs: Channels afterwards.
        first: The block follows a normalised map and has no ``bn1``.
        pooled: Frames that become one.
    """

    def __init__(self, inputs: int, outputs: int, *, first: bool, pooled: int = 3) -> None:
        super().__init__()
        self.pooled = pooled
        if not first:
            # Named by the published weights and never used: in them its scale is exactly 1 and
            # its offset exactly 0, so no gradient ever came through it.
            self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (2, 3), padding=(0, 1))
        self.conv_downsample = (
            nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1)) if inputs != outputs else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, bands, frames // pooled)`` for ``(n, inputs, bands, frames)``."""
        y = functional.selu(self.bn2(self.conv1(x)), inplace=True)
        y = self.conv2(y)
        shortcut = x if self.conv_downsample is None else self.conv_downsample(x)
        return functional.max_pool2d(y + shortcut, (1, self.pooled))


class Aasist(JointGraphs):
    """Sinc filters, residual encoder, a spectral and a temporal graph, and two joint branches.

    Args:
        channels: Channels of the encoder's first and last blocks.
        graph: Features of a node in the joint graphs.
        ratios: Share of nodes kept in the spectral, the temporal and the joint graphs.
    """

    def __init__(
        self, *, channels: tuple[int, int], graph: int, ratios: tuple[float, float, float]
    ) -> None:
        narrow, nodes = channels
        super().__init__(bands=BANDS, nodes=nodes, graph=graph, ratios=ratios)
        self.filters = SincFilters(FILTERS, taps=TAPS, sample_rate_hz=SAMPLE_RATE_HZ)
        self.first_bn = nn.BatchNorm2d(1)
        widths = [1, narrow, narrow, nodes, nodes, nodes, nodes]
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(ResidualBlock(a, b, first=i == 0))
                for i, (a, b) in enumerate(pairwise(widths))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of (synthetic, bona fide), ``(n, 2)``, for sound ``(n, WINDOW)``.

        In evaluation a few units at a time pass through the encoder, whose maps of 32 channels
        at nearly the sample rate would fill the memory of a worker with one full batch.
        """
        if self.training:
            return self._classify(self._encode(x))
        at_once = AT_ONCE.get(x.device.type, 1)
        return self._classify(torch.cat([self._encode(part) for part in torch.split(x, at_once)]))

    def _encode(self, x: Tensor) -> Tensor:
        """Return the encoder's map, ``(n, features, BANDS, frames)``."""
        energy = self.filters(x.float()).abs().unsqueeze(1)
        bands = self.first_bn(functional.max_pool2d(energy, 3))
        result: Tensor = self.encoder(functional.selu(bands, inplace=True))
        return result

    def _classify(self, features: Tensor) -> Tensor:
        magnitude = features.abs()
        spectral = magnitude.amax(dim=3).transpose(1, 2)
        temporal = magnitude.amax(dim=2).transpose(1, 2)
        return self.judge(spectral, temporal)


def build() -> Aasist:
    """Return an untrained AASIST for the registry: 297,866 parameters."""
    return Aasist(channels=(32, 64), graph=32, ratios=(0.5, 0.7, 0.5))


def build_light() -> Aasist:
    """Return an untrained AASIST-L for the registry."""
    return Aasist(channels=(32, 24), graph=32, ratios=(0.4, 0.5, 0.7))
