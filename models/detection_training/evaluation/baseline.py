"""How well trivial features alone tell real from fake: a data set's own leak, not a detector.

If file size or silence gives the classes away, a detector may have learned that instead. The area
under the curve of this baseline should stay near 0.5.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detection_training import metrics
from detection_training.evaluation.intervals import DRAWS, SEED, Measure, Sample, measures
from detection_training.metrics import Flags, Floats

WARN_ABOVE: Final = 0.6
FOLDS: Final = 5
LEAST_GROUPS: Final = 10
"""Groups that each class needs: two in every fold."""
RIDGE: Final = 1.0
"""Penalty on standardised features: weak against tens of files, yet bounds separable sets."""
LOGARITHMIC: Final = frozenset(
    {"duration_s", "bytes_per_s", "bytes_per_px", "rolloff_hz", "width", "height"}
)
"""Ratios matter for these, not differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the trivial features achieve.

    Attributes:
        auc: Cross-validated, on files of groups that the fit did not see.
        features: Names used.
        single: AUC of each feature by itself, whichever way it points, so 0.5 or more; empty if
            a class is absent.
    """

    auc: Measure
    features: tuple[str, ...]
    single: Mapping[str, float]

    @property
    def leaks(self) -> bool:
        """Whether the classes differ in trivial ways more than they should."""
        return self.auc.value is not None and self.auc.value > WARN_ABOVE


def baseline(
    features: Sequence[Mapping[str, float]],
    codecs: Sequence[str],
    is_fake: Flags,
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Baseline:
    """Return the cross-validated AUC of a logistic regression on trivial features.

    Args:
        features: Numbers by name for each item; names that an item lacks count as the mean.
        codecs: One an item.
        is_fake: Truth, shape ``(n,)``.
        groups: Speaker, photograph or video of each item; never in two folds.
        draws: Bootstrap draws for the interval.
        seed: Seed of the folds and the bootstrap.
    """
    names = sorted({name for of in features for name in of})
    numbers = _numbers(features, names)
    used = (*names, *(["codec"] if len(set(codecs)) > 1 else []))
    both = bool(is_fake.any() and not is_fake.all())
    single = {n: _single(numbers[:, i], is_fake) for i, n in enumerate(names)} if both else {}
    counts = [len({g for g, f in zip(groups, is_fake, strict=True) if f == c}) for c in (0, 1)]
    if min(counts) < LEAST_GROUPS:
        reason = f"needs {LEAST_GROUPS} groups of each class, has {counts[0]} and {counts[1]}"
        return Baseline(auc=Measure(value=None, reason=reason), features=used, single=single)
    folds = group_folds(groups, is_fake, seed=seed)
    design = _design(numbers, codecs)
    ranks = np.zeros(len(is_fake))
    for fold in range(FOLDS):
        held = folds == fold
        mean, scale = _standard(design[~held])
        inputs = (design - mean) / scale
        weights = fit_logistic(inputs[~held], is_fake[~held])
        # Ranks, because the fits' offsets differ and would blur the common curve.
        ranks[held] = _ranks(_with_one(inputs[held]) @ weights)
    sample = Sample(scores=ranks, is_fake=is_fake, groups=groups)
    found = measures(sample, only=("auc",), draws=draws, seed=seed)["auc"]
    return Baseline(auc=found, features=used, single=single)


def group_folds(groups: Sequence[str], is_fake: Flags, *, seed: int) -> NDArray[np.int64]:
    """Return the fold of each item, 0 to ``FOLDS`` - 1; a group lies in one.

    Groups are dealt out by their share of fakes, so that every fold has about the same.
    """
    names, of_item = np.unique(np.array(groups), return_inverse=True)
    sizes = np.bincount(of_item)
    share = np.bincount(of_item, weights=is_fake) / sizes
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(share[shuffled], kind="stable")]
    fold_of_group = np.empty(len(names), np.int64)
    fold_of_group[order] = np.arange(len(names)) % FOLDS
    found: NDArray[np.int64] = fold_of_group[of_item]
    return found


def fit_logistic(inputs: Floats, is_fake: Flags, *, ridge: float = RIDGE) -> Floats:
    """Return the weights of a logistic regression, the last one for the constant.

    With a ridge on all but the constant; both classes weigh the same.

    Args:
        inputs: Standardised, shape ``(n, k)``.
        is_fake: Shape ``(n,)``, with both classes.
        ridge: Penalty, > 0.
    """
    model = LogisticRegression(C=1 / ridge, class_weight="balanced", tol=1e-7, max_iter=1000)
    model.fit(inputs, is_fake)
    return np.append(model.coef_[0], model.intercept_)


def _numbers(features: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats:
    table = np.array(
        [[of.get(name, math.nan) for name in names] for of in features], np.float64
    ).reshape(len(features), len(names))
    for i, name in enumerate(names):
        if name in LOGARITHMIC:
            table[:, i] = np.log(np.maximum(table[:, i], 1e-6))
        known = table[:, i][np.isfinite(table[:, i])]
        table[:, i] = np.nan_to_num(table[:, i], nan=known.mean() if len(known) else 0.0)
    return table


def _design(numbers: Floats, codecs: Sequence[str]) -> Floats:
    """Numbers, their squares (a class may lie in the middle), and one column a codec."""
    mean, scale = _standard(numbers)
    standard = (numbers - mean) / scale
    known = sorted(set(codecs))
    dummies = np.array([[codec == name for name in known] for codec in codecs], np.float64)
    return np.concatenate([standard, np.square(standard), dummies], axis=1)


def _standard(values: Floats) -> tuple[Floats, Floats]:
    spread = values.std(axis=0)
    return values.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)


def _with_one(inputs: Floats) -> Floats:
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)


def _ranks(values: Floats) -> Floats:
    """Ranks from 0 to 1; equal values share the lowest."""
    rounded = np.round(values, 9)
    return np.searchsorted(np.sort(rounded), rounded) / max(len(values), 1)


def _single(values: Floats, is_fake: Flags) -> float:
    found = metrics.auc(values[~is_fake], values[is_fake])
    return max(found, 1 - found)
