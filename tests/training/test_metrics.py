import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from detection_training import metrics

SCORES = arrays.arrays(
    np.float64, st.integers(1, 30), elements=st.floats(0, 1, allow_nan=False, width=16)
)


@given(SCORES, SCORES)
def test_auc_is_the_share_of_pairs_in_the_right_order(
    real: metrics.Floats, fake: metrics.Floats
) -> None:
    pairs = [(f > r) + 0.5 * (f == r) for r in real for f in fake]

    assert metrics.auc(real, fake) == pytest.approx(np.mean(pairs))


@given(SCORES, SCORES)
def test_swapping_the_classes_mirrors_auc(real: metrics.Floats, fake: metrics.Floats) -> None:
    assert metrics.auc(real, fake) == pytest.approx(1 - metrics.auc(fake, real))


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        pytest.param([0.1, 0.2], [0.8, 0.9], 0.0, id="apart"),
        pytest.param([0.8, 0.9], [0.1, 0.2], 1.0, id="the wrong way round"),
        pytest.param([0.1, 0.2, 0.3, 0.7], [0.25, 0.8, 0.85, 0.9], 0.25, id="one in four"),
    ],
)
def test_equal_error_rate(real: list[float], fake: list[float], expected: float) -> None:
    assert metrics.eer(np.array(real), np.array(fake)) == pytest.approx(expected)


@given(SCORES, SCORES)
def test_equal_error_rate_is_a_rate(real: metrics.Floats, fake: metrics.Floats) -> None:
    assert 0 <= metrics.eer(real, fake) <= 1


def test_platt_scaling_recovers_a_known_curve() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    fake = rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * logits - 0.5)))

    a, b = metrics.fit_platt(logits[~fake], logits[fake])

    odds = np.log(fake.mean() / (1 - fake.mean()))
    assert a == pytest.approx(1.5, abs=0.1)
    # Fitted at even odds: the prior of the sample is taken out.
    assert b == pytest.approx(-0.5 - odds, abs=0.1)


@given(SCORES, SCORES)
def test_platt_scaling_never_turns_the_order_round(
    real: metrics.Floats, fake: metrics.Floats
) -> None:
    a, b = metrics.fit_platt(real * 20 - 10, fake * 20 - 10)

    assert a > 0
    assert np.isfinite([a, b]).all()


def test_calibration_error_of_honest_scores_is_small() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(50_000)
    truth = (rng.random(50_000) < scores).astype(float)

    assert metrics.calibration_error(scores, truth) < 0.02
    assert metrics.calibration_error(scores, 1 - truth) > 0.3


def test_a_summary_counts_alarms_and_hits_at_one_half() -> None:
    row = metrics.summary(np.array([0.1, 0.6]), np.array([0.5, 0.4, 0.9, 0.8]))

    assert (row["fpr_at_0.5"], row["tpr_at_0.5"]) == (0.5, 0.75)
    assert (row["n_real"], row["n_fake"]) == (2, 4)
    assert row["accuracy_at_0.5"] == pytest.approx(4 / 6, abs=1e-4)
    assert "| x | " in metrics.table({"x": row})
