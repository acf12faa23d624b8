"""Two tracks of a video to one verdict, and the course of scores over time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.fusion import course, fuse
from detection_worker.core.verdict import Calibration, Pooling, Thresholds, Verdict, judge

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=20)
DOUBT = Thresholds(fake=0.5, low=0.3, high=0.7)


def verdict(score: float, *, thresholds: Thresholds | None = None) -> Verdict:
    return judge(
        [math.log(score / (1 - score))],
        [0],
        pooling=Pooling(),
        calibration=Calibration(),
        threshold=0.5,
        thresholds=thresholds,
    )


VERDICTS = st.builds(
    lambda score, thresholds: verdict(score, thresholds=thresholds),
    st.floats(0.01, 0.99),
    st.sampled_from([None, DOUBT]),
)


@given(VERDICTS, VERDICTS)
def test_no_track_lowers_the_score_and_one_fake_track_is_enough(
    pictures: Verdict, sound: Verdict
) -> None:
    fused = fuse(pictures, sound)
    assert fused is not None
    whole, _ = fused

    assert whole.score == max(pictures.score, sound.score)
    assert whole.label == ("FAKE" if "FAKE" in {pictures.label, sound.label} else "REAL")
    assert (whole.finding == "fake") == ("fake" in {pictures.finding, sound.finding})
    assert (whole.finding == "real") == (pictures.finding == sound.finding == "real")
    assert whole.frame_scores == pictures.frame_scores


@pytest.mark.parametrize(
    ("pictures", "sound", "finding", "decided_by"),
    [
        pytest.param(verdict(0.1), verdict(0.9), "fake", "audio", id="forged voice"),
        pytest.param(verdict(0.9), verdict(0.1), "fake", "video", id="forged face"),
        pytest.param(verdict(0.1), verdict(0.2), "real", "audio", id="nothing found"),
        pytest.param(
            verdict(0.1),
            verdict(0.4, thresholds=DOUBT),
            "inconclusive",
            "audio",
            id="sound unsure",
        ),
        pytest.param(
            verdict(0.6, thresholds=DOUBT), verdict(0.55), "fake", "audio", id="surer at less"
        ),
        pytest.param(verdict(0.3), verdict(0.3), "real", "video", id="alike"),
    ],
)
def test_the_graver_finding_decides(
    pictures: Verdict, sound: Verdict, finding: str, decided_by: str
) -> None:
    fused = fuse(pictures, sound)

    assert fused is not None
    assert (fused[0].finding, fused[1]) == (finding, decided_by)


def test_sound_alone_convicts_a_video_and_does_not_acquit_it() -> None:
    assert fuse(None, verdict(0.9)) == (verdict(0.9), "audio")
    assert fuse(None, verdict(0.1)) is None


def test_the_course_tells_a_flicker_from_a_level() -> None:
    flicker, level = course([0.1, 0.9, 0.1, 0.9]), course([0.5, 0.5, 0.5, 0.5])

    assert (flicker.mean, level.mean) == pytest.approx((0.5, 0.5))
    assert (flicker.standard_deviation, flicker.maximum_jump) == pytest.approx((0.4, 0.8))
    assert (level.standard_deviation, level.maximum_jump) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no scores"):
        course([])


@given(SCORES)
def test_the_course_stays_in_its_ranges(scores: list[float]) -> None:
    found = course(scores)

    assert min(scores) - 1e-9 <= found.mean <= max(scores) + 1e-9
    assert 0 <= found.standard_deviation <= 0.5 + 1e-9
    assert 0 <= found.maximum_jump <= max(scores) - min(scores)
