import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.core.sampling import VideoSampling, spread
from detection_worker.media.streams.timeline import (
    Entry,
    Timeline,
    TimelineBuilder,
    plan,
    plan_clips,
)


def timeline(frames: int, *, every: int, fps: int = 25) -> Timeline:
    builder = TimelineBuilder(time_base=1 / (fps * 100), frame_s=1 / fps, max_duration_s=1e9)
    for i in range(frames):
        builder.add(100 * i, keyframe=i % every == 0, exact=True)
    return builder.finish()


def test_a_short_video_is_decoded_in_order() -> None:
    assert plan(timeline(150, every=150), 16).seek_to == ()


def test_a_long_video_with_many_keyframes_is_read_by_seeking_to_them() -> None:
    chosen = plan(timeline(90_000, every=50), 16)

    assert len(chosen.seek_to) == 16
    assert all(when % 5_000 == 0 for when in chosen.seek_to)


@settings(deadline=None)
@given(frames=st.integers(1, 3_000), every=st.integers(1, 400), wanted=st.integers(1, 20))
def test_planned_frames_are_near_their_even_places(frames: int, every: int, wanted: int) -> None:
    chosen = plan(timeline(frames, every=every), wanted)

    assert chosen.indices == tuple(spread(frames, wanted))
    if chosen.seek_to:
        half_gap = 100 * frames / (2 * wanted)
        ideal = [100 * i for i in chosen.indices]
        assert all(min(abs(t - i) for i in ideal) <= half_gap for t in chosen.seek_to)
        assert list(chosen.seek_to) == sorted(set(chosen.seek_to))


CLIPS = VideoSampling(
    max_frames=24, crop_px=32, crops_per_frame=1, view="whole", clip_frames=8, clip_stride=3
)


def test_clips_of_a_long_video_are_sought_where_they_start() -> None:
    chosen = plan_clips(timeline(9_000, every=50), CLIPS)

    assert chosen.seek_to == tuple(100 * i for i in chosen.indices[::8])
    assert chosen.indices[:3] == (1489, 1492, 1495)
    assert (chosen.clip_frames, chosen.clip_stride) == (8, 3)


@pytest.mark.parametrize(
    ("frames", "every"),
    [pytest.param(100, 10, id="short"), pytest.param(9_000, 9_000, id="one keyframe")],
)
def test_clips_are_decoded_in_order_where_seeking_saves_nothing(frames: int, every: int) -> None:
    assert plan_clips(timeline(frames, every=every), CLIPS).seek_to == ()


def test_planned_frames_are_known_by_their_times() -> None:
    short, long = timeline(150, every=150), timeline(90_000, every=50)

    assert plan(short, 3).shown_at(short) == [[2_500], [7_500], [12_500]]
    sought = plan(long, 16)
    assert sought.shown_at(long) == [[when] for when in sought.seek_to]


@pytest.mark.parametrize(
    ("frames", "first"),
    [
        pytest.param(9_000, [148_900, 149_200, 149_500], id="sought"),
        pytest.param(100, [500, 800, 1_100], id="in order"),
    ],
)
def test_frames_of_a_clip_are_known_together(frames: int, first: list[int]) -> None:
    found = timeline(frames, every=50)

    shown = plan_clips(found, CLIPS).shown_at(found)

    assert [len(times) for times in shown] == [8, 8, 8]
    assert shown[0][:3] == first


def test_a_video_shorter_than_a_clip_is_shown_as_far_as_it_goes() -> None:
    found = timeline(10, every=10)

    assert plan_clips(found, CLIPS).shown_at(found) == [[0, 300, 600, 900]]


def test_decoding_starts_at_the_keyframe_before() -> None:
    found = timeline(100, every=25)

    assert found.entry(2_600) == Entry(keyframe=2_500, requests=(2_600, 3_800))
    assert found.entry(2_500) == Entry(keyframe=2_500, requests=(2_500, 3_750))
    assert found.entry(9_900) == Entry(keyframe=7_500, requests=(9_900, 9_900))


def test_a_time_that_comes_twice_names_no_frame() -> None:
    builder = TimelineBuilder(time_base=0.04, frame_s=0.04, max_duration_s=10)
    for when in (0, 1, 1, 2):
        builder.add(when, keyframe=when == 0, exact=True)

    assert not builder.finish().distinct
    assert timeline(4, every=4).distinct


def test_the_duration_comes_from_the_packets() -> None:
    builder = TimelineBuilder(time_base=0.04, frame_s=0.04, max_duration_s=10)
    for i in (0, 2, 1, 3):
        builder.add(i, keyframe=i == 0, exact=True)

    found = builder.finish()

    assert found.duration_s == pytest.approx(0.16)
    assert found.times.tolist() == [0, 1, 2, 3]


def edited(hidden: range, *, shown: range, origin_s: float | None = None) -> Timeline:
    builder = TimelineBuilder(time_base=0.04, frame_s=0.04, max_duration_s=1000)
    for i in sorted({*hidden, *shown}):
        builder.add(i, keyframe=i % 500 == 0, exact=True, shown=i in shown)
    return builder.finish(origin_s=origin_s)


def test_what_an_edit_list_cuts_off_is_neither_shown_nor_counted() -> None:
    found = edited(range(-500, 0), shown=range(1_000))

    assert (found.times[0], len(found.times), found.duration_s) == (0, 1_000, 40.0)
    assert plan(found, 4).indices == (125, 375, 625, 875)


def test_frames_before_the_first_that_is_shown_cost_a_seek_as_much_as_others() -> None:
    hidden = edited(range(-2_000, 1), shown=range(1, 400))

    assert plan(hidden, 4).seek_to == ()


def test_a_time_that_names_two_packets_is_not_sought() -> None:
    found = edited(range(300, 600), shown=range(0, 1_000, 2))

    assert found.ambiguous
    assert plan(found, 4).seek_to == ()


@pytest.mark.parametrize(
    ("origin_s", "at_s", "duration_s"),
    [
        pytest.param(None, 0.0, 4.0, id="unknown"),
        pytest.param(-1.5, 1.5, 5.5, id="the sound starts before"),
        pytest.param(-5_000, 0.0, 4.0, id="too far away to be true"),
        pytest.param(1.0, 0.0, 4.0, id="after the first frame"),
    ],
)
def test_times_count_from_the_start_of_the_file(
    origin_s: float | None, at_s: float, duration_s: float
) -> None:
    found = edited(range(0), shown=range(100), origin_s=origin_s)

    assert found.at_s(0, 0) == pytest.approx(at_s)
    assert found.duration_s == pytest.approx(duration_s)
