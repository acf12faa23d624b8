"""Linear-frequency cepstral coefficients: the features of LFCC-LCNN and other baselines.

Sahidullah et al., "A Comparison of Features for Synthetic Speech Detection" (Interspeech 2015),
with the choices of the ASVspoof 2021 baseline: only the lower half of the spectrum, the energy in
place of the coefficient of order zero. Buffers have the names of the published weights.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.functional import create_dct, linear_fbanks

SAMPLE_RATE_HZ: Final = 16_000
FRAME: Final = 320
HOP: Final = 160
"""Samples, 20 ms and 10 ms."""
FFT: Final = 1024
COEFFICIENTS: Final = 20
"""As many as filters; their two derivatives come on top."""
BINS: Final = 256
"""Bins of the spectrum's 513 that lie under a quarter of the sample rate: 4 kHz."""
PRE_EMPHASIS: Final = 0.97
FLOOR: Final = float(torch.finfo(torch.float32).eps)
"""Added to energies before their logarithm."""


def change(x: Tensor) -> Tensor:
    """Return next minus previous frame, the first and last frame standing for their neighbours.

    Args:
        x: Shape ``(n, frames, features)``.
    """
    padded = torch.cat([x[:, :1], x, x[:, -1:]], dim=1)
    return padded[:, 2:] - padded[:, :-2]


class FixedLinear(nn.Module):
    """A product with a matrix that is not trained.

    Args:
        weight: Shape ``(outputs, inputs)``.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(…, outputs)`` for ``(…, inputs)``."""
        return functional.linear(x, self.weight)


class Lfcc(nn.Module):
    """From sound to 20 coefficients a frame and their first and second derivatives."""

    lfcc_fb: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        # The baseline stretches its lower half of the bins over a whole spectrum of that width.
        bank = linear_fbanks(BINS, 0.0, SAMPLE_RATE_HZ / 4, COEFFICIENTS, SAMPLE_RATE_HZ // 2)
        self.register_buffer("lfcc_fb", bank)
        self.register_buffer("window", torch.hamming_window(FRAME), persistent=False)
        self.l_dct = FixedLinear(
            create_dct(COEFFICIENTS, COEFFICIENTS, norm="ortho").t().contiguous()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, 1 + samples // 160, 60)`` for sound ``(n, samples)`` at 16 kHz."""
        power = self._power(torch.cat([x[:, :1], x[:, 1:] - PRE_EMPHASIS * x[:, :-1]], dim=1))
        cepstrum = self.l_dct(torch.log10(power @ self.lfcc_fb + FLOOR))
        energy = torch.log10(power.sum(dim=2, keepdim=True) / FFT + FLOOR)
        static = torch.cat([energy, cepstrum[:, :, 1:]], dim=2)
        slope = change(static)
        return torch.cat([static, slope, change(slope)], dim=2)

    def _power(self, x: Tensor) -> Tensor:
        """Return the lower half of the power spectrum, ``(n, frames, BINS)``."""
        spectrum = torch.stft(
            x,
            FFT,
            hop_length=HOP,
            win_length=FRAME,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return torch.view_as_real(spectrum[:, :BINS]).square().sum(dim=3).transpose(1, 2)
