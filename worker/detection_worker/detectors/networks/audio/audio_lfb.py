"""``audio_lfb``: does a window of speech come from a vocoder or a synthesiser?

Linear bands instead of mel bands: vocoders are weakest in the upper half of the spectrum, which
mel spacing squeezes together (Sahidullah et al. 2015 found linear cepstra to tell more).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE_HZ = 16_000
WINDOW = 400
HOP = 160
FFT = 512
BANDS = 80
LIMIT = 2.0
"""Bound of one window's logit, as in ``image_residual``."""
FLOOR = 1e-5
"""Power added before the logarithm, relative to a window of unit RMS: about -50 dB."""


def linear_filterbank(bands: int = BANDS) -> Tensor:
    """Return triangles spaced evenly from 0 Hz to half the sample rate, ``(bands, FFT/2 + 1)``."""
    centres = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, bands + 2)
    bins = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT // 2 + 1)
    width = centres[1] - centres[0]
    return (1.0 - (bins[None, :] - centres[1:-1, None]).abs() / width).clamp(min=0.0)


class LinearFilterbank(nn.Module):
    """Log energies of linear bands, each normalised over its own window's time."""

    taper: Tensor
    bank: Tensor

    def __init__(self, bands: int = BANDS) -> None:
        super().__init__()
        self.register_buffer("taper", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("bank", linear_filterbank(bands), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, 1, bands, frames)`` for sound ``(n, samples)``."""
        x = x.float()
        # Loudness must not matter: it differs between sources far more than between classes.
        x = x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
        spectrum = torch.stft(x, FFT, HOP, WINDOW, self.taper, return_complex=True)
        # Four times as fast as the square of the absolute value, which takes a root first.
        power = (spectrum.real.square() + spectrum.imag.square()) / WINDOW
        energy = torch.matmul(self.bank, power)
        bands = (energy + FLOOR).log()
        # The mean of a band is mostly microphone, codec and voice; its course is what counts.
        mean = bands.mean(dim=2, keepdim=True)
        centred = bands - bands.mean(dim=(1, 2), keepdim=True)
        spread = (centred.square().mean(dim=(1, 2), keepdim=True) + 1e-3).sqrt()
        return ((bands - mean) / spread).unsqueeze(1)


class Block(nn.Module):
    """Residual block with squeeze-and-excitation (He et al. 2016, Hu et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.squeeze = nn.Linear(outputs, outputs // 4)
        self.excite = nn.Linear(outputs // 4, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, outputs, h/stride, w/stride)`` for ``(n, inputs, h, w)``."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean(dim=(2, 3))))))
        result: Tensor = functional.relu(y * gate[:, :, None, None] + self.shortcut(x))
        return result


class AttentivePooling(nn.Module):
    """Weighted mean and spread over time (Okabe et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(channels, channels // 4, 1)
        self.score = nn.Conv1d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, 2 * channels)`` for ``(n, channels, frames)``."""
        weight = torch.softmax(self.score(torch.tanh(self.hidden(x))), dim=2)
        mean = (weight * x).sum(dim=2)
        variance = (weight * (x - mean.unsqueeze(2)).square()).sum(dim=2)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


class AudioLfb(nn.Module):
    """Filterbank, four residual stages, attentive pooling over time, one logit.

    Args:
        width: Channels of the first stage; the others have 2, 4 and 6 times as many.
        limit: Bound of one window's logit; changes no order of windows, only their distances.
        bands: Bands of the filterbank, a multiple of 16.
        rows: Whether pooling keeps the last stage's rows, of 16 bands each, apart; else it gets
            their mean.
    """

    def __init__(
        self, *, width: int = 16, limit: float = LIMIT, bands: int = BANDS, rows: bool = False
    ) -> None:
        super().__init__()
        if bands < 16 or bands % 16:
            raise ValueError(f"bands is {bands}; allowed are multiples of 16")
        self.limit = limit
        self.rows = rows
        self.filterbank = LinearFilterbank(bands)
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 5, 2, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = nn.Sequential(
            Block(width, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 4 * width, 2),
            Block(4 * width, 6 * width, 2),
        )
        channels = 6 * width * (bands // 16 if rows else 1)
        self.pooling = AttentivePooling(channels)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n,)`` within ``limit`` for sound ``(n, samples)``."""
        y = self.stages(self.stem(self.filterbank(x)))
        y = y.flatten(1, 2) if self.rows else y.mean(dim=2)
        logits: Tensor = self.head(self.pooling(y)).squeeze(1)
        return self.limit * torch.tanh(logits / self.limit)


def build(
    *, width: int = 16, limit: float = LIMIT, bands: int = BANDS, rows: bool = False
) -> AudioLfb:
    """Return an untrained network for the registry."""
    return AudioLfb(width=width, limit=limit, bands=bands, rows=rows)
