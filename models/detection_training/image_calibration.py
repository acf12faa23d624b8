"""From logits on the dev split to P(fake), and where a detector cannot tell. Pure."""

import math
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
PRIOR: Final = 0.2
"""One fake in five. Much of a photograph is out of focus or flat and shows no trace of anything;
at even odds such pictures would be called fake as often as not."""


def platt(real: Floats, fake: Floats, *, prior: float = PRIOR) -> Calibration:
    """Return Platt's scaling, to four digits as it will be written.

    Args:
        real: Logits of real items.
        fake: Logits of fake items.
        prior: Share of fakes among the items to come, for which P(fake) is meant. The fit weighs
            both classes the same, and the offset moves by the log-odds of this share (Bayes).
    """
    a, b = metrics.fit_platt(real, fake)
    return Calibration(a=round(a, 4), b=round(b + math.log(prior / (1 - prior)), 4))


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
