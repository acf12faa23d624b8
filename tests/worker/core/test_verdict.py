"""From logits to a label."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.sampling import spread
from detection_worker.core.verdict import (
    Calibration,
    Pooling,
    Thresholds,
    band,
    find,
    judge,
    margin,
    sigmoid,
)

MEAN = Pooling()
IDENTITY = Calibration()
BAND = Thresholds(fake=0.5, low=0.3, high=0.7)


def test_a_score_at_the_threshold_is_fake() -> None:
    verdict = judge([0.0], [0], pooling=MEAN, calibration=IDENTITY, threshold=0.5)

    assert (verdict.score, verdict.label, verdict.confidence) == (0.5, "FAKE", 0.5)


def test_confidence_is_that_of_the_label() -> None:
    verdict = judge([-2.0], [0], pooling=MEAN, calibration=IDENTITY, threshold=0.5)

    assert verdict.label == "REAL"
    assert verdict.confidence == pytest.approx(1 - verdict.score)


def test_crops_are_pooled_within_frames_and_then_over_frames() -> None:
    logits, frame = [1.0, 3.0, -1.0, -3.0], [0, 0, 1, 1]

    mean = judge(logits, frame, pooling=MEAN, calibration=IDENTITY, threshold=0.5)
    top = judge(
        logits,
        frame,
        pooling=Pooling(within_frame="max", over_frames="topk_mean", top_share=0.5),
        calibration=IDENTITY,
        threshold=0.5,
    )

    assert mean.score == pytest.approx(0.5)
    assert top.score == pytest.approx(sigmoid(3.0))
    assert list(top.frame_scores) == pytest.approx([sigmoid(3.0), sigmoid(-1.0)])


def test_calibration_is_applied_to_the_pooled_logit() -> None:
    verdict = judge(
        [2.0], [0], pooling=MEAN, calibration=Calibration(a=0.5, b=-1.0), threshold=0.5
    )

    assert verdict.score == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("logits", "frame"),
    [
        pytest.param([], [], id="no units"),
        pytest.param([1.0], [0, 1], id="lengths differ"),
        pytest.param([math.nan], [0], id="not a number"),
        pytest.param([math.inf], [0], id="infinite"),
    ],
)
def test_nonsense_is_refused(logits: list[float], frame: list[int]) -> None:
    with pytest.raises(ValueError, match=r"logit|units"):
        judge(logits, frame, pooling=MEAN, calibration=IDENTITY, threshold=0.5)


@given(
    logits=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=40),
    threshold=st.floats(0, 1),
    a=st.floats(0, 100),
    b=st.floats(-100, 100),
)
def test_scores_are_probabilities_and_the_label_follows_the_threshold(
    logits: list[float], threshold: float, a: float, b: float
) -> None:
    verdict = judge(
        logits,
        list(range(len(logits))),
        pooling=Pooling(over_frames="topk_mean"),
        calibration=Calibration(a=a, b=b),
        threshold=threshold,
    )

    assert 0 <= verdict.score <= 1
    assert 0 <= verdict.confidence <= 1
    assert (verdict.label == "FAKE") is (verdict.score >= threshold)
    assert len(verdict.frame_scores) == len(logits)


def test_the_raw_score_is_that_before_calibration() -> None:
    verdict = judge([2.0], [0], pooling=MEAN, calibration=Calibration(a=0.5), threshold=0.5)

    assert verdict.raw_score == pytest.approx(sigmoid(2.0))
    assert verdict.score == pytest.approx(sigmoid(1.0))


def test_each_unit_has_a_score_of_its_own() -> None:
    verdict = judge([0.0, 2.0], [0, 0], pooling=MEAN, calibration=IDENTITY, threshold=0.5)

    assert verdict.unit_scores == pytest.approx((0.5, sigmoid(2.0)))


@pytest.mark.parametrize(
    ("score", "threshold", "expected"),
    [
        pytest.param(0.5, 0.5, 0.0, id="at the threshold"),
        pytest.param(0.75, 0.5, 0.5, id="half way to fake"),
        pytest.param(0.25, 0.5, 0.5, id="half way to real"),
        pytest.param(0.9, 0.8, 0.5, id="a high threshold leaves less way"),
        pytest.param(0.3, 0.0, 0.3, id="everything is fake"),
        pytest.param(0.0, 0.0, 0.0, id="zero at zero"),
        pytest.param(0.4, 1.0, 0.6, id="only certainty is fake"),
        pytest.param(1.0, 1.0, 0.0, id="no way above one"),
    ],
)
def test_the_margin_is_the_share_of_the_way_that_there_is(
    score: float, threshold: float, expected: float
) -> None:
    assert margin(score, threshold) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("score", "threshold", "thresholds", "expected"),
    [
        pytest.param(0.5, 0.5, None, "fake", id="no band, at the threshold"),
        pytest.param(0.49, 0.5, None, "real", id="no band, below"),
        pytest.param(0.5, 0.5, BAND, "inconclusive", id="inside the band"),
        pytest.param(0.3, 0.5, BAND, "real", id="lower end"),
        pytest.param(0.7, 0.5, BAND, "fake", id="upper end"),
        pytest.param(0.8, 0.9, BAND, "inconclusive", id="sure, but not for this caller"),
        pytest.param(0.9, 0.9, BAND, "fake", id="at a threshold above the band"),
        pytest.param(0.2, 0.1, BAND, "inconclusive", id="labelled fake by a wary caller alone"),
        pytest.param(0.05, 0.1, BAND, "real", id="below a threshold below the band"),
        pytest.param(0.3, 0.3, BAND, "inconclusive", id="label fake at the lower end"),
        pytest.param(0.0, 0.0, None, "fake", id="everything is fake"),
        pytest.param(1.0, 1.0, BAND, "fake", id="only certainty is fake"),
    ],
)
def test_between_the_thresholds_nothing_is_found(
    score: float, threshold: float, thresholds: Thresholds | None, expected: str
) -> None:
    assert find(score, threshold=threshold, thresholds=thresholds) == expected


SCORES = st.floats(0, 1)
BANDS = st.none() | st.lists(SCORES, min_size=3, max_size=3).map(sorted).map(
    lambda ends: Thresholds(low=ends[0], fake=ends[1], high=ends[2])
)
ORDER = ("real", "inconclusive", "fake")


@given(scores=st.lists(SCORES, min_size=2, max_size=2), threshold=SCORES, thresholds=BANDS)
def test_a_higher_score_is_never_found_more_real(
    scores: list[float], threshold: float, thresholds: Thresholds | None
) -> None:
    lower, higher = (
        ORDER.index(find(s, threshold=threshold, thresholds=thresholds)) for s in sorted(scores)
    )

    assert lower <= higher


@given(score=SCORES, threshold=SCORES, thresholds=BANDS)
def test_what_is_found_agrees_with_the_label_and_doubt_stays_in_the_band(
    score: float, threshold: float, thresholds: Thresholds | None
) -> None:
    low, high = band(threshold, thresholds)
    found = find(score, threshold=threshold, thresholds=thresholds)

    assert 0 <= low <= threshold <= high <= 1
    assert found != "fake" or score >= threshold
    assert found != "real" or score < threshold
    assert found != "inconclusive" or low <= score < high
    assert thresholds is not None or found != "inconclusive"


@given(scores=st.lists(SCORES, min_size=2, max_size=2).map(sorted), threshold=SCORES)
def test_the_margin_is_a_share_that_grows_with_the_distance(
    scores: list[float], threshold: float
) -> None:
    near, far = margin(scores[0], threshold), margin(scores[1], threshold)

    assert 0 <= near <= 1
    assert 0 <= far <= 1
    if threshold <= scores[0]:
        assert near <= far
    elif scores[1] < threshold:
        assert near >= far


@given(total=st.integers(0, 10_000), wanted=st.integers(1, 200))
def test_spread_indices_are_distinct_ascending_and_inside(total: int, wanted: int) -> None:
    indices = spread(total, wanted)

    assert len(indices) == min(total, wanted)
    assert indices == sorted(set(indices))
    assert all(0 <= i < total for i in indices)
