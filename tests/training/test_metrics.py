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


def spread_scores() -> tuple[metrics.Floats, metrics.Flags]:
    """Return 400 scores and truths, more of which are fake the higher the score."""
    i = np.arange(400)
    scores = i * 7919 % 1009 / 1009
    return scores, i * 104_729 % 997 / 997 < scores


SMALL = {
    "overlapping": ([0.05, 0.1, 0.2, 0.35, 0.4, 0.8], [0.15, 0.45, 0.6, 0.7, 0.95]),
    "tied": ([0.1, 0.1, 0.3, 0.5, 0.5, 0.7], [0.3, 0.5, 0.5, 0.7, 0.7, 0.9, 0.9]),
    "inverted": ([0.6, 0.9, 0.7, 0.3], [0.2, 0.4, 0.5]),
}


@pytest.mark.parametrize(
    ("name", "auc", "average_precision", "eer", "hits_at_25", "log_loss", "brier"),
    [
        ("overlapping", 0.7666666667, 0.7544444444, 0.2, 0.8, 0.5950241233, 0.2047727273),
        (
            "tied",
            0.7976190476,
            0.7956709957,
            0.3076923077,
            0.5714285714,
            0.5132308635,
            0.176153846,
        ),
        ("inverted", 0.1666666667, 0.3595238095, 0.75, 0.0, 1.1426284854, 0.4285714286),
    ],
)
def test_metrics_agree_with_scikit_learn(
    name: str,
    auc: float,
    average_precision: float,
    eer: float,
    hits_at_25: float,
    log_loss: float,
    brier: float,
) -> None:
    """The numbers are those of scikit-learn 1.9.1; the EER is from its ROC curve by SciPy."""
    real, fake = (np.array(side) for side in SMALL[name])
    scores = np.concatenate([real, fake])
    is_fake = np.arange(len(scores)) >= len(real)
    once = np.ones((1, len(scores)))
    at = metrics.curve(scores, is_fake)

    assert metrics.curve_auc(at)[0] == pytest.approx(auc)
    assert metrics.curve_average_precision(at)[0] == pytest.approx(average_precision)
    assert metrics.curve_eer(at)[0] == pytest.approx(eer)
    assert metrics.curve_hit_rate_at(at, false_alarm_rate=0.25)[0] == pytest.approx(hits_at_25)
    assert metrics.log_loss(scores, is_fake, once)[0] == pytest.approx(log_loss)
    assert metrics.brier(scores, is_fake, once)[0] == pytest.approx(brier)


def test_weighted_metrics_agree_with_scikit_learn_row_by_row() -> None:
    scores, is_fake = spread_scores()
    weights = np.stack([np.ones(400), 1 + np.arange(400) % 3]).astype(np.float64)

    at = metrics.curve(scores, is_fake, weights)

    assert metrics.curve_auc(at) == pytest.approx([0.8402360944, 0.8409341624])
    assert metrics.curve_average_precision(at) == pytest.approx([0.8439740717, 0.8400953033])
    assert metrics.log_loss(scores, is_fake, weights) == pytest.approx(
        [0.4893277158, 0.4890560336]
    )
    assert metrics.brier(scores, is_fake, weights) == pytest.approx([0.1632352951, 0.1629246156])
    rates = [
        metrics.alarm_rate(scores, chosen, weights, threshold=0.5)
        for chosen in (is_fake, ~is_fake)
    ]
    assert (rates[0] + 1 - rates[1]) / 2 == pytest.approx([0.7600040016, 0.7623539588])
    assert metrics.curve_eer(at)[0] == pytest.approx(0.2401960784)
    assert metrics.curve_hit_rate_at(at, false_alarm_rate=0.01)[0] == pytest.approx(0.1715686275)
    assert metrics.curve_hit_rate_at(at, false_alarm_rate=0.1)[0] == pytest.approx(0.5392156863)
    ece = metrics.expected_calibration_error(scores, is_fake, weights)
    assert ece[0] == pytest.approx(0.0492145689)  # summed bin by bin in plain Python


@given(SCORES, SCORES, st.integers(2, 5))
def test_counting_items_several_times_is_the_same_as_repeating_them(
    real: metrics.Floats, fake: metrics.Floats, times: int
) -> None:
    scores = np.concatenate([real, fake])
    is_fake = np.arange(len(scores)) >= len(real)
    weights = np.where(np.arange(len(scores)) % 2, times, 1.0)[None]
    repeats = weights[0].astype(int)

    weighted = metrics.curve(scores, is_fake, weights)
    repeated = metrics.curve(np.repeat(scores, repeats), np.repeat(is_fake, repeats))

    for number in (metrics.curve_auc, metrics.curve_eer, metrics.curve_average_precision):
        assert number(weighted)[0] == pytest.approx(number(repeated)[0])


@given(SCORES, SCORES)
def test_ranking_metrics_do_not_change_when_scores_are_stretched(
    real: metrics.Floats, fake: metrics.Floats
) -> None:
    squared_real, squared_fake = real.astype(np.float64) ** 3, fake.astype(np.float64) ** 3

    assert metrics.auc(squared_real, squared_fake) == pytest.approx(metrics.auc(real, fake))
    assert metrics.eer(squared_real, squared_fake) == pytest.approx(metrics.eer(real, fake))


@given(SCORES, SCORES)
def test_equal_error_rate_treats_the_classes_alike(
    real: metrics.Floats, fake: metrics.Floats
) -> None:
    assert metrics.eer(1 - fake, 1 - real) == pytest.approx(metrics.eer(real, fake))


def test_an_absent_class_gives_nan_and_no_warning() -> None:
    scores, fakes = np.array([0.2, 0.7]), np.array([True, True])

    at = metrics.curve(scores, fakes)

    for number in (metrics.curve_auc, metrics.curve_eer, metrics.curve_average_precision):
        assert np.isnan(number(at)[0])
    assert np.isnan(metrics.curve_hit_rate_at(at, false_alarm_rate=0.01)[0])
    assert np.isnan(metrics.alarm_rate(scores, ~fakes, np.ones((1, 2)), threshold=0.5)[0])
