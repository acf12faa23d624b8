import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_training.evaluation.intervals import (
    Sample,
    bootstrap_weights,
    measures,
    share,
    wilson,
)
from detection_training.metrics import Floats


def sample(real: list[float], fake: list[float], groups: list[str] | None = None) -> Sample:
    count = len(real) + len(fake)
    return Sample(
        scores=np.array([*real, *fake], np.float64),
        is_fake=np.array([False] * len(real) + [True] * len(fake), np.bool_),
        groups=groups or [str(i) for i in range(count)],
    )


def drawn(rng: np.random.Generator, *, groups: int, each: int) -> Sample:
    """Real and fake items whose scores lie near those of their group."""
    of_group = rng.normal(0, 1.5, groups)
    number = np.repeat(np.arange(groups), each)
    is_fake = number % 2 == 1
    logits = of_group[number] + 0.1 * rng.normal(size=len(number)) + is_fake
    return Sample(
        scores=1 / (1 + np.exp(-logits)), is_fake=is_fake, groups=[str(n) for n in number]
    )


def test_every_metric_of_a_common_sample_has_a_value_inside_its_interval() -> None:
    found = measures(drawn(np.random.default_rng(0), groups=60, each=40))

    for name, measure in found.items():
        assert measure.value is not None, name
        assert measure.low is not None, name
        assert measure.high is not None, name
        assert measure.low <= measure.value <= measure.high, name
        assert measure.reason is None


def test_a_seed_gives_the_same_interval_twice() -> None:
    items = drawn(np.random.default_rng(1), groups=20, each=3)

    assert measures(items) == measures(items)
    assert measures(items)["auc"] != measures(items, seed=1)["auc"]


def test_files_of_few_speakers_give_wider_intervals_than_files_of_many() -> None:
    rng = np.random.default_rng(2)
    by_speaker = drawn(rng, groups=20, each=50)
    by_file = Sample(
        scores=by_speaker.scores,
        is_fake=by_speaker.is_fake,
        groups=[str(i) for i in range(len(by_speaker.scores))],
    )

    honest, narrow = measures(by_speaker)["auc"], measures(by_file)["auc"]

    assert honest.value == narrow.value
    assert honest.high is not None
    assert honest.low is not None
    assert narrow.high is not None
    assert narrow.low is not None
    assert honest.high - honest.low > 3 * (narrow.high - narrow.low)


@pytest.mark.slow
def test_the_interval_covers_the_true_value_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    truth = measures(drawn(rng, groups=20_000, each=1), draws=0)["auc"].value
    assert truth is not None

    covered = 0
    for _ in range(100):
        found = measures(drawn(rng, groups=60, each=5), draws=300)["auc"]
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high

    assert covered >= 85


@pytest.mark.parametrize(
    ("items", "name", "reason"),
    [
        pytest.param(sample([], []), "auc", "no real files", id="nothing at all"),
        pytest.param(sample([], [0.5]), "auc", "no real files", id="fakes only"),
        pytest.param(sample([0.5], []), "eer", "no fake files", id="real only"),
        pytest.param(sample([], [0.5]), "false_alarm_rate", "no real files", id="no alarms"),
        pytest.param(sample([0.5], []), "detection_rate", "no fake files", id="no detections"),
        pytest.param(
            sample([0.1] * 99, [0.9]), "tpr_at_fpr_1pct", "needs 100 real files, has 99", id="1 %"
        ),
        pytest.param(
            sample([0.1] * 999, [0.9]),
            "tpr_at_fpr_0.1pct",
            "needs 1000 real files, has 999",
            id="0.1 %",
        ),
    ],
)
def test_a_number_that_is_not_defined_is_null_with_the_reason(
    items: Sample, name: str, reason: str
) -> None:
    found = measures(items)[name]

    assert (found.value, found.low, found.high, found.reason) == (None, None, None, reason)


@pytest.mark.parametrize(
    ("items", "value", "reason"),
    [
        pytest.param(sample([0.1], [0.9]), 1.0, "one group", id="one of each"),
        pytest.param(sample([0.5] * 9, [0.5] * 9), 0.5, "same number", id="nothing but ties"),
        pytest.param(
            sample([0.1, 0.4], [0.3, 0.9], ["a", "b", "c", "c"]), 0.75, "one group", id="one voice"
        ),
        pytest.param(sample([0.1, 0.4], [0.3, 0.9]), 0.75, "from 2 groups", id="four files"),
    ],
)
def test_a_value_without_an_interval_says_why(items: Sample, value: float, reason: str) -> None:
    found = measures(items)["auc"]

    assert found.value == value
    assert (found.low, found.high) == (None, None)
    assert reason in str(found.reason)


@pytest.mark.parametrize("count", [20, 30, 37, 50, 70, 90])
@pytest.mark.parametrize("name", ["auc", "average_precision", "balanced_accuracy", "eer"])
def test_classes_without_overlap_have_no_interval_whatever_rounding_does(
    name: str, count: int
) -> None:
    rng = np.random.default_rng(count)
    apart = sample(rng.uniform(0, 0.3, count).tolist(), rng.uniform(0.7, 1, count + 7).tolist())

    found = measures(apart)[name]

    assert found.value == pytest.approx(0.0 if name == "eer" else 1.0, abs=1e-9)
    assert (found.low, found.high) == (None, None)
    assert found.reason == "no interval: every draw gives the same number"


def test_a_rate_of_zero_still_has_an_upper_end() -> None:
    found = measures(sample([0.1] * 12, [0.9] * 12))["false_alarm_rate"]

    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.2425, abs=1e-4)  # 0 of 12 by Wilson


def test_wilson_gives_the_textbook_interval() -> None:
    # Newcombe 1998, table I, method 3.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_of_a_share_between_two_counts_is_the_hull_of_theirs() -> None:
    low, high = wilson(0.5, 7)

    assert low == wilson(3 / 7, 7)[0]
    assert high == wilson(4 / 7, 7)[1]
    assert wilson(1.0, 7) == pytest.approx((0.645670, 1.0), abs=1e-6)


def test_a_share_is_drawn_by_group() -> None:
    alarms = np.array([True] * 10 + [False] * 30)
    by_eight = share(alarms, [str(i // 5) for i in range(40)])  # two groups of alarms alone

    assert by_eight.value == 0.25
    assert by_eight.low == 0.0
    assert by_eight.high is not None
    assert by_eight.high >= 0.5
    assert share(alarms, ["one"] * 40).reason == "no interval from one group"
    assert share(np.zeros(0, np.bool_), []).reason == "no files"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 40))
def test_items_of_one_group_are_always_drawn_together(numbers: list[int], draws: int) -> None:
    codes = np.unique(numbers, return_inverse=True)[1].astype(np.int64)

    weights: Floats = np.concatenate(list(bootstrap_weights(codes, draws=draws, seed=0)))

    assert weights.shape == (draws, len(codes))
    for code in set(codes.tolist()):
        of_group = weights[:, codes == code]
        assert (of_group == of_group[:, :1]).all()
    _, first = np.unique(codes, return_index=True)
    assert (weights[:, first].sum(axis=1) == len(first)).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), max_size=8),
    st.lists(st.floats(0, 1), max_size=8),
    st.integers(1, 4),
)
def test_no_sample_crashes_or_yields_a_number_that_is_not_finite(
    real: list[float], fake: list[float], groups: int
) -> None:
    names = [str(i % groups) for i in range(len(real) + len(fake))]

    for measure in measures(sample(real, fake, names), draws=20).values():
        numbers = [x for x in (measure.value, measure.low, measure.high) if x is not None]
        assert np.isfinite(numbers).all()
        assert len(numbers) == 3 or measure.reason


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.1])
def test_a_score_out_of_range_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        sample([score], [0.5])
