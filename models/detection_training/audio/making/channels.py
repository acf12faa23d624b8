"""What happens to sound on its way: storage, transport, room and noise; drawn alike for classes.

Two layers. The *storage* is how the package of a real voice keeps it (G.722, Vorbis, 8 kHz …):
made speech passes the same, so that no codec belongs to one class. The *channel* comes on top and
is drawn from one distribution for every class and family.
"""

import importlib
import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detection_training.audio.sound import RATE_HZ, Channel, Samples, clean, through
from detection_worker.errors import UsageError

EXTRA: Final = 'Install what this training needs: pip install "detection-queue[train-full]"'


def optional(name: str) -> Any:
    """Return a module that only the full preset needs.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        raise UsageError(f"The Python package {name!r} is not installed!\n{EXTRA}") from exc


def sound_file(container: str, subtype: str, *, rate_hz: int = RATE_HZ) -> Channel:
    """Return a channel through a format of libsndfile, for what FFmpeg's wheel cannot encode."""

    def channel(sound: Samples, _: np.random.Generator) -> Samples:
        soundfile = optional("soundfile")
        buffer = io.BytesIO()
        soundfile.write(
            buffer, resampled(sound, RATE_HZ, rate_hz), rate_hz, format=container, subtype=subtype
        )
        buffer.seek(0)
        decoded, _rate = soundfile.read(buffer, dtype="float32")
        back = resampled(decoded, rate_hz, RATE_HZ)
        return np.resize(back, len(sound)) if len(back) else sound

    return channel


STORAGES: Final[Mapping[str, Channel]] = {
    "clean": clean,
    "g722": through("g722", "g722"),
    "vorbis": sound_file("OGG", "VORBIS"),
    "gsm": sound_file("WAV", "GSM610", rate_hz=8_000),
    "8khz": through("pcm_s16le", "wav", rate_hz=8_000),
    "opus": through("libopus", "ogg", rate_hz=48_000, bit_rate=32_000),
}
CHANNELS: Final[Mapping[str, Channel]] = {
    "clean": clean,
    "g722": through("g722", "g722"),
    "vorbis": sound_file("OGG", "VORBIS"),
    "opus16": through("libopus", "ogg", rate_hz=48_000, bit_rate=16_000),
    "opus24": through("libopus", "ogg", rate_hz=48_000, bit_rate=24_000),
    "mp3-32": through("libmp3lame", "mp3", bit_rate=32_000),
    "mp3-64": through("libmp3lame", "mp3", bit_rate=64_000),
    "mu-law": through("pcm_mulaw", "wav", rate_hz=8_000),
    "gsm": sound_file("WAV", "GSM610", rate_hz=8_000),
}
CHANNEL_WEIGHTS: Final[Mapping[str, float]] = {"clean": 0.36} | dict.fromkeys(
    [name for name in CHANNELS if name != "clean"], 0.08
)
"""How often each is drawn; the same for every class and family."""
FLOOR_DB: Final = (38.0, 62.0)
"""Noise floor below the speech that every clip gets, so that digital silence tells nothing."""


def storage_of(source: str, suffix: str) -> str:
    """Return the key of ``STORAGES`` that a package's files of this suffix were kept in."""
    if suffix == ".wav" and source.startswith("asterisk"):
        return "8khz"
    return {".g722": "g722", ".gsm": "gsm", ".ogg": "vorbis", ".opus": "opus"}.get(suffix, "clean")


def draw_channel(rng: np.random.Generator) -> str:
    """Return a key of ``CHANNELS``."""
    names = list(CHANNEL_WEIGHTS)
    weights = np.array(list(CHANNEL_WEIGHTS.values()))
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def resampled(sound: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return the sound at another rate, band-limited by a windowed sinc."""
    if from_hz == to_hz:
        return sound
    torch = importlib.import_module("torch")
    functional = importlib.import_module("torchaudio.functional")
    changed = functional.resample(torch.from_numpy(np.ascontiguousarray(sound)), from_hz, to_hz)
    return np.asarray(changed.numpy(), np.float32)


def with_floor(sound: Samples, rng: np.random.Generator) -> Samples:
    """Return the sound with a noise floor of random colour, ``FLOOR_DB`` below it."""
    return mixed(sound, noise(len(sound), rng), below_db=float(rng.uniform(*FLOOR_DB)))


def noise(length: int, rng: np.random.Generator) -> Samples:
    """Return noise between white and pink, of RMS one."""
    size = fast_length(length)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    slope = np.maximum(np.arange(len(spectrum)), 8.0) ** (-float(rng.uniform(0, 0.5)))
    made = np.fft.irfft(spectrum * slope, size)[:length]
    return np.asarray(made / (made.std() + 1e-12), np.float32)


def mixed(sound: Samples, added: Samples, *, below_db: float) -> Samples:
    """Return the sound plus ``added`` of RMS one, ``below_db`` under the sound's own RMS."""
    rms = float(np.sqrt(np.square(sound).mean())) + 1e-6
    gain = np.float32(rms * 10 ** (-below_db / 20))
    return np.asarray(np.clip(sound + added * gain, -1, 1), np.float32)


class Augmenter:
    """Random microphone, room, band limit, noise and clipping; cheap enough for every window.

    Args:
        length: Samples of a window.
        rng: Makes every choice.
    """

    def __init__(self, length: int, *, rng: np.random.Generator) -> None:
        self._rng = rng
        self._length = length
        self._size = fast_length(length + int(LONGEST_ROOM_S * RATE_HZ))
        # Drawn once: fresh noise for each window would cost more than the network's first layer.
        self._noises = [noise(4 * length, rng) for _ in range(16)]

    def __call__(self, sound: Samples) -> Samples:
        """Return one window ``(length,)`` after a random few of the treatments."""
        rng = self._rng
        response = self._response()
        if response is not None:
            spectrum = np.fft.rfft(sound, self._size) * response
            sound = np.fft.irfft(spectrum, self._size)[: self._length].astype(np.float32)
        if rng.random() < CHANCES_LATER[0]:
            sound = levelled_slowly(sound, strength=float(rng.uniform(0.2, 0.8)))
        if rng.random() < CHANCES_LATER[1]:
            sound = gated(
                sound, over=float(rng.uniform(1.0, 3.0)), floor=float(rng.uniform(0, 0.3))
            )
        if rng.random() < CHANCES_LATER[2]:
            drawn = self._noises[int(rng.integers(len(self._noises)))]
            start = int(rng.integers(3 * self._length))
            added = drawn[start : start + self._length]
            sound = mixed(sound, added, below_db=float(rng.uniform(12, 45)))
        if rng.random() < CHANCES_LATER[3]:
            limit = float(np.abs(sound).max()) * float(rng.uniform(0.4, 0.9))
            sound = np.clip(sound, -limit, limit)
        return sound

    def _response(self) -> NDArray[np.complex128] | None:
        rng = self._rng
        drawn = rng.random(3)
        if (drawn >= CHANCES).all():
            return None
        response = np.ones(self._size // 2 + 1, np.complex128)
        at = np.linspace(0, np.pi, len(response))
        if drawn[0] < CHANCES[0]:
            # A smooth filter, as the linear part of RawBoost (Tak et al. 2022).
            gain_db = sum(float(rng.uniform(-4, 4)) / k * np.cos(k * at) for k in range(1, 6))
            response *= 10 ** (gain_db / 20)
        if drawn[1] < CHANCES[1]:
            response *= np.fft.rfft(room(rng), self._size)
        if drawn[2] < CHANCES[2]:
            limit = float(rng.uniform(3_200, 8_000)) / (RATE_HZ / 2) * np.pi
            response /= 1 + (at / limit) ** 24
        return response


CHANCES: Final = np.array([0.5, 0.25, 0.25])
"""Chances of a filter, a room and a band limit."""
CHANCES_LATER: Final = (0.2, 0.15, 0.4, 0.1)
"""Chances of slow levelling, noise reduction, noise and clipping."""
LONGEST_ROOM_S: Final = 0.4
LEVEL_FRAME: Final = RATE_HZ // 20
GATE_FFT: Final = 512
GATE_HOP: Final = 128


def levelled_slowly(sound: Samples, *, strength: float) -> Samples:
    """Return the sound with its loudness over 50 ms evened out, as broadcasters and telephones do.

    Args:
        sound: Mono.
        strength: 0 leaves it, 1 makes all frames as loud.
    """
    count = max(1, len(sound) // LEVEL_FRAME)
    frames = np.resize(sound, count * LEVEL_FRAME).reshape(count, LEVEL_FRAME)
    level = np.sqrt(np.square(frames).mean(axis=1)) + 1e-3
    at = (np.arange(count) + 0.5) * LEVEL_FRAME
    gain = np.interp(np.arange(len(sound)), at, (level / level.max()) ** -strength)
    peak = float(np.abs(sound).max(initial=0.0))
    louder = sound * gain
    highest = float(np.abs(louder).max(initial=0.0)) + 1e-9
    return np.asarray(louder * (peak / highest), np.float32)


def gated(sound: Samples, *, over: float, floor: float) -> Samples:
    """Return the sound after noise reduction by spectral gating (Boll 1979).

    Real recordings are cleaned like this, and it leaves a vocoder's kind of warble.

    Args:
        sound: Mono.
        over: How far over a band's quiet level a value must be to be kept.
        floor: Share of what is not kept that stays.
    """
    torch = importlib.import_module("torch")
    window = torch.hann_window(GATE_FFT)
    spectrum = torch.stft(
        torch.from_numpy(sound), GATE_FFT, GATE_HOP, window=window, return_complex=True
    )
    amplitude = spectrum.abs()
    quiet = amplitude.kthvalue(max(1, amplitude.shape[1] // 7), dim=1, keepdim=True).values
    gain = (1 - over * quiet / (amplitude + 1e-7)).clamp(min=floor)
    made = torch.istft(spectrum * gain, GATE_FFT, GATE_HOP, window=window, length=len(sound))
    return np.asarray(made.numpy(), np.float32)


def room(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return an impulse and its exponentially decaying diffuse tail (Moorer 1979)."""
    length = int(float(rng.uniform(0.05, LONGEST_ROOM_S)) * RATE_HZ)
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= float(rng.uniform(0.05, 0.4)) / (np.sqrt(np.square(tail).sum()) + 1e-9)
    tail[0] = 1.0
    return tail


def fast_length(least: int) -> int:
    """Return a length of at least this that Fourier transforms take quickly: 2^n or 3 * 2^n."""
    power = 1 << (least - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= least else power
