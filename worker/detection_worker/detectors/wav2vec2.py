"""wav2vec 2.0 in the size and form of XLS-R: from sound to features of every 20 ms.

Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations"
(NeurIPS 2020) and Babu et al., "XLS-R: Self-supervised Cross-lingual Speech Representation
Learning at Scale" (Interspeech 2022). Of its forms this is the one that normalises layers
everywhere, and before each sublayer. Tensors have fairseq's names, in which the published weights
came; what only its own training needs (masks, quantiser, projections) is left out.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTIONS: Final = ((10, 5), *((3, 2),) * 4, *((2, 2),) * 2)
"""Taps and stride of each layer: one frame for 320 samples."""
POSITION_TAPS: Final = 128
POSITION_GROUPS: Final = 16


class Transposed(nn.Module):
    """Exchanges channels and time."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, b, a)`` for ``(n, a, b)``."""
        return x.transpose(1, 2)


class ConvolutionalFeatures(nn.Module):
    """Seven convolutions of the waveform, each normalised over its channels.

    Args:
        channels: Of each.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_layers = nn.Sequential(*self._layers(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, channels)`` for sound ``(n, samples)``."""
        result: Tensor = self.conv_layers(x.unsqueeze(1)).transpose(1, 2)
        return result

    def _layers(self, channels: int) -> Iterator[nn.Module]:
        inputs = 1
        for taps, stride in CONVOLUTIONS:
            norm = nn.Sequential(Transposed(), nn.LayerNorm(channels), Transposed())
            convolution = nn.Conv1d(inputs, channels, taps, stride=stride)
            yield nn.Sequential(convolution, nn.Identity(), norm, nn.GELU())
            inputs = channels


class PositionalConvolution(nn.Module):
    """A wide grouped convolution that tells frames where they are.

    Its weight is kept as length times direction, one length for each tap (Salimans and Kingma
    2016).

    Args:
        width: Features of a frame.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        direction = torch.empty(width, width // POSITION_GROUPS, POSITION_TAPS)
        nn.init.normal_(direction, std=(4 / (POSITION_TAPS * width)) ** 0.5)
        self.weight_g = nn.Parameter(direction.norm(dim=(0, 1), keepdim=True))
        self.weight_v = nn.Parameter(direction)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, width)`` for the same."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        y = functional.conv1d(
            x.transpose(1, 2),
            weight,
            self.bias,
            padding=POSITION_TAPS // 2,
            groups=POSITION_GROUPS,
        )
        # An even number of taps gives one frame too many.
        return functional.gelu(y[:, :, :-1]).transpose(1, 2)


class SelfAttention(nn.Module):
    """Every frame reads from every frame.

    Args:
        width: Features of a frame.
        heads: Independent readings; a divisor of ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, width)`` for the same."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (one(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for one in projections)
        read = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.out_proj(read.transpose(1, 2).flatten(2))
        return result


class TransformerLayer(nn.Module):
    """Attention and a pair of layers, each normalised before and added to what it was given."""

    def __init__(self, width: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, width)`` for the same."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        result: Tensor = x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return result


class Encoder(nn.Module):
    """Positions, then transformer layers, normalised at the end."""

    def __init__(self, width: int, *, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(PositionalConvolution(width))
        self.layers = nn.Sequential(
            *(TransformerLayer(width, heads=heads, hidden=hidden) for _ in range(layers))
        )
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, width)`` for the same."""
        result: Tensor = self.layer_norm(self.layers(x + self.pos_conv(x)))
        return result


class Wav2Vec2(nn.Module):
    """Convolutions of the waveform and a transformer over their frames.

    Args:
        channels: Of the convolutions.
        width: Features of a frame in the transformer; a multiple of 16 and of ``heads``.
        layers: Of the transformer.
        heads: Of each.
        hidden: Features between the two layers at the end of each.
    """

    def __init__(self, *, channels: int, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        if width % heads or width % POSITION_GROUPS:
            raise ValueError(f"width: {width} is no multiple of {heads} and {POSITION_GROUPS}")
        self.feature_extractor = ConvolutionalFeatures(channels)
        self.layer_norm = nn.LayerNorm(channels)
        self.post_extract_proj = nn.Linear(channels, width)
        self.encoder = Encoder(width, layers=layers, heads=heads, hidden=hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, frames, width)`` for sound ``(n, samples)`` at 16 kHz, as it is."""
        frames = self.layer_norm(self.feature_extractor(x))
        result: Tensor = self.encoder(self.post_extract_proj(frames))
        return result
