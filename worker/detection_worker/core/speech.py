"""Whether anybody speaks in a sound: a gate that keeps back what is certainly no speech.

Made to miss no speech rather than to catch all else: silence, hum, tones, held chords and noise
are kept back; songs, and music whose timbre changes as fast as speech does, pass. So does
synthetic speech, which is the point. Whispering has no voice in this sense and is kept back.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

FRAME_S: Final = 0.032
"""Two periods of the lowest voice fit in."""
HOP_S: Final = 0.016
LAG_FRAMES: Final = 3
"""Changes are looked at over 48 ms, about the length of a short sound of speech."""
PITCH_HZ: Final = (60.0, 400.0)
"""Range of voices in speech, low men to children."""
BANDS_HZ: Final = (100.0, 3800.0)
"""What a telephone lets through, roughly."""
BANDS: Final = 16

FLOOR_DBFS: Final = -70.0
"""Softer frames are silence, whatever is in them."""
RANGE_DB: Final = 30.0
"""Frames so far below the loudest are pauses."""
VOICE_HZ: Final = (100.0, 1000.0)
"""Where the first harmonics of voices are; a pitch is looked for only here, for hiss hides it."""
BAND_RANGE: Final = 0.01
"""Bands softer than this share of a frame's loudest one count as if they had it."""
VOICED: Final = 0.7
"""Autocorrelation, normalised as by Boersma (1993), from which a frame counts as voiced."""

# Limits of one window, set on recorded speech (telephone prompts, game dialogues, spoken letters)
# against silence, noise, tones, chords and music; docs/messages.md has what is missed.
LEAST_VOICED_S: Final = 0.08
LEAST_VOICED_SHARE: Final = 0.1
LEAST_CHANGE: Final = 0.1
LEAST_MODULATION_DB: Final = 2.0
DRAWN_OUT_CHANGE: Final = 0.03
"""Enough for a single drawn-out vowel, if it swells and fades by ``DRAWN_OUT_MODULATION_DB``."""
DRAWN_OUT_MODULATION_DB: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveliness:
    """What distinguishes speech in one window of sound.

    Attributes:
        voiced_s: Seconds that have a pitch.
        voiced_share: Voiced share of the frames that are no pauses, 0 to 1.
        change: How much the spectrum changes in 48 ms that begin or end voiced, the median: mean
            absolute difference of the natural logs of band energies, loudness taken out.
        modulation_db: Standard deviation of the level of frames that are no pauses.
    """

    voiced_s: float
    voiced_share: float
    change: float
    modulation_db: float

    @property
    def may_be_speech(self) -> bool:
        """Nothing says that it is none."""
        if self.voiced_s < LEAST_VOICED_S or self.voiced_share < LEAST_VOICED_SHARE:
            return False
        if self.change >= LEAST_CHANGE:
            return self.modulation_db >= LEAST_MODULATION_DB
        return self.change >= DRAWN_OUT_CHANGE and self.modulation_db >= DRAWN_OUT_MODULATION_DB


def has_speech(windows: Array, *, sample_rate_hz: int, duration_s: float | None = None) -> bool:
    """Return whether any of the windows may hold speech.

    Args:
        windows: Mono sound in [-1, 1], shape ``(n, samples)``.
        sample_rate_hz: Sample rate of ``windows``; at least 2,000.
        duration_s: Length of the recording; a shorter one was repeated to fill its only window,
            and repetition must not count as change. None if nothing was repeated.
    """
    samples = windows.shape[1]
    if duration_s is not None:
        samples = min(samples, round(duration_s * sample_rate_hz))
    return any(
        liveliness(window[:samples], sample_rate_hz=sample_rate_hz).may_be_speech
        for window in windows
    )


def liveliness(sound: Array, *, sample_rate_hz: int) -> Liveliness:
    """Return the measures of one window.

    Args:
        sound: Mono in [-1, 1], shape ``(samples,)``.
        sample_rate_hz: Sample rate of ``sound``; at least 2,000.
    """
    frames = _frames(sound, sample_rate_hz)
    level_db = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    loud = level_db > max(FLOOR_DBFS, float(np.percentile(level_db, 95)) - RANGE_DB)
    if not loud.any():
        return Liveliness(voiced_s=0.0, voiced_share=0.0, change=0.0, modulation_db=0.0)
    spectra = _spectra(frames)
    voiced = _lasting(loud & (_periodicity(spectra, sample_rate_hz, frames.shape[1]) > VOICED))
    return Liveliness(
        voiced_s=float(voiced.sum() * HOP_S),
        voiced_share=float(voiced.sum() / loud.sum()),
        change=_change(spectra, loud, voiced, sample_rate_hz=sample_rate_hz),
        modulation_db=float(level_db[loud].std()),
    )


def _lasting(voiced: Mask) -> Mask:
    """Only frames whose neighbours are voiced too: noise has a pitch by chance, but no longer."""
    beside = np.pad(voiced, 1)
    return voiced & beside[:-2] & beside[2:]


def _frames(sound: Array, sample_rate_hz: int) -> Array:
    """Overlapping frames without their mean, shape ``(n, length)``, ``n >= 1``."""
    length, hop = round(FRAME_S * sample_rate_hz), round(HOP_S * sample_rate_hz)
    padded = np.pad(sound, (0, max(0, length - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    return np.asarray(frames - frames.mean(axis=1, keepdims=True), dtype=np.float32)


def _spectra(frames: Array) -> Array:
    """Power spectra, padded so that the autocorrelation does not wrap around."""
    length = frames.shape[1]
    window = np.hanning(length).astype(np.float32)
    amplitudes = np.fft.rfft(frames * window, _padded(length), axis=1)
    return np.asarray(np.square(np.abs(amplitudes)), dtype=np.float32)


def _padded(length: int) -> int:
    """The power of two that holds twice the length."""
    return 1 << (2 * length - 1).bit_length()


def _periodicity(spectra: Array, sample_rate_hz: int, length: int) -> Array:
    """The autocorrelation's highest value at the lag of a pitch, about 0 to 1."""
    shortest, longest = (round(sample_rate_hz / hz) for hz in reversed(PITCH_HZ))
    at_hz = np.linspace(0, sample_rate_hz / 2, spectra.shape[1])
    # Weighted by frequency, because rumble falls with it and is periodic otherwise.
    weights = np.where((at_hz >= VOICE_HZ[0]) & (at_hz <= VOICE_HZ[1]), at_hz, 0.0)
    correlation = np.fft.irfft(spectra * weights.astype(np.float32), axis=1)
    # Dividing by the window's own undoes its fading with the lag (Boersma 1993).
    window = np.hanning(length)
    fading = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, _padded(length)))))
    at_lags = correlation[:, shortest : longest + 1] / fading[shortest : longest + 1]
    energy = correlation[:, :1] / fading[0]
    return np.asarray((at_lags / (energy + 1e-12)).max(axis=1), dtype=np.float32)


def _change(spectra: Array, loud: Mask, voiced: Mask, *, sample_rate_hz: int) -> float:
    voice = voiced[LAG_FRAMES:] | voiced[:-LAG_FRAMES]
    pairs = loud[LAG_FRAMES:] & loud[:-LAG_FRAMES] & voice
    if not pairs.any():
        return 0.0
    density = spectra @ _bands(sample_rate_hz, spectra.shape[1]).T
    energies = np.log(density + BAND_RANGE * density.max(axis=1, keepdims=True) + 1e-12)
    shapes = energies - energies.mean(axis=1, keepdims=True)
    changes = np.abs(shapes[LAG_FRAMES:] - shapes[:-LAG_FRAMES]).mean(axis=1)
    return float(np.median(changes[pairs]))


@lru_cache(maxsize=8)
def _bands(sample_rate_hz: int, bins: int) -> Array:
    """Which bins belong to which band, evenly spaced on the mel scale (O'Shaughnessy 1987)."""
    top_hz = min(BANDS_HZ[1], sample_rate_hz / 2)
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (BANDS_HZ[0], top_hz))
    edges_hz = 700 * (10 ** (np.linspace(low, high, BANDS + 1) / 2595) - 1)
    at_hz = np.linspace(0, sample_rate_hz / 2, bins)
    inside = (at_hz >= edges_hz[:-1, None]) & (at_hz < edges_hz[1:, None])
    return np.asarray(inside / np.maximum(inside.sum(axis=1, keepdims=True), 1), dtype=np.float32)
