"""Windows of a stream of sound whose length nobody knows yet. Pure arithmetic."""

import numpy as np
from numpy.typing import NDArray

from detection_worker.core.sampling import AudioSampling, spread

Samples = NDArray[np.float32]


class Windows:
    """Keeps windows spread over all the sound pushed, in memory that does not grow with it.

    Every window is kept until there are twice as many as wanted; then every other one is dropped
    and only every other one is kept from there on, and so forth.
    """

    def __init__(self, sampling: AudioSampling) -> None:
        self._sampling = sampling
        self._stride = 1
        self._kept: list[tuple[int, Samples]] = []
        self._next = 0
        self._held: list[Samples] = []
        self._held_from = 0
        self._samples = 0

    @property
    def samples(self) -> int:
        """Samples pushed so far."""
        return self._samples

    def push(self, sound: Samples) -> None:
        """Add mono samples that follow the last ones."""
        self._held.append(sound)
        self._samples += len(sound)
        if self._samples >= self._next * self._sampling.hop + self._sampling.window:
            self._cut()

    def _cut(self) -> None:
        hop, window = self._sampling.hop, self._sampling.window
        held = np.concatenate(self._held)
        while (start := self._next * hop) + window <= self._samples:
            offset = start - self._held_from
            self._kept.append((self._next, held[offset : offset + window].copy()))
            self._next += self._stride
            if len(self._kept) > 2 * self._sampling.max_windows:
                self._halve()
        drop = min(max(self._next * hop - self._held_from, 0), len(held))
        self._held = [held[drop:].copy()]
        self._held_from += drop

    def _halve(self) -> None:
        self._kept = self._kept[::2]
        self._stride *= 2
        self._next = self._kept[-1][0] + self._stride

    def finish(self) -> tuple[Samples, NDArray[np.float64]]:
        """Return the windows, shape ``(n, window)``, and their starts in seconds, shape ``(n,)``.

        Sound shorter than a window is repeated up to it. Without any sound ``n`` is 0.
        """
        window, rate_hz = self._sampling.window, self._sampling.sample_rate_hz
        if not self._samples:
            return np.empty((0, window), dtype=np.float32), np.empty(0)
        if not self._kept:
            sound = np.concatenate(self._held)
            return np.resize(sound, (1, window)), np.zeros(1)
        chosen = [self._kept[i] for i in spread(len(self._kept), self._sampling.max_windows)]
        starts = np.array([k for k, _ in chosen], dtype=np.float64) * self._sampling.hop
        return np.stack([w for _, w in chosen]), starts / rate_hz
