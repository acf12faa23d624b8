"""Scores in another precision: within a hundredth, with the same labels and verdicts."""

import pytest

from detection_worker.core.golden import compare_scores
from detection_worker.core.verdict import Calibration, Pooling, Thresholds


@pytest.mark.parametrize(
    ("exact", "other", "change"),
    [
        ([0.0, 2.0], [0.0, 2.0], (0.0, 0, True)),
        ([2.0], [2.05], (0.0052, 0, True)),
        ([2.0], [3.0], (0.0718, 0, False)),
        ([0.001], [-0.001], (0.0005, 1, False)),
        ([-1.39], [-1.38], (0.0016, 1, False)),
        ([2.0, 3.0], [float("nan"), 3.0], (1.0, 2, False)),
        ([], [], (0.0, 0, False)),
    ],
)
def test_scores_hold_within_a_hundredth_and_without_flips(
    exact: list[float], other: list[float], change: tuple[float, int, bool]
) -> None:
    found = compare_scores(
        exact,
        other,
        pooling=Pooling(),
        calibration=Calibration(),
        thresholds=Thresholds(fake=0.5, low=0.2, high=0.8),
    )

    assert found.delta == pytest.approx(change[0], abs=1e-4)
    assert (found.flips, found.holds) == change[1:]
