"""Numbers by which a detector is judged. Pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auc(real: Floats, fake: Floats) -> float:
    """Return the chance that a fake scores above a real one; ties count half (Mann-Whitney)."""
    both = np.concatenate([real, fake])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    wins = ranks[len(real) :].sum() - len(fake) * (len(fake) + 1) / 2
    return float(wins / (len(real) * len(fake)))


def eer(real: Floats, fake: Floats) -> float:
    """Return the equal error rate, interpolated between the two nearest thresholds."""
    thresholds = np.unique(np.concatenate([real, fake, [np.inf]]))
    false_alarms = (real[None, :] >= thresholds[:, None]).mean(axis=1)
    misses = (fake[None, :] < thresholds[:, None]).mean(axis=1)
    gap = false_alarms - misses
    i = int(np.argmax(gap <= 0))
    if i == 0:
        return float((false_alarms[0] + misses[0]) / 2)
    share = gap[i - 1] / (gap[i - 1] - gap[i])
    return float(false_alarms[i - 1] + share * (false_alarms[i] - false_alarms[i - 1]))


def calibration_error(scores: Floats, is_fake: Floats, *, bins: int = 15) -> float:
    """Return the expected calibration error over equal bins of the score (Guo et al. 2017)."""
    which = np.minimum((scores * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        chosen = which == b
        if chosen.any():
            error += chosen.mean() * abs(scores[chosen].mean() - is_fake[chosen].mean())
    return float(error)


def summary(real: Floats, fake: Floats) -> dict[str, float]:
    """Return the metrics of calibrated scores of real and fake items, each at least one."""
    scores = np.concatenate([real, fake])
    truth = np.concatenate([np.zeros(len(real)), np.ones(len(fake))])
    false_alarms = float((real >= 0.5).mean())
    hits = float((fake >= 0.5).mean())
    return {
        "n_real": len(real),
        "n_fake": len(fake),
        "auc": round(auc(real, fake), 4),
        "eer": round(eer(real, fake), 4),
        "accuracy_at_0.5": round(float(((scores >= 0.5) == truth).mean()), 4),
        "balanced_accuracy_at_0.5": round((1 - false_alarms + hits) / 2, 4),
        "fpr_at_0.5": round(false_alarms, 4),
        "tpr_at_0.5": round(hits, 4),
        "ece": round(calibration_error(scores, truth), 4),
    }


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return summaries by name as a Markdown table."""
    head = ("auc", "eer", "accuracy_at_0.5", "fpr_at_0.5", "tpr_at_0.5", "n_real", "n_fake")
    lines = [
        f"| | {' | '.join(h.replace('_', ' ').replace(' at ', ' @ ') for h in head)} |",
        f"| --- |{' ---: |' * len(head)}",
    ]
    for name, row in rows.items():
        cells = [f"{row[h]:.3f}" if not h.startswith("n_") else f"{row[h]:d}" for h in head]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fit_platt(real: Floats, fake: Floats, *, ridge: float = 1e-3) -> tuple[float, float]:
    """Return ``a > 0`` and ``b`` so that ``sigmoid(a * logit + b)`` is P(fake) at even odds.

    Newton's method on the logistic loss with both classes weighing the same and Platt's softened
    targets (Platt 1999, Lin et al. 2007).

    Args:
        real: Logits of real items, at least one.
        fake: Logits of fake items, at least one.
        ridge: Weight of ``(a - 1)^2 + b^2``, keeps separable sets finite.
    """
    x = np.concatenate([real, fake])
    target = np.concatenate(
        [np.full(len(real), 1 / (len(real) + 2)), np.full(len(fake), 1 - 1 / (len(fake) + 2))]
    )
    weight = np.concatenate(
        [np.full(len(real), 0.5 / len(real)), np.full(len(fake), 0.5 / len(fake))]
    )
    design = np.stack([x, np.ones_like(x)], axis=1)
    theta = np.array([1.0, 0.0])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -500, 500)))
        gradient = design.T @ (weight * (p - target)) + ridge * (theta - [1.0, 0.0])
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        theta = theta - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    return max(float(theta[0]), 1e-3), float(theta[1])
