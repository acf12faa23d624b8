"""Windows of a stream of sound of unknown length. Pure arithmetic."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection_worker.core.channels import heard
from detection_worker.core.sampling import AudioSampling, most_units, spread

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Window:
    number: int
    units: Samples
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
    """

    def __init__(self, sampling: AudioSampling) -> None:
        self._sampling = sampling
        self._stride = 1
        self._kept: list[_Window] = []
        self._most_units = most_units(sampling)
        self._next = 0
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
            self._kept.append(self._window(held[:, offset : offset + window]))
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

    def _window(self, rows: Samples) -> _Window:
        units, apart = heard(rows[0], rows[1:], self._weights[: len(rows) - 1])
        return _Window(number=self._next, units=units.copy(), apart=apart)

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
        self._kept = self._kept[::2]
        self._stride *= 2
        self._next = self._kept[-1].number + self._stride

    def finish(self) -> tuple[Samples, NDArray[np.float64]]:
        """Return the windows, shape ``(n, window)``, and their starts in seconds, shape ``(n,)``.

        Sound shorter than a window is repeated up to it. Without any sound ``n`` is 0.
        """
        found = self.finish_apart()
        return found.units, found.starts_s[found.frame]

    def finish_apart(self) -> Heard:
        """Return the windows as ``finish`` does, with channels where they are judged apart."""
        window, rate_hz = self._sampling.window, self._sampling.sample_rate_hz
        chosen = self._chosen()
        if self._samples and not chosen:
            whole = self._window(self._joined())
            repeated = np.stack([np.resize(sound, window) for sound in whole.units])
            chosen = [_Window(number=0, units=repeated, apart=whole.apart)]
        empty = np.empty((0, window), np.float32)
        counts = [len(w.units) for w in chosen]
        return Heard(
            units=np.concatenate([empty, *(w.units for w in chosen)]),
            frame=np.repeat(np.arange(len(chosen), dtype=np.int32), counts),
            starts_s=np.array([w.number * self._sampling.hop / rate_hz for w in chosen]),
            apart=sum(w.apart for w in chosen),
        )


def _units(windows: list[_Window]) -> int:
    return sum(len(window.units) for window in windows)


def _with_rows(part: Samples, rows: int) -> Samples:
    return part if len(part) == rows else np.pad(part, ((0, rows - len(part)), (0, 0)))
