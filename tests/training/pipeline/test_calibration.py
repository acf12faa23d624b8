import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from detection_training.metrics import Floats
from detection_training.pipeline.calibration import fit_platt

LOGITS = st_numpy.arrays(np.float64, st.integers(1, 30), elements=st.floats(-10, 10))


def test_platt_scaling_recovers_a_known_curve() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    fake = rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * logits - 0.5)))

    a, b = fit_platt(logits[~fake], logits[fake])

    odds = np.log(fake.mean() / (1 - fake.mean()))
    assert a == pytest.approx(1.5, abs=0.1)
    # Fitted at even odds: the prior of the sample is taken out.
    assert b == pytest.approx(-0.5 - odds, abs=0.1)


@settings(max_examples=40, deadline=None)  # the first call of a process loads what it needs
@given(LOGITS, LOGITS)
def test_platt_scaling_never_turns_the_order_round(real: Floats, fake: Floats) -> None:
    a, b = fit_platt(real, fake)

    assert a > 0
    assert np.isfinite([a, b]).all()


@pytest.mark.parametrize(
    ("seed", "counts", "distance", "spread", "slope", "offset"),
    [
        pytest.param(0, (40, 60), 2.0, 1.0, 2.2531, 0.1823, id="few"),
        pytest.param(1, (300, 300), 0.5, 1.0, 0.6866, 0.0307, id="overlapping"),
        pytest.param(2, (12, 200), 6.0, 0.5, 1.2521, 1.0386, id="apart"),
        pytest.param(3, (1000, 50), 1.0, 4.0, 0.0204, -0.0323, id="lopsided"),
    ],
)
def test_the_fit_is_that_of_newtons_method_on_the_same_loss(
    seed: int,
    counts: tuple[int, int],
    distance: float,
    spread: float,
    slope: float,
    offset: float,
) -> None:
    """Numbers of an independent fit, whose ridge of 1e-3 pulled towards the logit itself."""
    rng = np.random.default_rng(seed)
    real, fake = (
        rng.normal(middle, spread, count)
        for middle, count in zip((-distance / 2, distance / 2), counts, strict=True)
    )

    a, b = fit_platt(real, fake)

    logits = np.linspace(-6, 6, 100)
    expected, found = (1 / (1 + np.exp(-(m * logits + c))) for m, c in ((slope, offset), (a, b)))
    assert np.abs(found - expected).max() < 0.015
    assert a == pytest.approx(slope, rel=0.02)
