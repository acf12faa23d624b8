"""Still images of many tiny parts: walked over to a limit, which the result tells."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

import pytest
from PIL import Image

from detection_worker.errors import JobError
from detection_worker.media.stills import jpeg, png, source, webp
from detection_worker.media.stills.image import read_image
from detection_worker.media.stills.source import StillSource

MOST = 50
TEXT_CHUNK = struct.pack(">I4sI", 0, b"tEXt", zlib.crc32(b"tEXt"))


def picture(form: str) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 80, 200)).save(made, form)
    return made.getvalue()


def with_chunks(count: int) -> bytes:
    data = picture("PNG")
    return data[:-12] + TEXT_CHUNK * count + data[-12:]


def with_segments(count: int) -> bytes:
    data = picture("JPEG")
    return data[:2] + b"\xff\xef\0\2" * count + data[2:]


def with_riff_chunks(count: int) -> bytes:
    data = picture("WEBP") + b"junk\0\0\0\0" * count
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


@pytest.mark.parametrize(
    ("module", "read", "make"),
    [
        pytest.param(png, png.read_png, with_chunks, id="png"),
        pytest.param(jpeg, jpeg.read_jpeg, with_segments, id="jpeg"),
        pytest.param(webp, webp.read_webp, with_riff_chunks, id="webp"),
    ],
)
def test_the_walk_over_a_container_has_an_end_that_is_told(
    module: object,
    read: Callable[[BinaryIO], StillSource],
    make: Callable[[int], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_PARTS", MOST)

    few, many = (read(io.BytesIO(make(count))) for count in (MOST - 20, 10 * MOST))

    assert source.MANY_PARTS not in few.warnings
    assert source.MANY_PARTS in many.warnings


def test_the_picture_before_the_limit_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "MAX_PARTS", MOST)

    found = png.read_png(io.BytesIO(with_chunks(10 * MOST)))

    assert Image.open(io.BytesIO(found.file.read())).getpixel((3, 3)) == (9, 80, 200)


@pytest.mark.parametrize(
    ("container", "at"),
    [
        pytest.param("png", 8, id="png: before its header"),
        pytest.param("png", 33, id="png: before its pixels"),
        pytest.param("jpeg", 2, id="jpeg"),
    ],
)
def test_a_picture_beyond_the_limit_is_refused_for_that_reason(
    monkeypatch: pytest.MonkeyPatch, container: str, at: int
) -> None:
    monkeypatch.setattr(png, "MAX_PARTS", MOST)
    monkeypatch.setattr(jpeg, "MAX_PARTS", MOST)
    part = {"png": TEXT_CHUNK, "jpeg": b"\xff\xef\0\2"}[container]
    data = picture(container.upper())
    file = io.BytesIO(data[:at] + part * MOST + data[at:])

    with pytest.raises(JobError, match=source.MANY_PARTS):
        read_image(file, container, max_pixels=10_000)


def test_a_long_run_of_fill_bytes_is_passed_over() -> None:
    data = picture("JPEG")

    found = jpeg.read_jpeg(io.BytesIO(data[:2] + b"\xff" * 4_000_000 + data[2:]))

    assert not found.truncated
    assert Image.open(io.BytesIO(found.file.read())).size == (16, 16)


def test_a_large_png_in_the_smallest_common_chunks_is_read_whole() -> None:
    assert source.MAX_PARTS > 512 * 1024 * 1024 // 8192
