"""Ways to make speech that no throat made: resynthesis of real speech, and text to speech."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torchaudio.functional

from detection_training.audio.sound import RATE_HZ, Samples, read_sound

Resynthesis = Callable[[Samples, np.random.Generator], Samples]
FFT: Final = 1024
HOP: Final = 256
FLITE_TIMEOUT_S: Final = 30.0


def griffin_lim(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return speech rebuilt from its mel spectrogram alone (Griffin and Lim 1984)."""
    window = torch.hann_window(FFT)
    x = torch.from_numpy(sound)
    power = torch.stft(x, FFT, HOP, FFT, window, return_complex=True).abs().square()
    bands = int(rng.choice([64, 80, 128]))
    bank = torchaudio.functional.melscale_fbanks(FFT // 2 + 1, 0.0, RATE_HZ / 2, bands, RATE_HZ)
    inverse = torch.linalg.pinv(bank.T)
    rebuilt = (inverse @ (bank.T @ power)).clamp(min=1e-8)
    y = torchaudio.functional.griffinlim(
        rebuilt,
        window,
        n_fft=FFT,
        hop_length=HOP,
        win_length=FFT,
        power=2.0,
        n_iter=int(rng.choice([12, 32])),
        momentum=0.99,
        length=len(sound),
        rand_init=False,
    )
    return _samples(y)


def source_filter(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return speech rebuilt from pitch and a smooth spectral envelope, as classical vocoders do.

    Pulses below and noise above a random limit, shaped by the low part of the cepstrum
    (Oppenheim 1969); the pitch is moved by up to three semitones.
    """
    window = torch.hann_window(FFT)
    spectrum = torch.stft(torch.from_numpy(sound), FFT, HOP, FFT, window, return_complex=True)
    logs = (spectrum.abs() + 1e-5).log()
    cepstrum = torch.fft.irfft(logs, dim=0)
    order = int(rng.choice([32, 48]))
    lifter = torch.zeros(FFT, 1)
    lifter[: order + 1] = 1.0
    lifter[-order:] = 1.0
    envelope = torch.fft.rfft(cepstrum * lifter, dim=0).real.exp()
    shift = 2 ** (float(rng.uniform(-3, 3)) / 12)
    pulses, noise = _excitation(sound, shift=shift, rng=rng)
    limit = int(float(rng.uniform(3000, 6000)) / RATE_HZ * FFT)
    mixed = torch.cat([_flat(pulses, window)[:limit], _flat(noise, window)[limit:]])
    y = torch.istft(mixed * envelope, FFT, HOP, FFT, window, length=len(sound))
    return _samples(y)


def shifted_pitch(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return the voice disguised by a phase vocoder; only ever tested on."""
    stretch = 2 ** (float(rng.choice([-3, -2, 2, 3])) / 12)
    window = torch.hann_window(FFT)
    spectrum = torch.stft(torch.from_numpy(sound), FFT, HOP, FFT, window, return_complex=True)
    advance = torch.linspace(0, torch.pi * HOP, FFT // 2 + 1)[:, None]
    slower = torchaudio.functional.phase_vocoder(spectrum, 1 / stretch, advance)
    y = torch.istft(slower, FFT, HOP, FFT, window).numpy()
    # Played faster by as much, so that only the pitch differs.
    at = np.minimum(np.arange(len(sound)) * stretch, len(y) - 1)
    return np.asarray(np.interp(at, np.arange(len(y)), y), dtype=np.float32)


class Flite:
    """The text-to-speech program of an unpacked Debian package, run in place.

    Args:
        program: Unpacked ``flite``.
        library: Unpacked ``libflite1``.
    """

    def __init__(self, program: Path, library: Path) -> None:
        self._program = program / "usr/bin/flite"
        folders = sorted(library.glob("usr/lib/*-linux-gnu*"))
        self._environment = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}

    def say(self, text: str, *, voice: str) -> Samples:
        """Return a sentence.

        Raises:
            ValueError: The program does not run on this machine.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            command = [str(self._program), "-voice", voice, "-t", text, "-o", str(path)]
            try:
                subprocess.run(  # noqa: S603 - our own sentences, no shell
                    command,
                    env=self._environment,
                    check=True,
                    capture_output=True,
                    timeout=FLITE_TIMEOUT_S,
                )
            except (OSError, subprocess.SubprocessError) as exc:
                raise ValueError(f"flite does not run here: {exc}") from exc
            return read_sound(path)


def _samples(y: torch.Tensor) -> Samples:
    return np.asarray(y.numpy(), dtype=np.float32)


def pitch_track(sound: Samples, *, frames: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the pitch of each frame of ``HOP`` samples in Hz, 0 where unvoiced.

    The highest peak of the normalised autocorrelation between 60 and 400 Hz (Rabiner 1977).
    """
    padded = np.pad(sound.astype(np.float64), (FFT // 2, FFT))
    index = np.arange(frames)[:, None] * HOP + np.arange(FFT)
    taken = padded[np.minimum(index, len(padded) - 1)] * np.hanning(FFT)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(taken, 2 * FFT)) ** 2)[:, :FFT]
    shortest, longest = RATE_HZ // 400, RATE_HZ // 60
    ratio = correlation[:, shortest:longest] / np.maximum(correlation[:, :1], 1e-9)
    lag = ratio.argmax(axis=1) + shortest
    voiced = (ratio.max(axis=1) > 0.3) & (correlation[:, 0] > 1e-3 * correlation[:, 0].max())
    return np.where(voiced, RATE_HZ / lag, 0.0)


def _excitation(
    sound: Samples, *, shift: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    noise = rng.standard_normal(len(sound))
    pitch = pitch_track(sound, frames=len(sound) // HOP + 1)
    per_sample = np.repeat(pitch, HOP)[: len(sound)] * shift
    phase = np.cumsum(per_sample / RATE_HZ)
    pulses = np.diff(np.floor(phase), prepend=0.0) > 0
    voiced = per_sample > 0
    mixed = np.where(voiced, pulses * np.sqrt(RATE_HZ / np.maximum(per_sample, 60.0)), noise)
    return torch.from_numpy(mixed).float(), torch.from_numpy(noise).float()


def _flat(excitation: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Return the excitation's spectrum at an amplitude of about one."""
    spectrum = torch.stft(excitation, FFT, HOP, FFT, window, return_complex=True)
    return spectrum / window.square().sum().sqrt()
