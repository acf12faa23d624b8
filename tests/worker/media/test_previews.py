"""Small pictures: their size, what they show of odd files, and what a child may send."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.media import previews
from detection_worker.media.jail import answers
from detection_worker.media.jail.wire import ProtocolError
from detection_worker.media.values import DecodeOrder
from detection_worker.settings import MediaLimits

LOUD_HZ = 4000


@pytest.mark.parametrize(
    ("size", "frames", "factor"),
    [
        ((640, 480), 1, 1),
        ((1280, 1280), 1, 1),
        ((4000, 3000), 1, 4),
        ((1, 50_000_000), 1, 39_063),
        ((1920, 1080), 16, 5),
        ((1920, 1080), 256, 15),
    ],
)
def test_pictures_are_reduced_to_fit_together(
    size: tuple[int, int], frames: int, factor: int
) -> None:
    k = previews.factor(*size, frames=frames)

    assert k == factor
    width, height = (-(-side // k) for side in size)
    assert max(width, height) <= previews.PREVIEW_PX
    assert width * height * frames <= previews.PREVIEW_PIXELS


def test_a_picture_with_a_transparent_margin_keeps_its_place() -> None:
    pixels = np.full((100, 200, 3), 7, np.uint8)

    [whole] = previews.whole_thumbnail(pixels, (1300, 2000, 1500, 2100), (2600, 2600))

    assert whole.shape == (867, 867, 3)
    assert (whole[0, 0] == previews.HIDDEN).all()
    assert (whole[667:699, 434:499] == 7).all()


@pytest.mark.parametrize("noise", [False, True])
def test_a_jpeg_has_no_more_than_its_bytes(*, noise: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256 if noise else 2, (1280, 1280, 3)).astype(np.uint8)

    data = previews.jpeg(pixels)

    assert len(data) <= previews.JPEG_BYTES
    assert Image.open(io.BytesIO(data)).size == (1280, 1280)
    assert max(Image.open(io.BytesIO(previews.icon(data))).size) == previews.ICON_PX


def test_a_spectrogram_shows_a_tone_where_it_is_and_grey_where_nobody_listened() -> None:
    t = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * LOUD_HZ * t).astype(np.float32)

    rgb = previews.spectrogram(tone[None], [1.0], sample_rate_hz=16_000, end_s=2.0)

    width, height = previews.SOUND_SIZE
    assert rgb.shape == (height, width, 3)
    assert (rgb[:, : width // 2 - 1] == previews.SILENT[0]).all()
    column = rgb[:, width * 3 // 4].astype(int).sum(axis=1)
    assert abs(int(column.argmax()) - height // 2) <= 2  # half of 8 kHz


def header(**changes: Any) -> dict[str, Any]:
    info: dict[str, Any] = {
        "kind": "image", "container": "png", "codec": None, "size_bytes": 9, "sha256": "0" * 64,
        "width": 99, "height": 99, "duration_s": None, "frames_analysed": 1,
        "sample_rate_hz": None, "truncated": False, "warnings": [],
    }  # fmt: skip
    return {"type": "done", "info": info, "units": 1, "frames": 1, **changes}


def order(*, preview: bool) -> DecodeOrder:
    return DecodeOrder(
        suffix=".png",
        announced=MediaKind.IMAGE,
        image=ImageSampling(),
        video=VideoSampling(),
        audio=AudioSampling(),
        limits=MediaLimits(),
        preview=preview,
    )


def test_thumbnails_are_taken_in_bounds_alone() -> None:
    announced = answers.parse_done(header(thumbnails=[30, 40]), order(preview=True))
    assert announced.thumbnails_px == (30, 40)
    assert answers.parse_done(header(), order(preview=True)).thumbnails_px is None

    bad: list[Any] = [[0, 1], [1, 1281], [1], [1, 1, 1], "ab", [True, 1], [1.0, 1], {"a": 1}]
    for wrong in bad:
        with pytest.raises(ProtocolError):
            answers.parse_done(header(thumbnails=wrong), order(preview=True))
    with pytest.raises(ProtocolError):
        answers.parse_done(header(thumbnails=[30, 40]), order(preview=False))
