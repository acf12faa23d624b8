"""``rawnet2``: is this speech of a person? A baseline of ASVspoof 2021; published weights load.

Tak et al., "End-to-End Anti-Spoofing with RawNet2" (ICASSP 2021). Tensors have the names of the
published weights, whose class 0 is synthetic and class 1 "bona fide".
"""

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_worker.detectors.networks.parts import in_parts

SAMPLE_RATE_HZ: Final = 16_000
TAPS: Final = 1025
"""The published configuration says 1024; an odd number is needed, so one is added."""
WIDTHS: Final = (20, 20, 20, 128, 128, 128, 128)
"""Channels before the first and after each residual block; the first is the number of filters."""
RECURRENT: Final = 1024
"""Features of each recurrent layer and of the layer after them."""
SLOPE: Final = 0.3
AT_ONCE: Final = {"cpu": 4, "cuda": 64}
"""Windows whose filtered sound, 5 MB each for one map of 20 channels, is held at once."""
MEL_SCALE = 2595.0
MEL_BREAK_HZ = 700.0
"""mel = 2595 log10(1 + f/700) (O'Shaughnessy 1987)."""


def mel_edges_hz(bands: int, *, sample_rate_hz: int) -> Tensor:
    """Return ``bands + 1`` edges from 0 Hz to half the rate, evenly apart in mel; float64."""
    top = MEL_SCALE * torch.log10(torch.tensor(1 + sample_rate_hz / 2 / MEL_BREAK_HZ).double())
    mel = torch.linspace(0.0, 1.0, bands + 1, dtype=torch.float64) * top
    return MEL_BREAK_HZ * (10 ** (mel / MEL_SCALE) - 1)


def band_passes(bands: int, *, taps: int, sample_rate_hz: int) -> Tensor:
    """Return adjoining band-pass filters, ``(bands, 1, taps)``, float32.

    Each is the difference of two ideal low-passes under a symmetric Hamming window (Ravanelli
    and Bengio 2018, equations 4 to 6).

    Args:
        bands: Filters; they share the spectrum evenly in mel.
        taps: Length of a filter, odd.
        sample_rate_hz: Sample rate of the sound.
    """
    edges = mel_edges_hz(bands, sample_rate_hz=sample_rate_hz) / sample_rate_hz
    n = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    low_passes = 2 * edges[:, None] * torch.sinc(2 * edges[:, None] * n)
    taper = torch.hamming_window(taps, periodic=False, dtype=torch.float64)
    return ((low_passes[1:] - low_passes[:-1]) * taper).float().unsqueeze(1)


class SincFilters(nn.Module):
    """The filters as a layer without weights: computed here, in no checkpoint."""

    filters: Tensor

    def __init__(self, bands: int, *, taps: int, sample_rate_hz: int) -> None:
        super().__init__()
        made = band_passes(bands, taps=taps, sample_rate_hz=sample_rate_hz)
        self.register_buffer("filters", made, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, bands, samples - taps + 1)`` for sound ``(n, samples)``."""
        return functional.conv1d(x.unsqueeze(1), self.filters)


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
            # In the published network its result is computed and thrown away: the first
            # convolution takes what the block was given.
            self.bn1 = nn.BatchNorm1d(inputs)
        self.conv1 = nn.Conv1d(inputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=1)
        self.conv_downsample = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, frames // 3)`` for ``(n, inputs, frames)``."""
        y = self.conv2(functional.leaky_relu(self.bn2(self.conv1(x)), SLOPE))
        shortcut = x if self.conv_downsample is None else self.conv_downsample(x)
        return functional.max_pool1d(y + shortcut, 3)


class RawNet2(nn.Module):
    """Fixed band-pass filters, residual blocks with gates on their channels, recurrent layers."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = SincFilters(WIDTHS[0], taps=TAPS, sample_rate_hz=SAMPLE_RATE_HZ)
        self.first_bn = nn.BatchNorm1d(WIDTHS[0])
        for i, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
            block = ResidualBlock(inputs, outputs, first=i == 0)
            self.add_module(f"block{i}", nn.Sequential(block))
            self.add_module(f"fc_attention{i}", nn.Sequential(nn.Linear(outputs, outputs)))
        self.bn_before_gru = nn.BatchNorm1d(WIDTHS[-1])
        self.gru = nn.GRU(WIDTHS[-1], RECURRENT, num_layers=3, batch_first=True)
        self.fc1_gru = nn.Linear(RECURRENT, RECURRENT)
        self.fc2_gru = nn.Linear(RECURRENT, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of (synthetic, bona fide), ``(n, 2)``, for sound ``(n, samples)``."""
        frames = in_parts(self._features, x.float(), at_once=AT_ONCE).transpose(1, 2)
        last = self.gru(frames)[0][:, -1]
        logits: Tensor = self.fc2_gru(self.fc1_gru(last))
        return logits

    def _features(self, x: Tensor) -> Tensor:
        """Return ``(n, channels, frames)``."""
        bands = functional.max_pool1d(self.filters(x).abs(), 3)
        y = functional.selu(self.first_bn(bands))
        for i in range(len(WIDTHS) - 1):
            y = self.get_submodule(f"block{i}")(y)
            gate = self.get_submodule(f"fc_attention{i}")(y.mean(dim=2)).sigmoid().unsqueeze(2)
            y = y * gate + gate
        return functional.selu(self.bn_before_gru(y))


def build() -> RawNet2:
    """Return an untrained RawNet2 for the registry."""
    return RawNet2()
