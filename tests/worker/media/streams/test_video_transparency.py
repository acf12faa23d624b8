"""What no viewer shows must not decide, in video as in pictures: transparent pixels are white."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_worker.core.sampling import VideoSampling
from detection_worker.errors import JobError
from detection_worker.media.streams import av_input
from detection_worker.media.streams.av_input import Reader
from detection_worker.media.streams.video import OPACITY_LEFT_OUT, read_video
from detection_worker.media.values import DecodedMedia
from detection_worker.settings import MediaLimits

Decode = Callable[..., DecodedMedia]
Array = NDArray[np.uint8]

WHOLE = VideoSampling(max_frames=4, crop_px=64, crops_per_frame=1, view="faces")
"""Frames as they are."""
ON_WHITE = "transparent pixels were shown on white"
WIDTH, HEIGHT = 96, 64
SEEN = (slice(8, 56), slice(16, 80))
"""Rows and columns of what is visible."""
LOSSLESS = [
    pytest.param("v.mov", "png", "rgba", id="PNG in MOV"),
    pytest.param("v.mov", "qtrle", "argb", id="QuickTime Animation"),
    pytest.param("v.mov", "rawvideo", "bgra", id="raw in MOV"),
    pytest.param("v.mkv", "ffv1", "bgra", id="FFV1"),
    pytest.param("v.avi", "utvideo", "gbrap", id="Ut Video"),
]


def frame(*, hidden: int = 0, alpha: int = 255) -> Array:
    """Noise behind an alpha of ``hidden`` around a visible part."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    pixels[..., 3] = hidden
    pixels[SEEN] = np.dstack(
        [sample_media.texture(width=64, height=48, seed=3), np.full((48, 64), alpha, np.uint8)]
    )
    return pixels


def write(path: Path, codec: str, pixel_format: str, pixels: Array, *, frames: int = 3) -> Path:
    with av.open(str(path), "w") as container:
        # libvpx refuses alpha beside frames that are never shown.
        options = {"auto-alt-ref": "0"} if codec.startswith("libvpx") else {}
        stream = container.add_stream(codec, rate=5, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgba")
            container.mux(stream.encode(picture.reformat(format=pixel_format)))
        container.mux(stream.encode(None))
    return path


def on_white(pixels: Array) -> Array:
    alpha = pixels[..., 3:] / 255
    return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def furthest(some: Array, other: Array) -> int:
    return int(np.abs(some.astype(int) - other).max())


@pytest.mark.parametrize(("name", "codec", "pixel_format"), LOSSLESS)
@pytest.mark.parametrize(("hidden", "alpha"), [(0, 255), (0, 128), (64, 255)])
def test_transparent_pixels_of_a_video_are_shown_on_white(
    name: str,
    codec: str,
    pixel_format: str,
    hidden: int,
    alpha: int,
    tmp_path: Path,
    decode: Decode,
) -> None:
    stored = frame(hidden=hidden, alpha=alpha)

    media = decode(write(tmp_path / name, codec, pixel_format, stored), video=WHOLE)

    assert all(furthest(unit, on_white(stored)) <= 1 for unit in media.units)
    assert ON_WHITE in media.info.warnings


def test_prores_with_alpha_is_shown_on_white(tmp_path: Path, decode: Decode) -> None:
    path = write(tmp_path / "v.mov", "prores_ks", "yuva444p10le", frame())

    media = decode(path, video=WHOLE)

    around = np.ones((HEIGHT, WIDTH), bool)
    around[SEEN] = False
    assert (media.units[:, around] >= 250).all()
    assert ON_WHITE in media.info.warnings


@pytest.mark.parametrize(("name", "codec", "pixel_format"), LOSSLESS)
def test_alpha_that_hides_nothing_changes_nothing(
    name: str, codec: str, pixel_format: str, tmp_path: Path, decode: Decode
) -> None:
    stored = frame(hidden=255)

    media = decode(write(tmp_path / name, codec, pixel_format, stored), video=WHOLE)

    assert all(furthest(unit, stored[..., :3]) == 0 for unit in media.units)
    assert media.info.warnings == ()


def test_turned_frames_are_shown_on_white_too(tmp_path: Path, decode: Decode) -> None:
    path = write(tmp_path / "v.mov", "qtrle", "argb", frame())
    sample_media.set_display_matrix(path, (0, 1, -1, 0))

    media = decode(path, video=WHOLE)

    assert furthest(media.units[0], np.rot90(on_white(frame()), -1)) <= 1


def test_the_unused_fourth_byte_of_raw_video_hides_nothing(tmp_path: Path, decode: Decode) -> None:
    stored = frame(alpha=0)

    media = decode(write(tmp_path / "v.avi", "rawvideo", "bgra", stored), video=WHOLE)

    assert furthest(media.units[0], stored[..., :3]) == 0
    assert media.info.warnings == ()


def test_a_fully_transparent_video_is_refused(tmp_path: Path, decode: Decode) -> None:
    path = write(tmp_path / "v.mov", "qtrle", "argb", frame(alpha=0))

    with pytest.raises(JobError, match="fully transparent") as caught:
        decode(path, video=WHOLE)

    assert caught.value.code is ErrorCode.NO_FRAMES


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_opacity_beside_the_frames_of_webm_counts(
    codec: str, tmp_path: Path, decode: Decode
) -> None:
    path = write(tmp_path / "v.webm", codec, "yuva420p", frame())

    media = decode(path, video=WHOLE)

    border = np.concatenate([media.units[:, :4].ravel(), media.units[:, -4:].ravel()])
    assert (border >= 250).all()
    assert media.info.warnings == (ON_WHITE,)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_frames_with_opacity_beside_them_are_those_of_their_times(
    codec: str, tmp_path: Path, decode: Decode
) -> None:
    path = tmp_path / "v.webm"
    with av.open(str(path), "w") as container:
        options = {"auto-alt-ref": "0", "g": "5", "deadline": "realtime"}
        stream = container.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuva420p"
        for number in range(80):
            pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
            pixels[SEEN] = (*[40 + 2 * number] * 3, 255)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgba")
            container.mux(stream.encode(picture.reformat(format="yuva420p")))
        container.mux(stream.encode(None))

    media = decode(path, video=WHOLE)

    levels = media.units[:, 24:40, 32:64].mean(axis=(1, 2, 3))
    assert np.allclose(levels, 40 + 2 * np.rint(media.at_s * 10), atol=3)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_frames_with_opacity_are_decoded_anew_after_the_end(codec: str, tmp_path: Path) -> None:
    path = write(tmp_path / "v.webm", codec, "yuva420p", frame())
    with av.open(str(path)) as container:
        reader = Reader(container, container.streams.video[0], lambda: None)
        assert len(list(reader.frames())) == 3

        container.seek(0)
        reader.rewound()

        assert len(list(reader.frames())) == 3


@pytest.mark.parametrize(("pixel_format", "told"), [("yuva420p", 1), ("yuv420p", 0)])
def test_opacity_that_this_ffmpeg_cannot_decode_is_told(
    pixel_format: str, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(av_input.OPACITY_DECODERS, "vp9", "a decoder that is not built in")
    path = write(tmp_path / "v.webm", "libvpx-vp9", pixel_format, frame())

    with av.open(str(path)) as container:
        clip = read_video(
            container,
            container.streams.video[0],
            sampling=WHOLE,
            limits=MediaLimits(),
            tick=lambda: None,
            reopen=lambda: av.open(str(path)),
        )

    assert clip.warnings == (OPACITY_LEFT_OUT,) * told
