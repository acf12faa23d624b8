import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.media.jail import answers, wire
from detection_worker.media.jail.wire import ProtocolError
from detection_worker.media.values import DecodedMedia, DecodeOrder
from detection_worker.settings import MediaLimits

ORDER = DecodeOrder(
    suffix=".png", announced=None, image=ImageSampling(), video=None, audio=AudioSampling(),
    limits=MediaLimits(),
)  # fmt: skip
INFO: dict[str, object] = {
    "kind": "image", "container": "png", "codec": None, "size_bytes": 9, "sha256": "0" * 64,
    "width": 640, "height": 480, "duration_s": None, "frames_analysed": 1,
    "sample_rate_hz": None, "truncated": False, "damaged": False, "warnings": [],
    "visible_px": [320, 240],
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(body=st.binary(max_size=100) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_header_is_parsed_or_refused(body: bytes) -> None:
    try:
        header = wire.parse_header(body)
    except ProtocolError:
        return
    assert isinstance(header["type"], str)


@settings(deadline=None, max_examples=300)
@given(key=st.sampled_from(sorted([*INFO, "units", "frames"])), value=JSON)
def test_any_wrong_field_of_a_result_is_refused(key: str, value: object) -> None:
    header: dict[str, object] = {"info": {**INFO, key: value}, "units": 2, "frames": 1}
    if key in header:
        header[key] = value
    try:
        announced = answers.parse_done(header, ORDER)
    except ProtocolError:
        return
    assert 1 <= announced.units <= 4
    assert announced.frames == 1
    assert all(text.isprintable() for text in announced.info.warnings)
    assert 1 <= (announced.info.width or 1) <= ORDER.limits.max_pixels


def test_an_order_survives_the_wire() -> None:
    packed = wire.pack_order(ORDER)

    assert wire.header_length(packed[:4]) == len(packed) - 4
    assert wire.parse_order(packed[4:]) == ORDER


FACES = DecodeOrder(
    suffix=".mp4", announced=None, image=None, audio=None, limits=MediaLimits(),
    video=VideoSampling(max_frames=16, crop_px=64, view="faces"),
)  # fmt: skip
VIDEO_INFO = {
    **INFO, "kind": "video", "container": "mp4", "codec": "h264", "duration_s": 2.0,
    "width": 4000, "height": 3000,
}  # fmt: skip


def test_a_child_names_the_size_of_whole_frames_within_bounds() -> None:
    info = {**VIDEO_INFO, "frames_analysed": 16}

    announced = answers.parse_done(
        {"info": info, "units": 16, "frames": 16, "shape": [866, 1154, 3]}, FACES
    )

    assert announced.shape == (866, 1154, 3)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(None, id="absent"),
        pytest.param([866, 1154], id="no channels"),
        pytest.param([866, 1154, 4], id="four channels"),
        pytest.param([0, 1154, 3], id="no rows"),
        pytest.param([866, 1921, 3], id="a side too long"),
        pytest.param([1000, 1001, 3], id="too many pixels in all"),
        pytest.param([866.0, 1154, 3], id="no integer"),
    ],
)
def test_frames_out_of_bounds_are_refused(shape: object) -> None:
    info = {**VIDEO_INFO, "frames_analysed": 16}

    with pytest.raises(ProtocolError):
        answers.parse_done({"info": info, "units": 16, "frames": 16, "shape": shape}, FACES)


def test_the_size_of_a_crop_is_never_the_childs_choice() -> None:
    header = {"info": INFO, "units": 1, "frames": 1, "shape": [5000, 5000, 3]}

    assert answers.parse_done(header, ORDER).shape == (128, 128, 3)


def test_the_visible_part_of_a_picture_survives_the_wire() -> None:
    assert answers.parse_done({"info": INFO, "units": 1, "frames": 1}, ORDER).info.visible_px == (
        320,
        240,
    )


@pytest.mark.parametrize(
    "visible_px",
    [
        pytest.param([641, 480], id="wider than the picture"),
        pytest.param([640, 481], id="higher than the picture"),
        pytest.param([0, 240], id="nothing"),
        pytest.param([320], id="one number"),
        pytest.param([320.0, 240], id="no integer"),
        pytest.param("320x240", id="text"),
    ],
)
def test_a_visible_part_that_cannot_be_is_refused(visible_px: object) -> None:
    header = {"info": {**INFO, "visible_px": visible_px}, "units": 1, "frames": 1}

    with pytest.raises(ProtocolError):
        answers.parse_done(header, ORDER)


CLIPS = DecodeOrder(
    suffix=".mp4", announced=None, image=None, audio=None, limits=MediaLimits(),
    video=VideoSampling(
        max_frames=24, crop_px=16, crops_per_frame=1, view="whole", clip_frames=8
    ),
)  # fmt: skip


def clips_header(*, clips: int, frames: int) -> dict[str, object]:
    info = {**VIDEO_INFO, "frames_analysed": frames}
    return {"info": info, "units": clips, "frames": clips, "shape": [999, 16, 16, 3]}


@pytest.mark.parametrize("frames", [pytest.param(2, id="short"), pytest.param(16, id="full")])
def test_the_shape_of_clips_is_never_the_childs_choice(frames: int) -> None:
    packed = wire.pack_order(CLIPS)
    announced = answers.parse_done(clips_header(clips=2, frames=frames), CLIPS)

    assert wire.parse_order(packed[4:]) == CLIPS
    assert (announced.units, announced.shape) == (2, (8, 16, 16, 3))


@pytest.mark.parametrize(
    ("clips", "frames"),
    [
        pytest.param(4, 24, id="more clips than ordered"),
        pytest.param(2, 17, id="more frames than the clips hold"),
        pytest.param(2, 1, id="fewer frames than clips"),
    ],
)
def test_clips_that_contradict_the_order_are_refused(clips: int, frames: int) -> None:
    with pytest.raises(ProtocolError):
        answers.parse_done(clips_header(clips=clips, frames=frames), CLIPS)


@pytest.mark.parametrize(
    ("ends", "sound"),
    [
        pytest.param([0.5, 1.5], True, id="after the starts"),
        pytest.param([0.5, 0.9], False, id="before a start"),
        pytest.param([0.5, np.inf], False, id="never"),
        pytest.param([np.nan, 1.5], False, id="no number"),
    ],
)
def test_a_clip_ends_after_its_start(ends: list[float], *, sound: bool) -> None:
    announced = answers.parse_done(clips_header(clips=2, frames=16), CLIPS)
    media = DecodedMedia(
        info=announced.info,
        units=np.arange(2 * 8 * 16 * 16 * 3).astype(np.uint8).reshape(2, 8, 16, 16, 3),
        frame=np.arange(2, dtype=np.int32),
        at_s=np.array([0.0, 1.0]),
        boxes=np.array([[0, 0, 9, 9]] * 2, dtype=np.int32),
        end_s=np.array(ends),
    )
    sent = io.BytesIO(b"".join(wire.pack_done(media)[1:]))

    def receive(buffer: memoryview) -> None:
        assert sent.readinto(buffer) == len(buffer)

    if not sound:
        with pytest.raises(ProtocolError, match="times"):
            answers.receive_arrays(announced, receive)
        return
    got = answers.receive_arrays(announced, receive)
    assert got.end_s is not None
    assert (got.at_s.tolist(), got.end_s.tolist()) == ([0.0, 1.0], ends)
    assert (got.units == media.units).all()
    assert not sent.read()


SOUND_ONLY = DecodeOrder(
    suffix=".mp4", announced=None, image=None, video=None, audio=AudioSampling(),
    limits=MediaLimits(), sound_only=True,
)  # fmt: skip


def test_an_order_for_sound_alone_is_not_answered_with_pictures() -> None:
    header = {
        "info": {**VIDEO_INFO, "frames_analysed": 1}, "units": 1, "frames": 1, "shape": [9, 9, 3],
    }  # fmt: skip
    packed = wire.pack_order(SOUND_ONLY)

    assert wire.parse_order(packed[4:]) == SOUND_ONLY
    with pytest.raises(ProtocolError, match="not asked for"):
        answers.parse_done(header, SOUND_ONLY)


@pytest.mark.parametrize(
    ("info", "said", "believed"),
    [
        pytest.param(VIDEO_INFO, True, True, id="a video with sound"),
        pytest.param(VIDEO_INFO, "yes", False, id="no truth value"),
        pytest.param(VIDEO_INFO, None, False, id="not said"),
        pytest.param(INFO, True, False, id="a picture has none"),
    ],
)
def test_only_a_video_has_a_sound_track(
    info: dict[str, object], said: object, *, believed: bool
) -> None:
    order = FACES if info is VIDEO_INFO else ORDER
    header = {
        "info": {**info, "frames_analysed": 1, "sound_track": said},
        "units": 1, "frames": 1, "shape": [9, 9, 3],
    }  # fmt: skip

    assert answers.parse_done(header, order).info.sound_track is believed
