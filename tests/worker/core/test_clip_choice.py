"""Which frames of a video make up its clips, and which clips may be asked for."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.sampling import VideoSampling, pictures, spread_clips, unit_shape

Numbers = st.integers(1, 60)


@given(total=st.integers(1, 5_000), wanted=Numbers, frames=Numbers, stride=st.integers(1, 9))
def test_clips_are_apart_of_one_length_and_inside_the_video(
    total: int, wanted: int, frames: int, stride: int
) -> None:
    clips = spread_clips(total, wanted=wanted, frames=frames, stride=stride)
    seen = [index for clip in clips for index in clip]

    assert 1 <= len(clips) <= wanted
    assert seen == sorted(set(seen))
    assert seen[0] >= 0
    assert seen[-1] < total
    assert {clip.step for clip in clips} == {stride}
    if len(clips) > 1 or (frames - 1) * stride < total:
        assert {len(clip) for clip in clips} == {frames}


@given(total=st.integers(1, 5_000), wanted=Numbers, frames=Numbers, stride=st.integers(1, 9))
def test_there_are_as_many_clips_as_fit_and_they_keep_even_distances(
    total: int, wanted: int, frames: int, stride: int
) -> None:
    clips = spread_clips(total, wanted=wanted, frames=frames, stride=stride)
    gaps = [b.start - a.start for a, b in pairwise(clips)]
    span = (frames - 1) * stride + 1

    assert len(clips) == min(wanted, max(1, total // span))
    assert not gaps or max(gaps) - min(gaps) <= 2
    assert abs(clips[0].start - (total - clips[-1][-1] - 1)) <= 2 or total < span


@given(total=st.integers(1, 200), frames=st.integers(2, 60), stride=st.integers(1, 9))
def test_of_a_video_shorter_than_a_clip_every_frame_in_step_is_seen(
    total: int, frames: int, stride: int
) -> None:
    if (frames - 1) * stride + 1 > total:
        clips = spread_clips(total, wanted=5, frames=frames, stride=stride)
        assert clips == [range(0, total, stride)]


@pytest.mark.parametrize("name", ["total", "wanted", "frames", "stride"])
def test_nothing_cannot_be_spread(name: str) -> None:
    numbers: dict[str, Any] = {"total": 9, "wanted": 2, "frames": 2, "stride": 1, name: 0}
    with pytest.raises(ValueError, match="cannot spread"):
        spread_clips(numbers.pop("total"), **numbers)


def test_a_unit_of_clips_has_its_frames_and_of_images_has_none() -> None:
    clips = VideoSampling(
        max_frames=32, crop_px=64, crops_per_frame=1, view="whole", clip_frames=8
    )

    assert unit_shape(clips) == (8, 64, 64, 3)
    assert pictures(clips) == 4
    assert unit_shape(VideoSampling(crop_px=64)) == (64, 64, 3)
    assert pictures(VideoSampling(max_frames=32)) == 32
