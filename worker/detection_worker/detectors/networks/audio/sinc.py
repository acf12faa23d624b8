"""Fixed band-pass filters on the raw waveform: the first layer of RawNet2 and AASIST."""

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        sample_rate_hz: Of the sound.
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
