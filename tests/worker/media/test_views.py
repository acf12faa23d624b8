from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detection_testing.samples import sample_path
from detection_worker.core.sampling import (
    FRAME_PX,
    FRAMES_PIXELS,
    ImageSampling,
    VideoSampling,
    View,
    bounded,
)
from detection_worker.media import views
from detection_worker.media.crops import Pixels, cut
from detection_worker.media.values import DecodedMedia
from detection_worker.media.views import reduced, see

Decode = Callable[..., DecodedMedia]


def gradient(width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Red grows to the right, green downwards."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return pixels


def test_crops_are_the_default_and_cut_as_ever() -> None:
    pixels = gradient(200, 150)

    units, boxes = see(pixels, ImageSampling(crop_px=64, max_crops=3))

    crops, expected = cut(pixels, crop_px=64, max_crops=3)
    assert np.array_equal(units, crops)
    assert np.array_equal(boxes, expected)


def test_the_whole_picture_is_stretched_to_one_unit() -> None:
    units, boxes = see(gradient(300, 100), ImageSampling(crop_px=32, max_crops=4, view="whole"))

    assert units.shape == (1, 32, 32, 3)
    assert boxes.tolist() == [[0, 0, 300, 100]]
    assert units[0, 0, 0, 0] < 8
    assert units[0, 0, 31, 0] > 247
    assert units[0, 31, 0, 1] > 247


def test_the_centre_is_a_square_on_the_shorter_side() -> None:
    units, boxes = see(gradient(300, 100), ImageSampling(crop_px=50, view="centre"))

    assert units.shape == (1, 50, 50, 3)
    assert boxes.tolist() == [[100, 0, 200, 100]]
    assert abs(int(units[0, 25, 0, 0]) - 255 // 3) < 4
    assert abs(int(units[0, 25, 49, 0]) - 2 * 255 // 3) < 4


@pytest.mark.parametrize("view", ["whole", "centre"])
def test_a_reduced_picture_does_not_alias(view: View) -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255

    units, _ = see(stripes, ImageSampling(crop_px=32, view=view))

    assert abs(units[0, 4:-4, 4:-4].astype(int) - 127).max() <= 3


def test_for_faces_a_small_picture_stays_as_it_is() -> None:
    pixels = gradient(320, 180)

    units, boxes = see(pixels, ImageSampling(crop_px=64, view="faces"))

    assert np.array_equal(units[0], pixels)
    assert boxes.tolist() == [[0, 0, 320, 180]]


@settings(deadline=None)
@given(width=st.integers(1, 60_000), height=st.integers(1, 60_000), frames=st.integers(1, 500))
def test_frames_for_faces_fit_memory_and_keep_their_proportions(
    width: int, height: int, frames: int
) -> None:
    w, h = bounded(width, height, frames=frames)

    assert 1 <= w <= min(width, FRAME_PX)
    assert 1 <= h <= min(height, FRAME_PX)
    assert w * h * frames <= FRAMES_PIXELS
    if min(w, h) > 1:
        assert abs(w / width - h / height) <= 1 / min(width, height)


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        pytest.param("crops", (2, 64, 64, 3), id="native crops"),
        pytest.param("whole", (1, 64, 64, 3), id="one stretched unit"),
        pytest.param("centre", (1, 64, 64, 3), id="one centred unit"),
        pytest.param("faces", (1, 150, 400, 3), id="the frame itself"),
    ],
)
def test_a_view_of_an_image_comes_through_the_child(
    decode: Decode, tmp_path: Path, view: View, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(gradient(400, 150)).save(path)

    media = decode(path, image=ImageSampling(crop_px=64, max_crops=2, view=view))

    assert media.units.shape == shape
    assert (media.info.width, media.info.height) == (400, 150)


@pytest.mark.parametrize("view", ["whole", "centre", "faces"])
def test_each_frame_of_a_video_gives_one_unit(decode: Decode, view: View) -> None:
    video = VideoSampling(max_frames=5, crop_px=64, crops_per_frame=3, view=view)

    media = decode(sample_path("dandelion-pan.mp4"), video=video)

    assert media.frame.tolist() == [0, 1, 2, 3, 4]
    assert media.info.frames_analysed == 5
    if view != "centre":
        assert media.boxes[0].tolist() == [0, 0, media.info.width, media.info.height]
    if view == "faces":
        assert media.units.shape[1:3] == (media.info.height, media.info.width)
    crops = decode(sample_path("dandelion-pan.mp4"), video=replace(video, view="crops"))
    assert np.array_equal(media.at_s, crops.at_s)


def test_a_large_image_is_reduced_before_faces_are_looked_for(
    decode: Decode, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(gradient(4000, 1000)).save(path)

    media = decode(path, image=ImageSampling(crop_px=64, view="faces"))

    assert media.units.shape == (1, 480, 1920, 3)
    assert media.boxes.tolist() == [[0, 0, 4000, 1000]]


@pytest.mark.parametrize(
    ("aspect", "box"),
    [
        pytest.param(1.0, [20, 0, 80, 60], id="square pixels"),
        pytest.param(2.0, [35, 0, 65, 60], id="twice as wide"),
        pytest.param(0.5, [0, 5, 100, 55], id="twice as high"),
    ],
)
def test_the_centre_is_a_square_as_it_is_shown(aspect: float, box: list[int]) -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)

    _, boxes = see(pixels, ImageSampling(crop_px=32, view="centre"), pixel_aspect=aspect)

    assert boxes.tolist() == [box]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(403, 300), (1, 60), (60, 1), (5, 9), (64, 3)])
@pytest.mark.parametrize("factor", [2, 4, 5, 7, 64])
def test_a_picture_to_look_at_keeps_its_colours_in_place(
    channels: int, size: tuple[int, int], factor: int
) -> None:
    pixels = np.dstack([gradient(*size), np.zeros(size[::-1], np.uint8)])[..., :channels]

    small = reduced(pixels, factor)

    height, width = -(-size[1] // factor), -(-size[0] // factor)
    assert small.shape == (height, width, 3)
    places = [
        [min((i + 0.5) * factor, (i * factor + n) / 2) for i in range(-(-n // factor))]
        for n in size
    ]
    expected = np.asarray(places[0]) * 255 / max(size[0] - 1, 1)
    assert np.abs(small[0, :, 0] - expected).max() <= 255 * factor / size[0]


@pytest.mark.parametrize("upright", [True, False])
def test_a_picture_to_look_at_costs_by_its_own_size(
    monkeypatch: pytest.MonkeyPatch, *, upright: bool
) -> None:
    seen = []

    def noted(pixels: Pixels) -> Image.Image:
        seen.append(pixels.shape)
        return picture(pixels)

    picture = views._picture  # what Pillow copies
    monkeypatch.setattr(views, "_picture", noted)
    large = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)

    small = reduced(large if upright else large.transpose(1, 0, 2), 10)

    assert abs(int(small.mean()) - 127) <= 1
    assert seen == [(600, 800, 3) if upright else (800, 600, 3)]
