"""Where channels cancel each other in their mix, and which of them to judge apart then.

A detector hears the mix of all channels. What is in antiphase, as a whole, in some frequencies or
for some time, or comes a little later in one channel, is heard by people and lost in the mix.
"""

from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Final

import numpy as np
from numpy.fft import rfft
from numpy.typing import NDArray

Array = NDArray[np.float32]

FRAME: Final = 512
"""Samples of a spectrum: 32 ms at 16 kHz."""
SMOOTHED: Final = 8
"""Spectra whose power is averaged: a quarter of a second, and few enough chance cancellations.
Channels that have nothing to do with each other keep more than ``LOST`` in 19 of 20 cells."""
LOST: Final = 0.5
"""A time and frequency is lost where the mix has less than this share of the power that channels
without relation would leave; equal channels leave twice that power, a delay cancels a third."""
LOST_SHARE: Final = 0.12
"""Share of the power, or of the audible times and frequencies, from which channels are judged
apart. Two microphones in a reverberant room lose up to 0.05, unrelated noise 0.02; a voice in
antiphase 1, above 1 kHz only 0.3, for half of the time 0.4."""
AUDIBLE: Final = 1e-4
"""Power beside that of the loudest time and frequency (or channel) that counts: 40 dB less."""
RESIDUE: Final = 1e-3
"""A mix of less power beside the channels' own is what a codec or rounding left: nobody hears it
as sound of its own, so it is not judged."""
ALIKE: Final = 0.98
"""Correlation of channels that are one, but for sign and level."""
MOST_APART: Final = 4
"""Channels judged apart, loudest first; bounds the work on one window."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cells:
    """Power by time and frequency, shape ``(times, bins)``.

    Attributes:
        kept: What the mix has.
        expected: What channels without relation would leave of theirs.
    """

    kept: Array
    expected: Array


class Listener:
    """Says what to judge of windows of a sound; where they overlap, pieces are compared once.

    Args:
        hop: Samples from the start of a window to that of the next one; 0 if there is only one.
    """

    def __init__(self, hop: int = 0) -> None:
        self._hop = hop
        self._cells: dict[int, _Cells] = {}

    def heard(
        self, mix: Array, channels: Array, weights: Array, *, start: int = 0
    ) -> tuple[Array, bool]:
        """Return what to judge of a window: the mix, or where it lost much, channels too.

        Args:
            mix: Shape ``(samples,)``.
            channels: What was mixed, shape ``(channels, samples)``; one or none is its own mix.
            weights: Weight of each channel in the mix, shape ``(channels,)``.
            start: Its first sample, a multiple of ``hop``; it only grows.

        Returns:
            Shape ``(n, samples)``, ``1 <= n <= 1 + MOST_APART``; whether channels are apart.
        """
        part_of = weights != 0
        if not part_of.all():
            channels, weights = channels[part_of], weights[part_of]
        if len(channels) < 2 or not self._cancels(channels, weights, start):
            return mix[None], False
        apart = channels[_distinct(channels)]
        expected = float((np.square(weights) * np.square(channels).mean(axis=1)).sum())
        if float(np.square(mix).mean()) < RESIDUE * expected:
            return apart, True
        return np.concatenate([mix[None], apart]), True

    def _cancels(self, channels: Array, weights: Array, start: int) -> bool:
        """Return whether much of the channels is lost in their mix."""
        if (channels[1:] == channels[:1]).all() and (weights > 0).all():
            return False
        cells = self._cells_of(channels, weights, start)
        kept = np.concatenate([piece.kept for piece in cells])
        expected = np.concatenate([piece.expected for piece in cells])
        audible = expected > AUDIBLE * expected.max()
        if not audible.any():
            return False
        lost = audible & (kept < LOST * expected)
        power_share = expected[lost].sum() / expected[audible].sum()
        return bool(max(power_share, lost.sum() / audible.sum()) > LOST_SHARE)

    def _cells_of(self, channels: Array, weights: Array, start: int) -> list[_Cells]:
        samples = channels.shape[1]
        piece = self._hop if self._hop and samples % self._hop == 0 else samples
        known, self._cells = self._cells, {}
        for offset in range(0, samples, piece):
            at = start + offset
            cells = known.get(at) or _cells(channels[:, offset : offset + piece], weights)
            self._cells[at] = cells
        return list(self._cells.values())


def _cells(channels: Array, weights: Array) -> _Cells:
    spectra = _spectra(channels, weights)
    return _Cells(kept=_power(reduce(np.add, spectra)[None]), expected=_power(spectra))


@lru_cache(maxsize=1)
def _hann() -> Array:
    return np.hanning(FRAME).astype(np.float32)


def _spectra(channels: Array, weights: Array) -> NDArray[np.complex64]:
    """Shape ``(channels, frames, bins)``, at least one frame."""
    count = max(1, channels.shape[1] // FRAME)
    if channels.shape[1] < FRAME:
        channels = np.pad(channels, ((0, 0), (0, FRAME - channels.shape[1])))
    frames = channels[:, : count * FRAME].reshape(len(channels), count, FRAME)
    scale = weights[:, None, None] * _hann()
    # With its factor of 1 for other norms numpy computes in double precision.
    return np.asarray(rfft(frames * scale, axis=2, norm="forward"), dtype=np.complex64)


def _power(spectra: NDArray[np.complex64]) -> Array:
    """Power of all channels, means over ``SMOOTHED`` frames; shape ``(times, bins)``.

    A rest of up to half as many frames belongs to the last time.
    """
    # Summed over frames before real and imaginary parts: an eighth of the strided work.
    parts = spectra.view(np.float32)
    count, frames, size = parts.shape
    whole = max(0, (frames + SMOOTHED // 2 - 1) // SMOOTHED - 1)
    rest = parts[:, whole * SMOOTHED :]
    first = parts[:, : whole * SMOOTHED].reshape(count, whole, SMOOTHED, size)
    means = np.empty((whole + 1, size), np.float32)
    means[:whole] = np.einsum("cktf,cktf->kf", first, first) / np.float32(SMOOTHED)
    means[whole] = np.einsum("ctf,ctf->f", rest, rest) / np.float32(rest.shape[1])
    return means[:, 0::2] + means[:, 1::2]


def _distinct(channels: Array) -> list[int]:
    """Indices of channels that differ by more than sign and level, loudest first."""
    powers = np.square(channels).sum(axis=1)
    chosen: list[int] = []
    for i in np.argsort(-powers).tolist():
        if powers[i] <= AUDIBLE * powers.max() or len(chosen) == MOST_APART:
            break
        shared = [
            abs(float(channels[i] @ channels[j])) / float(np.sqrt(powers[i] * powers[j]))
            for j in chosen
        ]
        if max(shared, default=0.0) < ALIKE:
            chosen.append(i)
    return sorted(chosen)
