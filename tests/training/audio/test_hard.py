"""Copies that borrow from their original: what is the copy's and what is not."""

import numpy as np
import pytest
import torch

from detection_training.audio.making.hard import HARD, blend, phase_of_copy, smoothed
from detection_training.audio.making.neural_vocoders import FFT, HOP
from detection_training.audio.sound import RATE_HZ, Samples


def glide(*, seed: int, seconds: float = 1.0) -> Samples:
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(3 * t)) / RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.1 * voice + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def amplitudes(sound: Samples) -> torch.Tensor:
    window = torch.hann_window(FFT)
    return torch.stft(torch.from_numpy(sound), FFT, HOP, window=window, return_complex=True).abs()


def distance(a: Samples, b: Samples) -> float:
    x, y = amplitudes(a), amplitudes(b)
    return float((x - y).norm() / y.norm())


@pytest.mark.parametrize("name", HARD)
def test_a_hard_copy_is_as_long_and_neither_the_original_nor_the_copy(name: str) -> None:
    real = glide(seed=1)
    copy = np.roll(glide(seed=2), 37)

    made = HARD[name](real, copy, np.random.default_rng(0))

    assert made.shape == real.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert np.abs(made - real).max() > 1e-3
    assert np.abs(made - copy).max() > 1e-3


def test_with_its_own_phase_an_original_comes_back() -> None:
    real = glide(seed=1)

    made = phase_of_copy(real, real.copy(), np.random.default_rng(0))

    assert np.abs(made - real).max() < 1e-4


def test_a_hard_copy_is_nearer_to_the_original_than_its_copy_is() -> None:
    real = glide(seed=1)
    rng = np.random.default_rng(7)
    copy = (0.6 * glide(seed=2) + 0.05 * rng.standard_normal(len(real))).astype(np.float32)

    for mix in (phase_of_copy, blend):
        assert distance(mix(real, copy, rng), real) < distance(copy, real)


def test_smoothing_keeps_what_a_mel_spectrogram_keeps_and_nothing_of_the_copy() -> None:
    real = glide(seed=1)

    one, other = (smoothed(real, glide(seed=s), np.random.default_rng(s)) for s in (2, 3))

    assert np.array_equal(one, other)
    assert 0.02 < distance(one, real) < 0.6
