"""Copies of real speech by vocoders of the full preset: analysed and synthesised again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torchaudio.functional
from numpy.typing import NDArray

from detection_training.audio.making.channels import optional, resampled
from detection_training.audio.making.vocoders import (
    Resynthesis,
    griffin_lim,
    shifted_pitch,
    source_filter,
)
from detection_training.audio.sound import RATE_HZ, Samples

WORLD_FRAME_MS: Final = 5.0
LPC_FRAME: Final = 480
LPC_HOP: Final = 160
HIFIGAN_RATE_HZ: Final = 22_050
HIFIGAN_HOP: Final = 256


def world(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return speech through WORLD's analysis and synthesis (Morise et al. 2016), pitch kept."""
    return _world(sound, semitones=0.0, stretch=1.0, dimension=int(rng.choice([0, 24, 60])))


def world_shifted(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return speech through WORLD with another pitch and vocal tract: a crude voice disguise."""
    return _world(
        sound,
        semitones=float(rng.choice([-1, 1]) * rng.uniform(1.5, 5)),
        stretch=float(rng.uniform(0.88, 1.12)),
        dimension=0,
    )


def _world(sound: Samples, *, semitones: float, stretch: float, dimension: int) -> Samples:
    pyworld = optional("pyworld")
    x = sound.astype(np.float64)
    coarse, at = pyworld.dio(x, RATE_HZ, frame_period=WORLD_FRAME_MS)
    pitch = pyworld.stonemask(x, coarse, at, RATE_HZ)
    envelope = pyworld.cheaptrick(x, pitch, at, RATE_HZ)
    noise = pyworld.d4c(x, pitch, at, RATE_HZ)
    if dimension:
        # What parametric synthesisers keep of an envelope.
        coded = pyworld.code_spectral_envelope(envelope, RATE_HZ, dimension)
        envelope = pyworld.decode_spectral_envelope(coded, RATE_HZ, (noise.shape[1] - 1) * 2)
    if stretch != 1.0:
        bins = np.minimum(np.arange(envelope.shape[1]) / stretch, envelope.shape[1] - 1)
        low = bins.astype(int)
        high = np.minimum(low + 1, envelope.shape[1] - 1)
        envelope = np.ascontiguousarray(
            envelope[:, low] * (1 - (bins - low)) + envelope[:, high] * (bins - low)
        )
    moved = pitch * 2 ** (semitones / 12)
    made = pyworld.synthesize(moved, envelope, noise, RATE_HZ, WORLD_FRAME_MS)
    return np.resize(made, len(sound)).astype(np.float32)


def linear_prediction(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return speech as a linear-prediction vocoder makes it (Atal and Hanauer 1971).

    Each frame's all-pole filter, by the autocorrelation method, driven by pulses or noise.
    """
    order = int(rng.choice([12, 16, 20]))
    frames = max(1, (len(sound) - LPC_FRAME) // LPC_HOP + 1)
    index = np.arange(frames)[:, None] * LPC_HOP + np.arange(LPC_FRAME)
    padded = np.pad(sound.astype(np.float64), (0, LPC_FRAME))
    taken = padded[index] * np.hanning(LPC_FRAME)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(taken, 2 * LPC_FRAME)) ** 2)[:, :LPC_FRAME]
    lags, strength = _pitch_lags(correlation)
    made = np.zeros(frames * LPC_HOP + LPC_FRAME)
    phase = 0.0
    for i in range(frames):
        phase, excitation = _lpc_excitation(lags[i], strength[i], phase=phase, rng=rng)
        made[i * LPC_HOP : i * LPC_HOP + LPC_FRAME] += (
            _all_pole(correlation[i, : order + 1], excitation) * _LPC_WINDOW
        )
    return np.resize(made, len(sound)).astype(np.float32)


_LPC_WINDOW: Final = np.hanning(LPC_FRAME) / 1.5


def _pitch_lags(
    correlation: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    shortest, longest = RATE_HZ // 400, RATE_HZ // 70
    ratio = correlation[:, shortest:longest] / np.maximum(correlation[:, :1], 1e-9)
    return ratio.argmax(axis=1) + shortest, ratio.max(axis=1)


def _lpc_excitation(
    lag: int, strength: float, *, phase: float, rng: np.random.Generator
) -> tuple[float, NDArray[np.float64]]:
    if strength < 0.35:
        return 0.0, rng.standard_normal(LPC_FRAME)
    pulses = np.zeros(LPC_FRAME)
    at = np.arange(phase, LPC_FRAME, lag).astype(int)
    pulses[at] = np.sqrt(lag)
    # Where the next frame's first pulse falls, so that the train does not stumble.
    after = next((p for p in np.arange(phase, LPC_FRAME + lag, lag) if p >= LPC_HOP), LPC_HOP)
    return float(after - LPC_HOP), pulses


def _all_pole(correlation: NDArray[np.float64], excitation: NDArray[np.float64]) -> Any:
    order = len(correlation) - 1
    lags = np.abs(np.arange(order)[:, None] - np.arange(order))
    damped = correlation[lags] + np.eye(order) * (1e-4 * correlation[0] + 1e-9)
    weights = np.linalg.solve(damped, correlation[1:])
    gain = np.sqrt(max(correlation[0] - weights @ correlation[1:], 0.0) / LPC_FRAME)
    size = 2048
    poles = np.fft.rfft(np.concatenate([[1.0], -weights]), size)
    shaped = np.fft.irfft(np.fft.rfft(excitation, size) / (poles + 1e-6), size)
    return shaped[: len(excitation)] * gain


class HifiGan:
    """A published HiFi-GAN generator (Kong et al. 2020); only ever measured on.

    Args:
        model: ONNX file: mel ``(1, 80, frames)`` to sound at ``HIFIGAN_RATE_HZ``.
    """

    def __init__(self, model: Path) -> None:
        runtime = optional("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = runtime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self._bank = torchaudio.functional.melscale_fbanks(
            513, 0.0, 8_000.0, 80, HIFIGAN_RATE_HZ, norm="slaney", mel_scale="slaney"
        )

    def __call__(self, sound: Samples, _: np.random.Generator) -> Samples:
        """Return the copy."""
        x = torch.from_numpy(resampled(sound, RATE_HZ, HIFIGAN_RATE_HZ)) * 0.95
        x = torch.nn.functional.pad(x[None, None], (384, 384), mode="reflect")[0, 0]
        window = torch.hann_window(1024)
        power = torch.stft(
            x, 1024, HIFIGAN_HOP, 1024, window, center=False, return_complex=True
        ).abs()
        mel = (self._bank.T @ power).clamp(min=1e-5).log()
        (made,) = self._session.run(None, {"mel": mel[None].numpy()})
        copy = resampled(np.asarray(made[0, 0], np.float32), HIFIGAN_RATE_HZ, RATE_HZ)
        return np.resize(copy, len(sound)).astype(np.float32)


COPIES: Final[Mapping[str, Resynthesis]] = {
    "world": world,
    "world-shifted": world_shifted,
    "griffin-lim": griffin_lim,
    "source-filter": source_filter,
    "linear-prediction": linear_prediction,
    "pitch-shift": shifted_pitch,
}
"""Those that need nothing but code; networks come on top."""
