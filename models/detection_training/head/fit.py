"""Fitting a last layer: regularised logistic regression, its strength chosen by groups. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils.class_weight import compute_sample_weight

from detection_training.metrics import Flags, Floats

STRENGTHS: Final = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths of the ridge, strongest first, for a loss that is a mean over both classes."""
FOLDS: Final = 3
LEAST_SPREAD: Final = 1e-6
"""Added to each feature's standard deviation: one that hardly varies is not blown up."""
MAX_STEPS: Final = 5_000
ENOUGH: Final = 1e-7
"""Largest gradient at which the fit ends."""

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A last layer of one output.

    Attributes:
        weight: Shape ``(d,)``.
        bias: Added to the product.
        strength: Strength of the ridge that was chosen.
    """

    weight: Floats
    bias: float
    strength: float

    def logits(self, features: Floats) -> Floats:
        """Return the log-odds of fake, ``(n,)``, for features ``(n, d)``."""
        found: Floats = features @ self.weight + self.bias
        return found


def fit(features: Floats, is_fake: Flags, groups: Sequence[str], *, seed: int) -> Line:
    """Return the layer; both classes weigh the same, however many files they have.

    The strength is the one of ``STRENGTHS`` with the lowest log-loss on groups left out.

    Args:
        features: Shape ``(n, d)``, finite.
        is_fake: Truth, shape ``(n,)``; both classes are there.
        groups: Group of each file; a group is left out as a whole.
        seed: Seed of the folds.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0) + LEAST_SPREAD
    inputs = (features - mean) / spread
    strength = _strength(inputs, is_fake, _folds(is_fake, groups, seed=seed))
    model = _regression(strength, files=len(inputs)).fit(inputs, is_fake)
    weight: Floats = model.coef_[0] / spread
    return Line(weight=weight, bias=float(model.intercept_[0] - weight @ mean), strength=strength)


def _folds(is_fake: Flags, groups: Sequence[str], *, seed: int) -> list[tuple[Rows, Rows]]:
    """Return the rows to fit and to score of each fold in which both have both classes."""
    if len(set(groups)) < FOLDS:
        return []
    dealt = GroupKFold(FOLDS, shuffle=True, random_state=seed).split(is_fake, groups=groups)
    return [
        (fitted, out) for fitted, out in dealt if _both(is_fake[fitted]) and _both(is_fake[out])
    ]


def _both(is_fake: Flags) -> bool:
    return bool(is_fake.any() and not is_fake.all())


def _strength(inputs: Floats, is_fake: Flags, folds: Sequence[tuple[Rows, Rows]]) -> float:
    if not folds:
        return STRENGTHS[0]
    files = len(folds[0][0])
    penalties = [_regression(strength, files=files).C for strength in STRENGTHS]
    search = GridSearchCV(
        _regression(STRENGTHS[0], files=files),
        {"C": penalties},
        scoring=_score,
        cv=folds,
        refit=False,
    )
    search.fit(inputs, is_fake)
    # The first of equals is the strongest.
    return STRENGTHS[int(np.argmax(search.cv_results_["mean_test_score"]))]


def _regression(strength: float, *, files: int) -> LogisticRegression:
    """Return a regression whose ridge has this strength beside a mean over this many files."""
    return LogisticRegression(
        C=1 / (strength * files), class_weight="balanced", tol=ENOUGH, max_iter=MAX_STEPS
    )


def _score(model: LogisticRegression, inputs: Floats, is_fake: Flags) -> float:
    """Return the negative log-loss in which both classes weigh the same."""
    weight = compute_sample_weight("balanced", is_fake)
    return -float(log_loss(is_fake, model.predict_proba(inputs), sample_weight=weight))
