"""Frames as ffmpeg and players show them: turned and mirrored by the display matrix."""

import gc
import math
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from detection_testing.media import sample_media
from detection_worker.core.sampling import VideoSampling
from detection_worker.media.crops import Pixels
from detection_worker.media.streams.display import upright
from detection_worker.media.values import DecodedMedia

WIDTH, HEIGHT = 96, 64
ORIENTATIONS = {
    "upright": (1, 0, 0, 1),
    "mirrored left to right": (-1, 0, 0, 1),
    "mirrored top to bottom": (1, 0, 0, -1),
    "upside down": (-1, 0, 0, -1),
    "a quarter clockwise": (0, 1, -1, 0),
    "a quarter counterclockwise": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0),
    "transposed along the other diagonal": (0, -1, -1, 0),
}


def turn(degrees: float) -> tuple[float, float, float, float]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cos, sin, -sin, cos


def first_frame(path: Path) -> Pixels:
    with av.open(str(path)) as container:
        return np.ascontiguousarray(upright(next(container.decode(video=0))))


def shown(pixels: Pixels, matrix: tuple[int, int, int, int]) -> Pixels:
    """Each pixel put where the matrix says, one by one."""
    a, b, c, d = matrix
    height, width = pixels.shape[:2]
    places = {(x, y): (a * x + c * y, b * x + d * y) for x in range(width) for y in range(height)}
    left = min(x for x, _ in places.values())
    top = min(y for _, y in places.values())
    right = max(x for x, _ in places.values())
    bottom = max(y for _, y in places.values())
    canvas = np.zeros((bottom - top + 1, right - left + 1, 3), np.uint8)
    for (x, y), (to_x, to_y) in places.items():
        canvas[to_y - top, to_x - left] = pixels[y, x]
    return canvas


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return sample_media.make_video(tmp_path / "v.mp4", seconds=0.2, width=WIDTH, height=HEIGHT)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_orientation_moves_pixels_where_the_matrix_says(name: str, video: Path) -> None:
    stored = first_frame(video)

    sample_media.set_display_matrix(video, ORIENTATIONS[name])

    assert np.array_equal(first_frame(video), shown(stored, ORIENTATIONS[name]))


@pytest.mark.parametrize(
    ("degrees", "seen"),
    [
        pytest.param(0.4, "upright", id="nearly upright"),
        pytest.param(1, "upright", id="one degree"),
        pytest.param(89.6, "a quarter clockwise", id="nearly a quarter"),
        pytest.param(180.4, "upside down", id="nearly upside down"),
        pytest.param(269.8, "a quarter counterclockwise", id="nearly three quarters"),
        pytest.param(359.6, "upright", id="nearly a whole turn"),
    ],
)
def test_angles_are_rounded_to_whole_degrees(degrees: float, seen: str, video: Path) -> None:
    stored = first_frame(video)

    sample_media.set_display_matrix(video, turn(degrees))

    assert np.array_equal(first_frame(video), shown(stored, ORIENTATIONS[seen]))


def test_any_other_angle_keeps_the_size_and_blackens_the_corners(video: Path) -> None:
    stored = first_frame(video)

    sample_media.set_display_matrix(video, turn(45))

    turned = first_frame(video)
    assert turned.shape == stored.shape
    assert turned[:4, :4].max() < 16
    middle = (HEIGHT // 2, WIDTH // 2)
    assert np.abs(turned[middle].astype(int) - stored[middle]).max() < 24


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param((0, 0, 0, 0), id="nothing but zeros"),
        pytest.param((0, 1, 0, 1), id="no width"),
        pytest.param((2, 0, 0, 3), id="scaled"),
    ],
)
def test_a_matrix_without_a_direction_leaves_the_frame_alone(
    matrix: tuple[float, float, float, float], video: Path
) -> None:
    stored = first_frame(video)

    sample_media.set_display_matrix(video, matrix)

    assert np.array_equal(first_frame(video), stored)


def test_a_frame_is_freed_once_its_pixels_are_taken(video: Path) -> None:
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            upright(frame)
        del frame

    assert not [o for o in gc.get_objects() if type(o) is av.VideoFrame]


@pytest.mark.parametrize(
    ("matrix", "size"),
    [
        pytest.param(ORIENTATIONS["mirrored left to right"], (WIDTH, HEIGHT), id="mirrored"),
        pytest.param(ORIENTATIONS["transposed"], (HEIGHT, WIDTH), id="transposed"),
        pytest.param(turn(30), (WIDTH, HEIGHT), id="30 degrees"),
    ],
)
def test_frames_come_out_of_the_jail_upright(
    matrix: tuple[float, float, float, float],
    size: tuple[int, int],
    video: Path,
    decode: Callable[..., DecodedMedia],
) -> None:
    sample_media.set_display_matrix(video, matrix)

    media = decode(video, video=VideoSampling(max_frames=8, view="faces", crops_per_frame=1))

    assert (media.info.width, media.info.height) == size
    assert np.array_equal(media.units[0], first_frame(video))


@pytest.mark.parametrize("name", [*ORIENTATIONS, "30 degrees"])
def test_frames_are_those_of_ffmpeg(name: str, video: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("NOT RUN: there is no ffmpeg to compare with")
    sample_media.set_display_matrix(video, ORIENTATIONS.get(name) or turn(30))

    ours = first_frame(video)

    command = [ffmpeg, "-v", "error", "-i", str(video), "-frames:v", "1", "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    theirs = np.frombuffer(raw.stdout, np.uint8).reshape(ours.shape)
    assert np.abs(ours.astype(int) - theirs).mean() < 1


def anamorphic(path: Path, *, aspect: Fraction) -> Path:
    picture = sample_media.texture(width=WIDTH, height=HEIGHT, seed=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("aspect", "matrix", "shown", "stored"),
    [
        pytest.param(Fraction(4, 3), None, (128, 64), (96, 64), id="wide pixels"),
        pytest.param(Fraction(3, 4), None, (72, 64), (96, 64), id="high pixels"),
        pytest.param(Fraction(1), None, (96, 64), (96, 64), id="square pixels"),
        pytest.param(Fraction(50), None, (96, 64), (96, 64), id="damage"),
        pytest.param(
            Fraction(4, 3), "a quarter clockwise", (48, 96), (64, 96), id="wide pixels, turned"
        ),
    ],
)
def test_pixels_that_are_no_squares_are_stretched_where_faces_are_looked_for(
    aspect: Fraction,
    matrix: str | None,
    shown: tuple[int, int],
    stored: tuple[int, int],
    tmp_path: Path,
    decode: Callable[..., DecodedMedia],
) -> None:
    path = anamorphic(tmp_path / "v.mp4", aspect=aspect)
    if matrix is not None:
        sample_media.set_display_matrix(path, ORIENTATIONS[matrix])

    media = decode(path, video=VideoSampling(max_frames=8, view="faces", crops_per_frame=1))

    assert media.units.shape[2:0:-1] == shown
    assert (media.info.width, media.info.height) == stored
    assert media.boxes[0].tolist() == [0, 0, *stored]


def test_crops_of_pixels_that_are_no_squares_are_left_as_they_are(
    tmp_path: Path, decode: Callable[..., DecodedMedia]
) -> None:
    path = anamorphic(tmp_path / "v.mp4", aspect=Fraction(4, 3))
    stored = first_frame(path)

    media = decode(path, video=VideoSampling(max_frames=1, crop_px=64, crops_per_frame=1))

    left, top, right, bottom = media.boxes[0]
    assert np.abs(media.units[0].astype(int) - stored[top:bottom, left:right]).mean() < 4
