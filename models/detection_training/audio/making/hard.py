"""Copies that are nearer to speech than small vocoders come.

A detector that is taught by the buzz of a vocoder trained for minutes looks for buzz. Here the
original lends the copy what such a vocoder gets wrong most, so that what is left must do: the
phase alone, the spectrum's detail alone, or a share of both.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from detection_training.audio.making.neural_vocoders import FFT, HOP, Mel
from detection_training.audio.sound import Samples

Mix = Callable[[Samples, Samples, np.random.Generator], Samples]
SHARES: Final = (0.3, 0.8)
"""Smallest and largest share of the copy in a blend."""


def phase_of_copy(real: Samples, copy: Samples, _: np.random.Generator) -> Samples:
    """Return the original's amplitudes with the copy's phases."""
    phase = _spectrum(copy).angle()
    return _sound(torch.polar(_spectrum(real).abs(), phase), len(real))


def blend(real: Samples, copy: Samples, rng: np.random.Generator) -> Samples:
    """Return a sum of both spectra, value by value."""
    share = float(rng.uniform(*SHARES))
    return _sound(share * _spectrum(copy) + (1 - share) * _spectrum(real), len(real))


def smoothed(real: Samples, _: Samples, __: np.random.Generator) -> Samples:
    """Return the original with the amplitudes that a mel spectrogram keeps, and its own phases."""
    mel = Mel()
    amplitudes = mel.bank @ _spectrum(real).abs()
    amplitudes = (torch.linalg.pinv(mel.bank) @ amplitudes).clamp(min=0.0)
    return _sound(torch.polar(amplitudes, _spectrum(real).angle()), len(real))


HARD: Final[Mapping[str, Mix]] = {
    "hard-phase": phase_of_copy,
    "hard-blend": blend,
    "hard-mel": smoothed,
}
"""Mixes of an original and a neural vocoder's copy of the same length."""


def _spectrum(sound: Samples) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(sound, np.float32))
    result: Tensor = torch.stft(x, FFT, HOP, window=torch.hann_window(FFT), return_complex=True)
    return result


def _sound(spectrum: Tensor, length: int) -> Samples:
    made = torch.istft(spectrum, FFT, HOP, window=torch.hann_window(FFT), length=length)
    return np.asarray(made.numpy(), np.float32)
