"""``aasist`` and ``aasist-l``: is this speech of a person? Published weights load by name.

Written from Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph
Attention Networks" (ICASSP 2022). The published weights tell class 0, synthetic, from class 1,
"bona fide".
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.graph_attention import (
    GraphAttention,
    GraphPooling,
    HeterogeneousGraphAttention,
)
from detection_worker.detectors.sinc import SincFilters

SAMPLE_RATE_HZ = 16_000
WINDOW = 64_600
"""Samples of a unit, about 4 s, as in training; shorter speech is repeated."""
FILTERS = 70
TAPS = 129
BANDS = FILTERS // 3
"""Rows of the first feature map after pooling by three."""
GRAPH_TEMPERATURE = 2.0
HETEROGENEOUS_TEMPERATURE = 100.0
"""Both recalled from the published system, not read from it; no checkpoint says them."""
AT_ONCE = {"cpu": 1, "cuda": 16}
"""Units whose feature maps, about 0.25 GB each, are held at once; more are no faster on a CPU."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, then pooling of time by three.

    Args:
        inputs: Channels.
        outputs: Channels afterwards.
        first: The block follows a normalised map and has no ``bn1``.
    """

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
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
        """Return ``(n, outputs, bands, frames // 3)`` for ``(n, inputs, bands, frames)``."""
        y = functional.selu(self.bn2(self.conv1(x)), inplace=True)
        y = self.conv2(y)
        shortcut = x if self.conv_downsample is None else self.conv_downsample(x)
        return functional.max_pool2d(y + shortcut, (1, 3))


class Aasist(nn.Module):
    """Sinc filters, residual encoder, a spectral and a temporal graph, and two joint branches.

    Args:
        channels: Of the encoder's first and last blocks.
        graph: Features of a node in the joint graphs.
        ratios: Share of nodes kept in the spectral, the temporal and the joint graphs.
    """

    def __init__(
        self, *, channels: tuple[int, int], graph: int, ratios: tuple[float, float, float]
    ) -> None:
        super().__init__()
        narrow, nodes = channels
        spectral, temporal, joint = ratios
        self.filters = SincFilters(FILTERS, taps=TAPS, sample_rate_hz=SAMPLE_RATE_HZ)
        self.first_bn = nn.BatchNorm2d(1)
        widths = [1, narrow, narrow, nodes, nodes, nodes, nodes]
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(ResidualBlock(a, b, first=i == 0))
                for i, (a, b) in enumerate(pairwise(widths))
            )
        )
        self.pos_S = nn.Parameter(torch.randn(1, BANDS, nodes))
        self.master1 = nn.Parameter(torch.randn(1, 1, nodes))
        self.master2 = nn.Parameter(torch.randn(1, 1, nodes))
        self.GAT_layer_S = GraphAttention(nodes, nodes, temperature=GRAPH_TEMPERATURE)
        self.GAT_layer_T = GraphAttention(nodes, nodes, temperature=GRAPH_TEMPERATURE)
        self.pool_S = GraphPooling(spectral, nodes)
        self.pool_T = GraphPooling(temporal, nodes)
        self.HtrgGAT_layer_ST11 = _joint(nodes, graph)
        self.HtrgGAT_layer_ST12 = _joint(graph, graph)
        self.HtrgGAT_layer_ST21 = _joint(nodes, graph)
        self.HtrgGAT_layer_ST22 = _joint(graph, graph)
        self.pool_hS1 = GraphPooling(joint, graph)
        self.pool_hT1 = GraphPooling(joint, graph)
        self.pool_hS2 = GraphPooling(joint, graph)
        self.pool_hT2 = GraphPooling(joint, graph)
        self.branch_dropout = nn.Dropout(0.2)
        self.dropout = nn.Dropout(0.5)
        self.out_layer = nn.Linear(5 * graph, 2)

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
        spectral = magnitude.amax(dim=3).transpose(1, 2) + self.pos_S
        temporal = magnitude.amax(dim=2).transpose(1, 2)
        spectral = self.pool_S(self.GAT_layer_S(spectral))
        temporal = self.pool_T(self.GAT_layer_T(temporal))
        one = self._branch_1(temporal, spectral)
        two = self._branch_2(temporal, spectral)
        pairs = zip(one, two, strict=True)
        drop = self.branch_dropout
        temporal, spectral, stack = (torch.maximum(drop(a), drop(b)) for a, b in pairs)
        summary = torch.cat(
            [
                temporal.abs().amax(dim=1),
                temporal.mean(dim=1),
                spectral.abs().amax(dim=1),
                spectral.mean(dim=1),
                stack.squeeze(1),
            ],
            dim=1,
        )
        logits: Tensor = self.out_layer(self.dropout(summary))
        return logits

    def _branch_1(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, ...]:
        t, s, stack = self.HtrgGAT_layer_ST11(temporal, spectral, self.master1)
        t, s = self.pool_hT1(t), self.pool_hS1(s)
        return _plus((t, s, stack), self.HtrgGAT_layer_ST12(t, s, stack))

    def _branch_2(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, ...]:
        t, s, stack = self.HtrgGAT_layer_ST21(temporal, spectral, self.master2)
        t, s = self.pool_hT2(t), self.pool_hS2(s)
        return _plus((t, s, stack), self.HtrgGAT_layer_ST22(t, s, stack))


def build() -> Aasist:
    """Return an untrained AASIST for the registry: 297,866 parameters."""
    return Aasist(channels=(32, 64), graph=32, ratios=(0.5, 0.7, 0.5))


def build_light() -> Aasist:
    """Return an untrained AASIST-L for the registry."""
    return Aasist(channels=(32, 24), graph=32, ratios=(0.4, 0.5, 0.7))


def _joint(inputs: int, outputs: int) -> HeterogeneousGraphAttention:
    return HeterogeneousGraphAttention(inputs, outputs, temperature=HETEROGENEOUS_TEMPERATURE)


def _plus(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
