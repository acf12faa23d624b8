"""From logits to a label."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.sampling import spread
from detection_worker.core.verdict import Calibration, Pooling, judge, sigmoid

MEAN = Pooling()
IDENTITY = Calibration()


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


@given(total=st.integers(0, 10_000), wanted=st.integers(1, 200))
def test_spread_indices_are_distinct_ascending_and_inside(total: int, wanted: int) -> None:
    indices = spread(total, wanted)

    assert len(indices) == min(total, wanted)
    assert indices == sorted(set(indices))
    assert all(0 <= i < total for i in indices)
