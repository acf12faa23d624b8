"""Small networks that turn speech into itself: the traces that neural decoders leave.

They are trained for minutes on training voices only, so they sound worse than published ones; what
they share with those is how they make samples: transposed convolutions, repeated or interleaved
samples, or an inverse short-time Fourier transform. Most start from a mel spectrogram; two start
from sound itself, as neural codecs do, keep its phase, and so leave their decoders' traces alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import torch
import torchaudio.functional
from torch import Tensor, nn
from torch.nn import functional

from detection_training.audio.making.neural_adversary import Adversary
from detection_training.audio.sound import RATE_HZ, Samples
from detection_training.pipeline.fitting import share_of_rate
from detection_training.pipeline.sources import Log

FFT: Final = 1024
HOP: Final = 256
BANDS: Final = 80
PIECE: Final = 8_192
"""Samples of a training piece."""
BATCH: Final = 8
RESOLUTIONS: Final = ((512, 128), (1024, 256), (256, 64))
"""FFT and hop of the spectral losses (Yamamoto et al. 2020)."""
CODEC_RATES: Final = (4, 4, 8)
CODEC_CHANNELS: Final = 32
"""Numbers a codec keeps of each 128 samples."""
CODECS: Final = ("neural-codec", "neural-folded")
"""Trained on the waveform too, since they know its phase."""
WAVEFORM_WEIGHT: Final = 10.0
ADVERSARIAL: Final = ("neural-adversarial",)
ADVERSARY_FROM: Final = 0.3
"""Share of the training after which the adversary joins: before, everything is easily told."""
SPECTRAL_WEIGHT: Final = 8.0
"""Weight of the spectral losses beside an adversary's."""


class Mel(nn.Module):
    """Log mel spectrogram ``(n, BANDS, frames)`` of sound ``(n, samples)``."""

    window: Tensor
    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        bank = torchaudio.functional.melscale_fbanks(FFT // 2 + 1, 0.0, 8_000.0, BANDS, RATE_HZ)
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)
        self.register_buffer("bank", bank.T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spectrogram, one frame for each ``HOP`` samples."""
        spectrum = torch.stft(x, FFT, HOP, FFT, self.window, return_complex=True)
        mel = torch.matmul(self.bank, spectrum.abs()[:, :, : x.shape[1] // HOP])
        return (mel + 1e-4).log()


class Residual(nn.Module):
    """Two dilated convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, dilation=1, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 3, dilation=3, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        y = self.conv1(functional.leaky_relu(x, 0.2))
        result: Tensor = x + self.conv2(functional.leaky_relu(y, 0.2))
        return result


class Repeated(nn.Module):
    """Every sample repeated, then convolved."""

    def __init__(self, inputs: int, outputs: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.conv = nn.Conv1d(inputs, outputs, 2 * rate + 1, padding=rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``rate`` times as many samples."""
        result: Tensor = self.conv(x.repeat_interleave(self.rate, dim=2))
        return result


def transposed(inputs: int, outputs: int, rate: int) -> nn.Module:
    """Return a transposed convolution that makes ``rate`` times as many samples."""
    return nn.ConvTranspose1d(inputs, outputs, 2 * rate, rate, padding=rate // 2)


class Folded(nn.Module):
    """Every channel makes several samples side by side (as sub-pixels; Shi et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.conv = nn.Conv1d(inputs, outputs * rate, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``rate`` times as many samples."""
        y: Tensor = self.conv(x)
        n, _, frames = y.shape
        return y.view(n, -1, self.rate, frames).transpose(2, 3).flatten(2)


class Encoder(nn.Module):
    """Few numbers for sound, ``CODEC_CHANNELS`` for each ``prod(CODEC_RATES)`` samples."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv1d(1, width, 7, padding=3)]
        for rate in CODEC_RATES:
            down = nn.Conv1d(width, 2 * width, 2 * rate, rate, padding=rate // 2)
            layers += [Residual(width), nn.LeakyReLU(0.2), down]
            width *= 2
        self.layers = nn.Sequential(*layers, nn.Conv1d(width, CODEC_CHANNELS, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, CODEC_CHANNELS, frames)`` for ``(n, samples)``."""
        result: Tensor = self.layers(x.unsqueeze(1))
        return result


def upsampler(
    inputs: int, rates: Sequence[int], width: int, up: Callable[[int, int, int], nn.Module]
) -> nn.Sequential:
    """Return layers from ``inputs`` channels to one of ``prod(rates)`` times the length."""
    layers: list[nn.Module] = [nn.Conv1d(inputs, width, 7, padding=3)]
    for rate in rates:
        layers += [nn.LeakyReLU(0.2), up(width, width // 2, rate), Residual(width // 2)]
        width //= 2
    return nn.Sequential(*layers, nn.LeakyReLU(0.2), nn.Conv1d(width, 1, 7, padding=3))


class Spectral(nn.Module):
    """Predicts amplitude and phase of frames; an inverse transform makes sound (Siuzdak 2024)."""

    window: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)
        self.layers = nn.Sequential(
            nn.Conv1d(BANDS, width, 7, padding=3),
            Residual(width),
            Residual(width),
            nn.Conv1d(width, 3 * (FFT // 2 + 1), 1),
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Return ``(n, 1, frames * HOP)``."""
        logs, x, y = self.layers(mel).chunk(3, dim=1)
        phase = torch.atan2(y, x)
        spectrum = torch.polar(logs.clamp(max=6.0).exp(), phase)
        spectrum = functional.pad(spectrum, (0, 1))
        length = mel.shape[2] * HOP
        made = torch.istft(spectrum, FFT, HOP, FFT, self.window, length=length)
        return made.unsqueeze(1)


class Vocoder(nn.Module):
    """Analysis and synthesis in one: sound ``(n, samples)`` to the same shape."""

    def __init__(self, analysis: nn.Module, synthesis: nn.Module) -> None:
        super().__init__()
        self.analysis = analysis
        self.synthesis = synthesis

    def forward(self, x: Tensor) -> Tensor:
        """Return the copy; ``samples`` must be a multiple of ``HOP``."""
        made: Tensor = self.synthesis(self.analysis(x)).squeeze(1)
        return made


NETWORKS: Final[Mapping[str, Callable[[], Vocoder]]] = {
    "neural-transposed": lambda: Vocoder(Mel(), upsampler(BANDS, (8, 8, 4), 96, transposed)),
    "neural-spectral": lambda: Vocoder(Mel(), Spectral(192)),
    "neural-repeated": lambda: Vocoder(Mel(), upsampler(BANDS, (8, 8, 4), 96, Repeated)),
    "neural-adversarial": lambda: Vocoder(Mel(), upsampler(BANDS, (8, 8, 4), 96, transposed)),
    "neural-codec": lambda: Vocoder(
        Encoder(12), upsampler(CODEC_CHANNELS, CODEC_RATES[::-1], 96, transposed)
    ),
    "neural-folded": lambda: Vocoder(
        Encoder(12), upsampler(CODEC_CHANNELS, CODEC_RATES[::-1], 96, Folded)
    ),
}


def train_vocoder(
    name: str, sounds: Sequence[Samples], *, steps: int, seconds: float, seed: int, log: Log
) -> Vocoder:
    """Return a trained network of ``NETWORKS``.

    Args:
        name: Key.
        sounds: Training speech, each longer than ``PIECE``.
        steps: Most batches.
        seconds: Most time.
        seed: Seed of weights and pieces.
        log: Takes progress lines.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = NETWORKS[name]()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, betas=(0.8, 0.99))
    adversary = Adversary() if name in ADVERSARIAL else None
    started = time.monotonic()
    recent = 0.0
    for step in range(1, steps + 1):
        spent = time.monotonic() - started
        done = max(step / steps, spent / seconds)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * share_of_rate(min(done, 1.0))
        real = _pieces(sounds, rng)
        made = network(real)
        spectral = loss = _loss(made, real)
        if name in CODECS:
            loss = loss + WAVEFORM_WEIGHT * (made - real).abs().mean()
        if adversary is not None and done > ADVERSARY_FROM:
            adversary.learn(made, real)
            loss = SPECTRAL_WEIGHT * loss + adversary.loss(made, real)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        value = float(spectral.detach())
        recent = 0.98 * recent + 0.02 * value if step > 1 else value
        if done >= 1:
            break
    log(f"  {name}: {step} steps, spectral loss {recent:.3f}, {time.monotonic() - started:.0f} s")
    return network.eval()


@torch.no_grad()
def copied(network: Vocoder, sound: Samples) -> Samples:
    """Return the network's copy of a sound, as long and as loud."""
    peak = max(float(np.abs(sound).max(initial=0)), 1e-4)
    size = -(-len(sound) // HOP) * HOP
    padded = np.pad(sound * (0.7 / peak), (0, size - len(sound))).astype(np.float32)
    made = network(torch.from_numpy(padded)[None])[0, : len(sound)].numpy()
    return np.asarray(made * (peak / 0.7), np.float32)


def _pieces(sounds: Sequence[Samples], rng: np.random.Generator) -> Tensor:
    pieces = []
    for _ in range(BATCH):
        sound = sounds[int(rng.integers(len(sounds)))]
        start = int(rng.integers(len(sound) - PIECE))
        piece = sound[start : start + PIECE]
        peak = max(float(np.abs(sound).max(initial=0)), 1e-4)
        pieces.append(piece * (0.7 / peak))
    return torch.from_numpy(np.stack(pieces).astype(np.float32))


def _loss(made: Tensor, real: Tensor) -> Tensor:
    total = made.new_zeros(())
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size)
        a, b = (
            torch.stft(x, size, hop, size, window, return_complex=True).abs() + 1e-4
            for x in (made, real)
        )
        total = total + (a - b).norm() / b.norm() + (a.log() - b.log()).abs().mean()
    return total / len(RESOLUTIONS)
