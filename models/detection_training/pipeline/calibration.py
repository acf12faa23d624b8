"""From logits on the dev split to P(fake), and where a detector cannot tell. Pure."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from detection_training.metrics import Floats
from detection_worker.core.verdict import Calibration, Thresholds

FALSE_FAKE: Final = 0.02
"""Share of real dev items that may be called fake without doubt."""
FALSE_REAL: Final = 0.05
"""Share of fake dev items that may be called real without doubt."""
MIDDLE: Final = 0.5
FALSE_ALARMS: Final = 0.1
"""Share of real dev items that may score 0.5 or more."""
RIDGE: Final = 1e-4
"""Weight of the squared slope beside a loss that is a mean: keeps equal logits finite."""
LEAST_SLOPE: Final = 1e-3
"""A calibration never reverses the order of the logits."""
PRIORS: Final = tuple(round(0.05 * i, 2) for i in range(10, 0, -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What the dev split gives.

    Attributes:
        calibration: From logits to P(fake).
        thresholds: Between which P(fake) it cannot tell.
        prior: Share of fakes for which P(fake) is meant.
    """

    calibration: Calibration
    thresholds: Thresholds
    prior: float


def fit(real: Floats, fake: Floats) -> Fitted:
    """Return calibration and thresholds for the logits of dev items."""
    prior = choose_prior(real, fake)
    found = platt(real, fake, prior=prior)
    limits = thresholds(calibrated(real, found), calibrated(fake, found))
    return Fitted(calibration=found, thresholds=limits, prior=prior)


def choose_prior(real: Floats, fake: Floats) -> float:
    """Return the largest of ``PRIORS`` with at most ``FALSE_ALARMS`` on real items.

    Much of a photograph is out of focus or flat and shows no trace of anything; at even odds such
    pictures would be called fake as often as not.
    """
    for prior in PRIORS:
        scores = calibrated(real, platt(real, fake, prior=prior))
        if (scores >= MIDDLE).mean() <= FALSE_ALARMS:
            return prior
    return PRIORS[-1]


def calibrated(logits: Floats, calibration: Calibration) -> Floats:
    """Return P(fake) for pooled logits."""
    return np.asarray(1 / (1 + np.exp(-(calibration.a * logits + calibration.b))))


def platt(real: Floats, fake: Floats, *, prior: float) -> Calibration:
    """Return Platt's scaling, to four digits as it will be written.

    Args:
        real: Logits of real items.
        fake: Logits of fake items.
        prior: Share of fakes among the items to come, for which P(fake) is meant. The fit weighs
            both classes the same, and the offset moves by the log-odds of this share (Bayes).
    """
    a, b = fit_platt(real, fake)
    return Calibration(a=round(a, 4), b=round(b + math.log(prior / (1 - prior)), 4))


def fit_platt(real: Floats, fake: Floats) -> tuple[float, float]:
    """Return ``a > 0`` and ``b`` so that ``sigmoid(a * logit + b)`` is P(fake) at even odds.

    A logistic regression with both classes weighing the same and the softened targets of Platt
    1999, section 2.2: every item counts once as fake and once as real, each with its share.

    Args:
        real: Logits of real items, shape ``(n,)``, at least one.
        fake: Logits of fake items, shape ``(m,)``, at least one.
    """
    logits = np.concatenate([real, fake])
    target = np.repeat([1 / (len(real) + 2), 1 - 1 / (len(fake) + 2)], [len(real), len(fake)])
    weight = np.repeat([0.5 / len(real), 0.5 / len(fake)], [len(real), len(fake)])
    model = LogisticRegression(C=1 / RIDGE, tol=1e-7, max_iter=1000)
    model.fit(
        np.tile(logits, 2)[:, None],
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    return max(float(model.coef_[0, 0]), LEAST_SLOPE), float(model.intercept_[0])


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
