"""``xlsr-aasist``: is this speech of a person? Features of XLS-R, judged by AASIST's graphs.

Tak et al., "Automatic Speaker Verification Spoofing and Deepfake Detection using wav2vec 2.0 and
Data Augmentation" (Odyssey 2022). Tensors have the names of the published weights, whose class 0
is synthetic and class 1 "bona fide".
"""

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.networks.audio.aasist import ResidualBlock
from detection_worker.detectors.networks.audio.joint_graphs import JointGraphs
from detection_worker.detectors.networks.audio.wav2vec2 import Wav2Vec2
from detection_worker.detectors.networks.parts import in_parts

REDUCED: Final = 128
"""Features of a frame after the linear layer; they are the rows of the map that follows."""
POOLED: Final = 3
"""Rows and frames that become one before the encoder."""
WIDTHS: Final = (1, 32, 32, 64, 64, 64, 64)
"""Channels before the first and after each residual block."""
NODES: Final = WIDTHS[-1]
GRAPH: Final = 32
AT_ONCE: Final = {"cpu": 1, "cuda": 16}
"""Windows whose first maps, 26 MB each, are held at once; more are no faster on a CPU."""


class XlsrAasist(JointGraphs):
    """XLS-R, a residual encoder on its features, pooling by attention, and the graphs.

    Args:
        speech: From sound to frames.
        width: Features of these.
    """

    def __init__(self, speech: Wav2Vec2, *, width: int) -> None:
        super().__init__(bands=REDUCED // POOLED, nodes=NODES, graph=GRAPH, ratios=(0.5, 0.5, 0.5))
        self.ssl_model = nn.ModuleDict({"model": speech})
        self.LL = nn.Linear(width, REDUCED)
        self.first_bn = nn.BatchNorm2d(1)
        self.first_bn1 = nn.BatchNorm2d(NODES)
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(ResidualBlock(a, b, first=i == 0, pooled=1))
                for i, (a, b) in enumerate(pairwise(WIDTHS))
            )
        )
        self.attention = nn.Sequential(
            nn.Conv2d(NODES, 2 * NODES, 1),
            nn.SELU(),
            nn.BatchNorm2d(2 * NODES),
            nn.Conv2d(2 * NODES, NODES, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of (synthetic, bona fide), ``(n, 2)``, for sound ``(n, samples)``."""
        return self._classify(in_parts(self._encode, x.float(), at_once=AT_ONCE))

    def _encode(self, x: Tensor) -> Tensor:
        """Return the encoder's map, ``(n, NODES, bands, frames // POOLED)``."""
        frames: Tensor = self.LL(self.ssl_model["model"](x))
        rows = functional.max_pool2d(frames.transpose(1, 2).unsqueeze(1), POOLED)
        encoded = self.encoder(functional.selu(self.first_bn(rows)))
        return functional.selu(self.first_bn1(encoded))

    def _classify(self, features: Tensor) -> Tensor:
        scores = self.attention(features)
        spectral = (features * torch.softmax(scores, dim=3)).sum(dim=3).transpose(1, 2)
        temporal = (features * torch.softmax(scores, dim=2)).sum(dim=2).transpose(1, 2)
        return self.judge(spectral, temporal)


def build(
    *,
    channels: int = 512,
    width: int = 1024,
    layers: int = 24,
    heads: int = 16,
    hidden: int = 4096,
) -> XlsrAasist:
    """Return an untrained network for the registry: XLS-R 300M by default.

    Args:
        channels: See ``Wav2Vec2``.
        width: See ``Wav2Vec2``.
        layers: See ``Wav2Vec2``.
        heads: See ``Wav2Vec2``.
        hidden: See ``Wav2Vec2``.

    Raises:
        ValueError: ``width`` is no multiple of 16 and of ``heads``.
    """
    speech = Wav2Vec2(channels=channels, width=width, layers=layers, heads=heads, hidden=hidden)
    return XlsrAasist(speech, width=width)
