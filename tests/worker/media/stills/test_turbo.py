"""JPEGs by libjpeg-turbo itself: what is said of a file, and its pixels, are what Pillow gives."""

import io
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_testing.media.decoding import decode_here
from detection_worker.core.sampling import ImageSampling
from detection_worker.errors import JobError
from detection_worker.media.stills import image, jpeg, turbo
from detection_worker.media.stills.image import Picture, read_image
from detection_worker.media.values import DecodedMedia
from detection_worker.settings import MIB, MediaLimits

image.prepare()

START, END, SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
Said = tuple[object, ...]


@cache
def picture(width: int = 96, height: int = 80) -> Image.Image:
    return Image.fromarray(sample_media.texture(width=width, height=height, seed=4))


def saved(source: Image.Image | None = None, **how: object) -> bytes:
    buffer = io.BytesIO()
    (source or picture()).save(buffer, "JPEG", **how)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(67, 41), exif=exif)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PLAIN = {
    **{f"quality {q}": saved(quality=q) for q in (1, 10, 30, 50, 75, 90, 95, 100)},
    **{
        f"subsampling {s} {kind}": saved(subsampling=s, progressive=kind == "progressive")
        for s in ("4:4:4", "4:2:2", "4:2:0")
        for kind in ("baseline", "progressive")
    },
    **{
        f"{w} x {h}": saved(picture(w, h))
        for w, h in ((1, 1), (3, 2), (17, 9), (33, 64), (255, 1))
    },
    **{f"orientation {o}": turned(o) for o in range(1, 9)},
    "optimised": saved(optimize=True),
    "restart markers": saved(restart_marker_blocks=2),
    "restart markers, progressive": saved(restart_marker_rows=1, progressive=True),
    "grey": saved(picture().convert("L")),
    "grey, progressive": saved(picture().convert("L"), progressive=True),
    "RGB without conversion": saved(keep_rgb=True),
    "colour profile": saved(icc_profile=PROFILE),
    "comment": saved(comment=b"\xff\xd9 is no end here"),
    "something behind the end": saved() + b"trailing" + END,
    "another picture behind the end": saved() + saved(picture(33, 64)),
    "black": saved(Image.new("RGB", (64, 64), (9, 9, 9))),
    "dark but for a dot": saved(picture(64, 64).point(lambda v: 3), quality=95),
}


def resized_frame(data: bytes, change: bytes) -> bytes:
    """The picture with other height and width in its frame header."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + change + data[at + 4 :]


def without(data: bytes, marker: bytes) -> bytes:
    at = data.index(marker)
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:at] + data[at + 2 + length :]


WHOLE = saved(progressive=False)
STRANGE = {
    "CMYK": saved(picture().convert("CMYK")),
    "CMYK without the Adobe marker": without(saved(picture().convert("CMYK")), b"\xff\xee"),
    "YCCK": saved(picture().convert("CMYK")).replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"),
    "arithmetic": WHOLE.replace(b"\xff\xc0", b"\xff\xc9"),
    "lossless": WHOLE.replace(b"\xff\xc0", b"\xff\xc3"),
    "12 bits": WHOLE.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
    "no height": resized_frame(WHOLE, struct.pack(">HH", 0, 96)),
    "more rows than data": resized_frame(WHOLE, struct.pack(">HH", 200, 96)),
    "fewer rows than data": resized_frame(WHOLE, struct.pack(">HH", 40, 96)),
    "two frames": WHOLE[:2] + WHOLE[2 : WHOLE.index(SCAN)] + WHOLE[2:],
    "sampling of three": WHOLE.replace(b"\1\x22\0", b"\1\x31\0", 1),
    "no tables": without(WHOLE, b"\xff\xc4"),
    "no quantisation": without(WHOLE, b"\xff\xdb"),
    "junk between segments": WHOLE[:2] + b"\0" * 100 + WHOLE[2:],
    "short JFIF": START + b"\xff\xe0\0\x05JFI" + WHOLE[20:],
    "short Adobe": START + b"\xff\xee\0\x07Adobe" + WHOLE[20:],
    "only a header": WHOLE[: WHOLE.index(SCAN)] + END,
    "no data": WHOLE[: WHOLE.index(SCAN) + 14] + END,
    "an end in the middle": WHOLE[:-400] + END + WHOLE[-400:],
    "a restart that nobody announced": WHOLE[:-300] + b"\xff\xd3" + WHOLE[-300:],
}


def said(data: bytes) -> Said:
    """All that is found out about a picture."""
    try:
        found = read_image(io.BytesIO(data), "jpeg", max_pixels=1_000_000)
    except JobError as exc:
        return exc.code, exc.message
    return (found.pixels.tobytes(), *facts(found))


def facts(found: Picture) -> Said:
    return (
        found.pixels.shape,
        found.box,
        (found.width, found.height),
        found.truncated,
        found.damaged,
        found.warnings,
    )


def by_pillow(data: bytes) -> Said:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turbo, "decode", lambda *_args, **_options: None)
        return said(data)


@pytest.fixture
def decoded() -> Iterator[list[bool]]:
    """Whether libjpeg-turbo gave the pixels, of each file that it was asked for."""
    seen: list[bool] = []
    real = turbo.decode

    def watched(*args: object, **options: object) -> NDArray[np.uint8] | None:
        pixels = real(*args, **options)  # type: ignore[arg-type]
        seen.append(pixels is not None)
        return pixels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turbo, "decode", watched)
        yield seen


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_picture_is_the_same_by_either(name: str, decoded: list[bool]) -> None:
    found = said(PLAIN[name])

    assert found == by_pillow(PLAIN[name])
    assert decoded == [True]


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_not_plain_is_as_pillow_says(name: str) -> None:
    assert said(STRANGE[name]) == by_pillow(STRANGE[name])


@pytest.mark.parametrize("name", ["CMYK", "YCCK", "arithmetic", "lossless"])
def test_what_is_coded_otherwise_is_left_to_pillow(name: str, decoded: list[bool]) -> None:
    said(STRANGE[name])

    assert True not in decoded


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restarts", "grey"])
def test_a_picture_cut_anywhere_is_as_pillow_says(kind: str, decoded: list[bool]) -> None:
    data = {
        "baseline": saved(),
        "progressive": saved(progressive=True),
        "restarts": saved(restart_marker_rows=1),
        "grey": saved(picture().convert("L")),
    }[kind]

    for length in {*range(2, 30), *range(30, len(data), len(data) // 60), len(data) - 1}:
        assert said(data[:length]) == by_pillow(data[:length]), length
    assert True not in decoded


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(PLAIN)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_a_damaged_picture_is_as_pillow_says(name: str, hits: list[tuple[float, int]]) -> None:
    data = bytearray(PLAIN[name])
    for place, value in hits:
        data[3 + int(place * (len(data) - 4))] = value

    assert said(bytes(data)) == by_pillow(bytes(data))


def test_a_header_that_lies_costs_no_memory() -> None:
    bomb = resized_frame(WHOLE, struct.pack(">HH", 65_500, 65_500))

    tracemalloc.start()
    with pytest.raises(JobError) as caught:
        read_image(io.BytesIO(bomb), "jpeg", max_pixels=50_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.code is ErrorCode.TOO_MANY_PIXELS
    assert peak_bytes < 1_000_000


@pytest.mark.parametrize("progressive", [False, True])
def test_it_obeys_the_memory_of_a_file(
    progressive: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    decode: Callable[..., DecodedMedia],
) -> None:
    path = tmp_path / "a.jpg"
    flat = Image.new("RGB", (5000, 4000), (90, 120, 60))
    flat.save(path, subsampling=0, progressive=progressive)

    with pytest.raises(JobError) as caught:
        decode(path, limits=MediaLimits(decode_memory_bytes=64 * MIB))

    assert caught.value.code is ErrorCode.DECODE_MEMORY
    assert decode(path).info.warnings == ()


def test_a_picture_of_many_scans_is_decoded_once(decoded: list[bool]) -> None:
    data = saved(progressive=True)
    last = data.rindex(SCAN)
    bomb = data[:last] + data[last:-2] * (jpeg.MOST_SCANS + 1) + END

    assert said(bomb) == by_pillow(bomb)
    assert decoded == []
    assert said(data) == by_pillow(data)
    assert decoded == [True]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("view", ["crops", "centre", "whole", "faces"])
def test_units_do_not_depend_on_who_decodes(view: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(2000, 300).save(path, exif=exif)
    sampling = ImageSampling(crop_px=64, max_crops=3, view=view)  # type: ignore[arg-type]

    units, boxes = units_of(path, sampling)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turbo, "decode", lambda *_args, **_options: None)
        expected, expected_boxes = units_of(path, sampling)

    assert np.array_equal(units, expected)
    assert np.array_equal(boxes, expected_boxes)


def units_of(
    path: Path, sampling: ImageSampling
) -> tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.int32]]:
    media = decode_here(path, sampling)
    return media.units, media.boxes


def test_pillow_decodes_where_there_is_no_libjpeg_turbo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turbo, "simplejpeg", None)

    assert said(WHOLE) == by_pillow(WHOLE)


def test_the_process_that_holds_credentials_loads_no_decoder() -> None:
    program = (
        "import sys, detection_worker.pipeline.service.consumer, detection_worker.api\n"
        "print([name for name in ('simplejpeg', 'av') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
