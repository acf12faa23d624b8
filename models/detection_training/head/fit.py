"""Fitting a last layer: regularised logistic regression, its strength chosen by groups. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_training.metrics import Flags, Floats

STRENGTHS: Final = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Of the ridge, strongest first, for a loss that is a mean over both classes."""
FOLDS: Final = 3
MAX_STEPS: Final = 60
MAX_HALVINGS: Final = 30
ENOUGH: Final = 1e-7
FREE: Final = 1e-6
"""Ridge of the bias: next to none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A last layer of one output.

    Attributes:
        weight: Shape ``(d,)``.
        bias: Added to the product.
        strength: Of the ridge that was chosen.
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
        groups: Of each file; what is left out together.
        seed: Of the folds.
    """
    folds = _folds(groups, seed=seed)
    losses = np.zeros(len(STRENGTHS))
    for fold in range(FOLDS):
        out = folds == fold
        if not _both(is_fake[out]) or not _both(is_fake[~out]):
            continue
        lines = _path(features[~out], is_fake[~out])
        losses += [_loss(line.logits(features[out]), is_fake[out]) for line in lines]
    # Without a usable fold the strengths tie, and the strongest wins.
    best = int(np.argmin(losses))
    return _path(features, is_fake)[best]


def _folds(groups: Sequence[str], *, seed: int) -> NDArray[np.int64]:
    distinct = sorted(set(groups))
    dealt = np.random.default_rng(seed).permutation(len(distinct)) % FOLDS
    fold_of = dict(zip(distinct, dealt.tolist(), strict=True))
    return np.array([fold_of[group] for group in groups], dtype=np.int64)


def _both(is_fake: Flags) -> bool:
    return bool(is_fake.any() and not is_fake.all())


def _path(features: Floats, is_fake: Flags) -> list[Line]:
    """One layer for each strength, each started from the one before."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    # A ridge treats all directions alike, so the problem may be turned into the few directions
    # that the files span.
    u, s, turn = np.linalg.svd((features - mean) / spread, full_matrices=False)
    design = np.concatenate([u * s, np.ones((len(u), 1))], axis=1)
    theta = np.zeros(design.shape[1])
    lines = []
    for strength in STRENGTHS:
        theta = _newton(design, is_fake, theta, strength=strength)
        weight = (theta[:-1] @ turn) / spread
        bias = float(theta[-1] - weight @ mean)
        lines.append(Line(weight=weight, bias=bias, strength=strength))
    return lines


def _newton(design: Floats, is_fake: Flags, start: Floats, *, strength: float) -> Floats:
    """Newton's method with halved steps (Boyd and Vandenberghe 2004, section 9.5)."""
    weight = _class_weights(is_fake)
    ridge = np.full(design.shape[1], strength)
    ridge[-1] = FREE

    def cost(theta: Floats) -> float:
        return _loss(design @ theta, is_fake) + float(ridge @ np.square(theta)) / 2

    theta, now = start, cost(start)
    for _ in range(MAX_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -500, 500)))
        gradient = design.T @ (weight * (p - is_fake)) + ridge * theta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        for _halving in range(MAX_HALVINGS):
            if (then := cost(theta - step)) <= now:
                break
            step = step / 2
        else:
            return theta
        theta, gained, now = theta - step, now - then, then
        if gained < ENOUGH:
            break
    return theta


def _loss(logits: Floats, is_fake: Flags) -> float:
    """Mean log-loss in which both classes weigh the same."""
    signed = np.where(is_fake, logits, -logits)
    return float(_class_weights(is_fake) @ np.logaddexp(0, -signed))


def _class_weights(is_fake: Flags) -> Floats:
    fakes = int(is_fake.sum())
    return np.where(is_fake, 0.5 / max(fakes, 1), 0.5 / max(len(is_fake) - fakes, 1))
