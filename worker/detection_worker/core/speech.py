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

ONE_THREAD: Final = 1 << 18
"""Multiplications up to which OpenBLAS keeps a product of matrices to one thread. Beyond, its
other threads go on spinning after the product for longer than the whole gate takes."""


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


def has_speech(
    windows: Array, *, sample_rate_hz: int, duration_s: float | None = None, hop: int | None = None
) -> bool:
    """Return whether any of the windows may hold speech.

    Args:
        windows: Mono sound in [-1, 1], shape ``(n, samples)``.
        sample_rate_hz: Sample rate of ``windows``; at least 2,000.
        duration_s: Length of the recording; a shorter one was repeated to fill its only window,
            and repetition must not count as change. None if nothing was repeated.
        hop: Samples from one window's start to the next where windows overlap: what two windows
            share is measured once. It changes no answer.
    """
    samples = windows.shape[1]
    if duration_s is not None:
        samples = min(samples, round(duration_s * sample_rate_hz))
    before: _Frames | None = None
    for window in windows:
        frames = _Frames(window[:samples], sample_rate_hz)
        if before is not None and hop is not None:
            frames.take_over(before, hop=hop)
        if frames.may_be_speech():
            return True
        before = frames
    return False


def liveliness(sound: Array, *, sample_rate_hz: int) -> Liveliness:
    """Return the measures of one window.

    Args:
        sound: Mono in [-1, 1], shape ``(samples,)``.
        sample_rate_hz: Sample rate of ``sound``; at least 2,000.
    """
    return _Frames(sound, sample_rate_hz).liveliness()


class _Frames:
    """The frames of one window, each measured once and only if it is no pause."""

    def __init__(self, sound: Array, sample_rate_hz: int) -> None:
        self.sound = sound
        self.rate_hz = sample_rate_hz
        self.frames = _frames(sound, sample_rate_hz)
        count = len(self.frames)
        level = np.einsum("ij,ij->i", self.frames, self.frames) / self.frames.shape[1]
        self.level_db = 10 * np.log10(level + 1e-12)
        self.loud = self.level_db > max(
            FLOOR_DBFS, float(np.percentile(self.level_db, 95)) - RANGE_DB
        )
        self.measured = np.zeros(count, np.bool_)
        self.periodicity = np.zeros(count, np.float32)
        self.density = np.zeros((count, BANDS), np.float32)

    def take_over(self, before: "_Frames", *, hop: int) -> None:
        """Take over what was measured of a window that starts ``hop`` samples before this one."""
        skipped, rest = divmod(hop, round(HOP_S * self.rate_hz))
        if rest or not np.array_equal(before.sound[hop:], self.sound[:-hop]):
            return
        shared = max(0, len(before.frames) - skipped)
        for name in ("measured", "periodicity", "density"):
            getattr(self, name)[:shared] = getattr(before, name)[skipped:]

    def may_be_speech(self) -> bool:
        """As ``Liveliness`` has it; a level that hardly varies needs no spectra."""
        if not self.loud.any() or self._modulation_db() < LEAST_MODULATION_DB:
            return False
        return self.liveliness().may_be_speech

    def liveliness(self) -> Liveliness:
        loud = self.loud
        if not loud.any():
            return Liveliness(voiced_s=0.0, voiced_share=0.0, change=0.0, modulation_db=0.0)
        self._measure()
        voiced = _lasting(loud & (self.periodicity > VOICED))
        return Liveliness(
            voiced_s=float(voiced.sum() * HOP_S),
            voiced_share=float(voiced.sum() / loud.sum()),
            change=_change(self.density, loud, voiced),
            modulation_db=self._modulation_db(),
        )

    def _modulation_db(self) -> float:
        return float(self.level_db[self.loud].std())

    def _measure(self) -> None:
        new = self.loud & ~self.measured
        frames = self.frames[new]
        spectra = _spectra(frames)
        self.periodicity[new] = _periodicity(spectra, self.rate_hz, frames.shape[1])
        self.density[new] = _product(spectra, _bands(self.rate_hz, spectra.shape[1]))
        self.measured |= new


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
    amplitudes = np.fft.rfft(frames * _hann(length), _padded(length), axis=1)
    return np.asarray(np.square(amplitudes.real) + np.square(amplitudes.imag), dtype=np.float32)


def _padded(length: int) -> int:
    """The power of two that holds twice the length."""
    return 1 << (2 * length - 1).bit_length()


def _product(rows: Array, matrix: Array) -> Array:
    """The product of two matrices, so many rows at a time that one thread computes it."""
    step = max(1, ONE_THREAD // matrix.size)
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    for at in range(0, len(rows), step):
        np.matmul(rows[at : at + step], matrix, out=out[at : at + step])
    return out


def _periodicity(spectra: Array, sample_rate_hz: int, length: int) -> Array:
    """The autocorrelation's highest value at the lag of a pitch, about 0 to 1."""
    bins, at_lags = _lags(sample_rate_hz, length)
    correlation = _product(np.ascontiguousarray(spectra[:, bins]), at_lags)
    return np.asarray(correlation[:, 1:].max(axis=1) / (correlation[:, 0] + 1e-12), np.float32)


def _change(density: Array, loud: Mask, voiced: Mask) -> float:
    voice = voiced[LAG_FRAMES:] | voiced[:-LAG_FRAMES]
    pairs = loud[LAG_FRAMES:] & loud[:-LAG_FRAMES] & voice
    if not pairs.any():
        return 0.0
    energies = np.log(density + BAND_RANGE * density.max(axis=1, keepdims=True) + 1e-12)
    shapes = energies - energies.mean(axis=1, keepdims=True)
    changes = np.abs(shapes[LAG_FRAMES:] - shapes[:-LAG_FRAMES]).mean(axis=1)
    return float(np.median(changes[pairs]))


@lru_cache(maxsize=8)
def _hann(length: int) -> Array:
    return np.hanning(length).astype(np.float32)


@lru_cache(maxsize=8)
def _lags(sample_rate_hz: int, length: int) -> tuple[slice, Array]:
    """From the power of some bins to the autocorrelation at lag 0 and at those of a pitch.

    Returns:
        Which bins; shape ``(bins, 1 + lags)``.
    """
    shortest, longest = (round(sample_rate_hz / hz) for hz in reversed(PITCH_HZ))
    lags = np.array([0, *range(shortest, longest + 1)])
    padded = _padded(length)
    at_hz = np.linspace(0, sample_rate_hz / 2, padded // 2 + 1)
    inside = np.flatnonzero((at_hz >= VOICE_HZ[0]) & (at_hz <= VOICE_HZ[1]))
    bins = slice(int(inside[0]), int(inside[-1]) + 1)
    # All bins but the highest stand for their mirror image too. Weighted by frequency, because
    # rumble falls with it and is periodic otherwise.
    weights = np.where(inside < padded // 2, 2, 1) * at_hz[bins] / padded
    cosines = np.cos(2 * np.pi / padded * (np.outer(inside, lags) % padded))
    # Dividing by the window's own undoes its fading with the lag (Boersma 1993).
    window = np.hanning(length)
    fading = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, padded))))[lags]
    return bins, np.asarray(weights[:, None] * cosines / fading, dtype=np.float32)


@lru_cache(maxsize=8)
def _bands(sample_rate_hz: int, bins: int) -> Array:
    """How much each bin adds to each band; evenly spaced on the mel scale (O'Shaughnessy 1987).

    Shape ``(bins, BANDS)``.
    """
    top_hz = min(BANDS_HZ[1], sample_rate_hz / 2)
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (BANDS_HZ[0], top_hz))
    edges_hz = 700 * (10 ** (np.linspace(low, high, BANDS + 1) / 2595) - 1)
    at_hz = np.linspace(0, sample_rate_hz / 2, bins)
    inside = (at_hz >= edges_hz[:-1, None]) & (at_hz < edges_hz[1:, None])
    shares = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    return np.ascontiguousarray(shares.T, dtype=np.float32)
