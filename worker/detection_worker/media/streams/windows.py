"""Windows of a stream of sound of unknown length. Pure arithmetic."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detection_worker.core.channels import Listener
from detection_worker.core.sampling import AudioSampling, most_units, spread

Samples = NDArray[np.float32]
RESERVED_BYTES = 33 * 1024 * 1024
"""Most room for windows at first: more than malloc takes from its heap, so what is not used costs
nothing and the system makes room for more without a copy."""
GROWTH_BYTES = 8 * 1024 * 1024
"""More room, when that is full."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Window:
    number: int
    row: int
    units: int
    apart: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """Windows; where channels cancel each other, the channels apart.

    Attributes:
        units: The mix, if it is loud enough, and the channels; shape ``(n, window)``.
        frame: Which window each unit belongs to, shape ``(n,)``, ascending from 0.
        starts_s: Start of each window, seconds.
        apart: In how many windows channels are judged apart.
    """

    units: Samples
    frame: NDArray[np.int32]
    starts_s: NDArray[np.float64]
    apart: int


class Windows:
    """Keeps windows spread over all the sound pushed, in memory that does not grow with it.

    Every window is kept until there are twice as many as wanted, or twice as many units; then
    every other one is dropped and only every other one is kept from there on, and so forth.

    Args:
        sampling: How they are cut.
        likely_s: How long the sound will probably be; only saves copies.
    """

    def __init__(self, sampling: AudioSampling, *, likely_s: float = 0.0) -> None:
        self._sampling = sampling
        self._stride = 1
        self._kept: list[_Window] = []
        likely = int(likely_s * sampling.sample_rate_hz / sampling.hop) + 1
        room = min(likely, _rows_in(RESERVED_BYTES, sampling.window))
        self._rows = np.empty((room, sampling.window), np.float32)
        self._most_units = most_units(sampling)
        self._next = 0
        self._listener = Listener(sampling.hop)
        self._held: list[Samples] = []
        self._held_from = 0
        self._samples = 0
        self._weights = np.empty(0, np.float32)

    @property
    def samples(self) -> int:
        """Samples pushed so far."""
        return self._samples

    def push(self, sound: Samples, weights: Samples | None = None) -> None:
        """Add sound that follows the last one.

        Args:
            sound: Mono, shape ``(samples,)``; or a mix, then what it was mixed from, shape
                ``(1 + channels, samples)``.
            weights: Weight of each channel in the mix, shape ``(channels,)``.
        """
        if weights is not None:
            self._weights = max(self._weights, weights, key=len)
        self._held.append(np.atleast_2d(sound))
        self._samples += sound.shape[-1]
        if self._samples >= self._next * self._sampling.hop + self._sampling.window:
            self._cut()

    def _cut(self) -> None:
        hop, window = self._sampling.hop, self._sampling.window
        held = self._joined()
        while (start := self._next * hop) + window <= self._samples:
            offset = start - self._held_from
            self._keep(held[:, offset : offset + window])
            self._next += self._stride
            if self._too_many():
                self._halve()
        drop = min(max(self._next * hop - self._held_from, 0), held.shape[1])
        self._held = [held[:, drop:].copy()]
        self._held_from += drop

    def _joined(self) -> Samples:
        """What is held in one piece; a channel that is not always there is silent else."""
        rows = max(len(part) for part in self._held)
        return np.concatenate([_with_rows(part, rows) for part in self._held], axis=1)

    def _keep(self, sound: Samples) -> None:
        """Keep a window; what is shorter is repeated."""
        weights, start = self._weights[: len(sound) - 1], self._next * self._sampling.hop
        units, apart = self._listener.heard(sound[0], sound[1:], weights, start=start)
        row = _units(self._kept)
        if row + len(units) > len(self._rows):
            more = max(len(units), _rows_in(GROWTH_BYTES, self._sampling.window))
            # No other array shows the same memory before ``finish`` hands it out.
            self._rows.resize((len(self._rows) + more, self._sampling.window), refcheck=False)
        for to, unit in zip(self._rows[row:], units, strict=False):
            to[:] = np.resize(unit, to.shape) if len(unit) < len(to) else unit
        self._kept.append(_Window(number=self._next, row=row, units=len(units), apart=apart))

    def _keep_only(self, chosen: list[_Window]) -> None:
        """Drop all but the chosen ones, and close the gaps."""
        self._kept, row = [], 0
        for window in chosen:
            if row != window.row:
                self._rows[row : row + window.units] = self._rows[window.row :][: window.units]
            self._kept.append(replace(window, row=row))
            row += window.units

    def _too_many(self) -> bool:
        windows = len(self._kept)
        return (
            windows > 2 * self._sampling.max_windows or _units(self._kept) > 2 * self._most_units
        )

    def _chosen(self) -> list[_Window]:
        """The windows that are wanted; fewer if channels that are judged apart are too many."""
        wanted = self._sampling.max_windows
        chosen = [self._kept[i] for i in spread(len(self._kept), wanted)]
        while (units := _units(chosen)) > self._most_units:
            wanted = max(1, len(chosen) * self._most_units // units)
            chosen = [self._kept[i] for i in spread(len(self._kept), wanted)]
        return chosen

    def _halve(self) -> None:
        self._keep_only(self._kept[::2])
        self._stride *= 2
        self._next = self._kept[-1].number + self._stride

    def finish(self) -> tuple[Samples, NDArray[np.float64]]:
        """Return the windows, shape ``(n, window)``, and their starts in seconds, shape ``(n,)``.

        Sound shorter than a window is repeated up to it. Without any sound ``n`` is 0.
        """
        found = self.finish_apart()
        return found.units, found.starts_s[found.frame]

    def finish_apart(self) -> Heard:
        """Return the windows as ``finish`` does, with channels where they are judged apart.

        Nothing may be pushed any more: the units are not copied.
        """
        hop, rate_hz = self._sampling.hop, self._sampling.sample_rate_hz
        if self._samples and not self._kept:
            self._keep(self._joined())
        self._keep_only(self._chosen())
        kept = self._kept
        return Heard(
            units=self._rows[: _units(kept)],
            frame=np.repeat(np.arange(len(kept), dtype=np.int32), [w.units for w in kept]),
            starts_s=np.array([w.number * hop / rate_hz for w in kept]),
            apart=sum(w.apart for w in kept),
        )


def _units(windows: list[_Window]) -> int:
    """How many units windows have, and rows if they lie without gaps."""
    return sum(window.units for window in windows)


def _rows_in(size: int, window: int) -> int:
    """How many windows it takes to exceed ``size`` bytes."""
    return size // (4 * window) + 1


def _with_rows(part: Samples, rows: int) -> Samples:
    return part if len(part) == rows else np.pad(part, ((0, rows - len(part)), (0, 0)))
