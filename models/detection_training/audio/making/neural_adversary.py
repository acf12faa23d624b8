"""An adversary for the small vocoders: with it they err more as published ones do.

Spectral losses alone leave a buzz that is easily told from speech; a network that judges the sound
takes that away and leaves subtler traces.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

PERIODS: Final = (2, 3, 5, 7)
"""Distances of the samples that are seen side by side: primes, so that they share few (Kong et
al. 2020)."""
WIDTH: Final = 12
RATE: Final = 5e-4
FEATURES_WEIGHT: Final = 2.0
"""Weight of the distance between what real and made sound excite, as in HiFi-GAN."""


class PeriodDiscriminator(nn.Module):
    """Looks at sound folded to rows of ``period`` samples.

    Args:
        period: Samples of a row.
        width: Channels of the first layer.
    """

    def __init__(self, period: int, *, width: int = WIDTH) -> None:
        super().__init__()
        self.period = period
        sizes = (1, width, 2 * width, 4 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0)) for a, b in pairwise(sizes)
        )
        self.score = nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what each layer finds in sound ``(n, samples)``, the scores last."""
        x = functional.pad(x, (0, -x.shape[1] % self.period))
        y = x.view(len(x), 1, -1, self.period)
        found = []
        for layer in self.layers:
            y = functional.leaky_relu(layer(y), 0.1)
            found.append(y)
        return [*found, self.score(y)]


class Adversary:
    """Learns to tell copies from speech, and tells a vocoder how well it was deceived."""

    def __init__(self) -> None:
        self._judges = nn.ModuleList(PeriodDiscriminator(period) for period in PERIODS)
        self._optimiser = torch.optim.AdamW(self._judges.parameters(), lr=RATE, betas=(0.8, 0.99))

    def learn(self, made: Tensor, real: Tensor) -> None:
        """Take one step towards 1 for real and 0 for made (least squares; Mao et al. 2017)."""
        loss = made.new_zeros(())
        for judge in self._judges:
            loss = loss + (1 - judge(real)[-1]).square().mean()
            loss = loss + judge(made.detach())[-1].square().mean()
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()

    def loss(self, made: Tensor, real: Tensor) -> Tensor:
        """Return what the vocoder that made ``made`` has to lessen."""
        total = made.new_zeros(())
        for judge in self._judges:
            found = judge(made)
            with torch.no_grad():
                wanted = judge(real)
            total = total + (1 - found[-1]).square().mean()
            total = total + FEATURES_WEIGHT * _distance(found[:-1], wanted[:-1])
        return total / len(self._judges)


def _distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    parts = [(a - b).abs().mean() for a, b in zip(found, wanted, strict=True)]
    return torch.stack(parts).mean()
