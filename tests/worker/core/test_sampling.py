"""How much of a media object is looked at, and in which shapes."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from detection_worker.core.sampling import (
    FRAME_PX,
    FRAMES_PIXELS,
    AudioSampling,
    ImageSampling,
    Sampling,
    VideoSampling,
    bounded,
    covered_s,
    looked_at,
    most_units,
    pictures,
    spread,
    spread_clips,
    unit_shape,
    units_per_picture,
)

CLIPS = VideoSampling(
    max_frames=8, crop_px=32, crops_per_frame=1, view="whole", clip_frames=4, clip_stride=2
)


@pytest.mark.parametrize(
    ("sampling", "units"),
    [
        (ImageSampling(max_crops=5), 5),
        (VideoSampling(crops_per_frame=3), 3),
        (ImageSampling(max_crops=5, view="whole"), 1),
    ],
)
def test_only_crops_are_more_than_one_unit_a_picture(
    sampling: ImageSampling | VideoSampling, units: int
) -> None:
    assert units_per_picture(sampling) == units


@pytest.mark.parametrize(
    ("sampling", "count"), [(ImageSampling(), 1), (VideoSampling(max_frames=7), 7), (CLIPS, 2)]
)
def test_a_video_has_as_many_pictures_as_frames_or_clips(
    sampling: ImageSampling | VideoSampling, count: int
) -> None:
    assert pictures(sampling) == count


@pytest.mark.parametrize(
    ("sampling", "shape"),
    [
        (AudioSampling(window=400), (400,)),
        (ImageSampling(crop_px=64), (64, 64, 3)),
        (CLIPS, (4, 32, 32, 3)),
    ],
)
def test_a_unit_has_the_shape_that_its_detector_takes(
    sampling: Sampling, shape: tuple[int, ...]
) -> None:
    assert unit_shape(sampling) == shape


@pytest.mark.parametrize(
    ("sampling", "asked", "frames"),
    [
        pytest.param(VideoSampling(), 64, 64, id="more"),
        pytest.param(VideoSampling(), 1, 1, id="fewer"),
        pytest.param(VideoSampling(), None, 16, id="the model's own"),
        pytest.param(VideoSampling(crop_px=512), 64, 30, id="no more pixels than may wait"),
        pytest.param(
            VideoSampling(crop_px=2048, max_frames=3), 64, 3, id="what the model takes anyway"
        ),
        pytest.param(VideoSampling(crop_px=512, view="faces"), 64, 64, id="frames get smaller"),
        pytest.param(CLIPS, 11, 8, id="whole clips"),
        pytest.param(CLIPS, 1, 4, id="at least one clip"),
    ],
)
def test_another_number_of_frames_takes_the_place_of_the_models(
    sampling: VideoSampling, asked: int | None, frames: int
) -> None:
    found = looked_at(sampling, frames=asked, windows=7)

    assert found == replace(sampling, max_frames=frames)


def test_another_number_of_windows_is_for_sound_alone() -> None:
    assert looked_at(AudioSampling(), frames=3, windows=7) == AudioSampling(max_windows=7)
    assert looked_at(AudioSampling(), frames=3, windows=None) == AudioSampling()
    assert looked_at(ImageSampling(), frames=3, windows=7) == ImageSampling()


@given(
    frames=st.integers(1, 256),
    crop_px=st.integers(1, 600),
    clip_frames=st.integers(1, 40),
    clips=st.integers(1, 4),
)
def test_no_number_of_frames_breaks_the_rules_of_clips(
    frames: int, crop_px: int, clip_frames: int, clips: int
) -> None:
    assume(clip_frames * clips * crop_px**2 <= FRAMES_PIXELS)
    own = VideoSampling(
        max_frames=clips * clip_frames,
        crop_px=crop_px,
        crops_per_frame=1,
        view="whole",
        clip_frames=clip_frames,
    )

    found = looked_at(own, frames=frames, windows=None)

    assert isinstance(found, VideoSampling)
    assert found.max_frames <= max(frames, clip_frames)
    assert found.max_frames * crop_px**2 <= FRAMES_PIXELS


def test_clips_that_do_not_fit_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="'max_frames' must be a multiple of 'clip_frames'"):
        VideoSampling(max_frames=7, crops_per_frame=1, view="whole", clip_frames=4)


@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000), frames=st.integers(1, 64))
def test_frames_are_bounded_by_side_and_in_all_and_never_enlarged(
    width: int, height: int, frames: int
) -> None:
    new_width, new_height = bounded(width, height, frames=frames)

    assert 1 <= new_width <= min(width, FRAME_PX)
    assert 1 <= new_height <= min(height, FRAME_PX)
    assert new_width * new_height * frames <= max(FRAMES_PIXELS, FRAME_PX * frames)


@given(total=st.integers(0, 1000), wanted=st.integers(1, 100))
def test_indices_are_spread_in_order_over_the_whole(total: int, wanted: int) -> None:
    chosen = spread(total, wanted)

    assert len(chosen) == min(total, wanted)
    assert chosen == sorted(set(chosen))
    assert all(0 <= i < total for i in chosen)


@pytest.mark.parametrize(("total", "wanted"), [(-1, 1), (5, 0)])
def test_nothing_is_spread_over_less_than_nothing(total: int, wanted: int) -> None:
    with pytest.raises(ValueError, match=f"cannot spread {wanted} over {total}"):
        spread(total, wanted)


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot spread 1 clips of 0 over 10"):
        spread_clips(10, wanted=1, frames=0, stride=1)


@pytest.mark.parametrize(
    ("starts_s", "duration_s", "covered"),
    [
        pytest.param([0], 10, 4, id="one window"),
        pytest.param([0, 2, 4], 9, 8, id="windows that overlap, and a rest"),
        pytest.param([3, 20, 40], 60, 12, id="windows apart"),
        pytest.param([0], 1.5, 1.5, id="sound that was repeated to fill the window"),
    ],
)
def test_windows_cover_what_lies_in_any_of_them(
    starts_s: list[float], duration_s: float, covered: float
) -> None:
    assert covered_s(AudioSampling(), starts_s, duration_s) == covered


@pytest.mark.parametrize(
    ("windows", "units"),
    [
        pytest.param(1, 5, id="one window with all its channels"),
        pytest.param(64, 320, id="64 windows with all their channels"),
        pytest.param(256, 320, id="as many channels in fewer windows"),
        pytest.param(1024, 1024, id="as many as asked for"),
    ],
)
def test_windows_with_channels_apart_cost_no_more_than_64_of_them_or_what_is_asked_for(
    windows: int, units: int
) -> None:
    assert most_units(AudioSampling(max_windows=windows)) == units


@pytest.mark.parametrize(
    ("sampling", "units"),
    [
        pytest.param(ImageSampling(max_crops=4), 4, id="parts of a picture"),
        pytest.param(ImageSampling(max_crops=4, view="whole"), 1, id="a whole picture"),
        pytest.param(VideoSampling(max_frames=16, crops_per_frame=2), 32, id="parts of frames"),
        pytest.param(
            VideoSampling(max_frames=16, clip_frames=8, crops_per_frame=1, view="centre"),
            2,
            id="clips",
        ),
    ],
)
def test_units_of_pictures_are_bounded(sampling: Sampling, units: int) -> None:
    assert most_units(sampling) == units
