"""From logits on the dev split to P(fake), and where a detector cannot tell. Pure."""

from typing import Final

import numpy as np

from detection_training import metrics
from detection_training.metrics import Floats
from detection_worker.core.verdict import Calibration, Thresholds

FALSE_FAKE: Final = 0.02
"""Share of real dev items that may be called fake without doubt."""
FALSE_REAL: Final = 0.05
"""Share of fake dev items that may be called real without doubt."""
MIDDLE: Final = 0.5


def platt(real: Floats, fake: Floats) -> Calibration:
    """Return Platt's scaling, fitted at even odds, to four digits as it will be written."""
    a, b = metrics.fit_platt(real, fake)
    return Calibration(a=round(a, 4), b=round(b, 4))


def thresholds(real: Floats, fake: Floats) -> Thresholds:
    """Return the scores between which a detector cannot tell.

    Args:
        real: P(fake) of real items.
        fake: P(fake) of fake items.

    Returns:
        ``high``: lowest score from 0.5 on that at most ``FALSE_FAKE`` of the real items reach.
        ``low``: highest score up to 0.5 that at most ``FALSE_REAL`` of the fakes stay at or below.
    """
    high = max(MIDDLE, float(np.quantile(real, 1 - FALSE_FAKE)))
    low = min(MIDDLE, float(np.quantile(fake, FALSE_REAL)))
    return Thresholds(
        fake=MIDDLE,
        low=float(np.floor(low * 1000) / 1000),
        high=float(np.ceil(high * 1000) / 1000),
    )
