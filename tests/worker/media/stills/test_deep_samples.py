"""Samples of more than eight bits: scaled by what the file says, or refused."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detection_contract.error_codes import ErrorCode
from detection_testing.media.sample_stills import make_tiff, png_of
from detection_worker.core.sampling import ImageSampling
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia

Decode = Callable[..., DecodedMedia]
Array = NDArray[Any]

WHOLE = ImageSampling(crop_px=64, max_crops=1, view="faces")
SIDE = 64
SHADES = np.tile(np.linspace(0, 1, SIDE), (SIDE, 1))
"""From black to white."""
EIGHT_BITS = np.rint(SHADES * 255).astype(int)


def twelve_bits(shades: Array) -> Array:
    """Two samples of 12 bits in three bytes, as TIFF packs them."""
    first, second = shades[:, ::2], shades[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2)
    return packed.reshape(SIDE, -1).astype(np.uint8)


def check(media: DecodedMedia, expected: Array = EIGHT_BITS, *warnings: str) -> None:
    assert np.abs(media.units[0, ..., 0].astype(int) - expected).max() <= 1
    assert media.info.warnings == warnings


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_twelve_bits_reach_white(
    big: bool,  # noqa: FBT001 - a test's parameter
    tmp_path: Path,
    decode: Decode,
) -> None:
    samples = twelve_bits(np.rint(SHADES * 4095).astype(int))
    tags = {256: (4, [SIDE]), 258: (3, [12])}
    path = make_tiff(tmp_path / "a.tiff", samples, tags=tags, big=big)

    check(decode(path, image=WHOLE))


SIGNED_SIXTEEN = {340: (11, [-32_768.0]), 341: (11, [32_767.0])}
SAID = [
    ("16 bits", SHADES * 65_535, np.uint16, {}),
    ("float 0 to 1", SHADES, np.float32, {}),
    ("a little over white", SHADES * 1.05, np.float32, {341: (11, [1.05])}),
    ("float 0 to 4", SHADES * 4, np.float32, {340: (11, [0.0]), 341: (11, [4.0])}),
    ("float -4 to 4", SHADES * 8 - 4, np.float32, {340: (11, [-4.0]), 341: (12, [4.0])}),
    ("12 bits in 16", SHADES * 4095, np.uint16, {340: (3, [0]), 341: (3, [4095])}),
    ("the older tag", SHADES * 4095, np.uint16, {281: (3, [4095])}),
    ("16 bits, signed", SHADES * 32_767, np.int16, {}),
    ("32 bits, signed", SHADES * (2**31 - 1), np.int32, {}),
    ("32 bits with a range", SHADES * 2**30, np.int32, {340: (4, [0]), 341: (4, [2**30])}),
    ("negative with a range", SHADES * 65_535 - 32_768, np.int16, SIGNED_SIXTEEN),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("samples", "tags"),
    [pytest.param(values.astype(kind), tags, id=name) for name, values, kind, tags in SAID],
)
def test_samples_are_scaled_by_what_the_file_says(
    samples: Array,
    tags: dict[int, Any],
    order: Literal["<", ">"],
    tmp_path: Path,
    decode: Decode,
) -> None:
    check(decode(make_tiff(tmp_path / "a.tiff", samples, tags=tags, order=order), image=WHOLE))


def test_unsigned_32_bits_are_not_read_as_negative(tmp_path: Path, decode: Decode) -> None:
    samples = (SHADES * (2**32 - 1)).astype(np.uint32)

    check(decode(make_tiff(tmp_path / "a.tiff", samples), image=WHOLE))


def test_signed_bytes_are_not_read_as_unsigned(tmp_path: Path, decode: Decode) -> None:
    samples = (SHADES * 255 - 128).astype(np.int8)
    tags = {340: (11, [-128.0]), 341: (11, [127.0])}

    check(decode(make_tiff(tmp_path / "a.tiff", samples, tags=tags), image=WHOLE))


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(((1 - SHADES) * 65_535).astype(np.uint16), id="16 bits"),
        pytest.param((1 - SHADES).astype(np.float32), id="float"),
        pytest.param((255 - EIGHT_BITS).astype(np.uint8), id="8 bits"),
    ],
)
def test_white_is_zero_where_the_file_says_so(
    samples: Array, tmp_path: Path, decode: Decode
) -> None:
    check(decode(make_tiff(tmp_path / "a.tiff", samples, photometric=0), image=WHOLE))


@pytest.mark.parametrize(
    ("samples", "warning"),
    [
        pytest.param(
            (SHADES * 255).astype(np.int32),
            "samples up to 255 in 32 bits were taken as 255 for white", id="bytes in 32 bits",
        ),
        pytest.param(
            (SHADES * 65_535).astype(np.float32),
            "samples up to 65535 in 32 bits were taken as 65535 for white", id="16 bits as float",
        ),
    ],
)  # fmt: skip
def test_widened_samples_keep_their_brightness_and_that_is_said(
    samples: Array, warning: str, tmp_path: Path, decode: Decode
) -> None:
    check(decode(make_tiff(tmp_path / "a.tiff", samples), image=WHOLE), EIGHT_BITS, warning)


@pytest.mark.parametrize("stray", [np.inf, -np.inf, np.nan])
def test_stray_samples_that_are_no_numbers_do_not_darken_the_rest(
    stray: float, tmp_path: Path, decode: Decode
) -> None:
    samples = SHADES.astype(np.float32)
    samples[5, 7] = stray

    media = decode(make_tiff(tmp_path / "a.tiff", samples), image=WHOLE)

    expected = EIGHT_BITS.copy()
    expected[5, 7] = 255 if stray == np.inf else 0
    check(media, expected, "1 samples are not finite numbers")


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param((SHADES * 4).astype(np.float32), id="float 0 to 4"),
        pytest.param(np.rint(SHADES * 4).astype(np.float32), id="five whole numbers"),
        pytest.param((SHADES * 1e9).astype(np.float32), id="float up to a billion"),
        pytest.param((SHADES - 0.5).astype(np.float32), id="negative float"),
        pytest.param(np.full((SIDE, SIDE), np.inf, np.float32), id="infinity"),
        pytest.param(np.full((SIDE, SIDE), np.nan, np.float32), id="not a number"),
        pytest.param((SHADES * 2000 - 1000).astype(np.int16), id="negative integers"),
        pytest.param((SHADES * 1000).astype(np.int32), id="up to 1000 in 32 bits"),
        pytest.param(np.repeat(SHADES[..., None], 3, axis=2).astype(np.float32), id="float RGB"),
        pytest.param(np.repeat(EIGHT_BITS[..., None], 3, axis=2).astype(np.uint32), id="deep RGB"),
        pytest.param(SHADES.astype(np.float64), id="double"),
        pytest.param(SHADES.astype(np.float16), id="half"),
    ],
)  # fmt: skip
def test_what_nobody_can_scale_is_refused_with_a_reason(
    samples: Array, tmp_path: Path, decode: Decode
) -> None:
    photometric = 2 if samples.ndim == 3 else 1
    path = make_tiff(tmp_path / "a.tiff", samples, photometric=photometric)

    with pytest.raises(JobError) as caught:
        decode(path)

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE
    assert "damaged" not in caught.value.message
    assert "samples" in caught.value.message or "sample" in caught.value.message


@pytest.mark.parametrize(
    ("colour", "channels"),
    [
        pytest.param(0, 1, id="grey"),
        pytest.param(2, 3, id="RGB"),
        pytest.param(4, 2, id="grey and alpha"),
        pytest.param(6, 4, id="RGB and alpha"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_twelve_bits_that_a_file_calls_sixteen_are_refused(
    suffix: str, colour: int, channels: int, tmp_path: Path, decode: Decode
) -> None:
    rows = np.repeat((SHADES * 4095)[..., None], channels, axis=2).astype(np.uint16)
    if channels in {2, 4}:
        rows[..., -1] = 65_535
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        path.write_bytes(png_of(rows, depth=16, colour=colour))
    else:
        tags: dict[int, Any] = {338: (3, [2])} if channels in {2, 4} else {}
        make_tiff(path, rows, photometric=2 if channels > 2 else 1, tags=tags)

    with pytest.raises(JobError) as caught:
        decode(path)

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE
    assert "samples" in caught.value.message


def test_eight_bits_that_are_nearly_black_are_said_to_be(tmp_path: Path, decode: Decode) -> None:
    Image.fromarray((SHADES * 9).astype(np.uint8)).save(tmp_path / "a.png")

    assert decode(tmp_path / "a.png").info.warnings == (
        "the picture is nearly black: its brightest sample is at 4% of white",
    )


@pytest.mark.parametrize(
    ("depth", "colour", "channels"),
    [
        pytest.param(16, 0, 1, id="grey"),
        pytest.param(16, 2, 3, id="RGB"),
        pytest.param(16, 4, 2, id="grey and alpha"),
        pytest.param(16, 6, 4, id="RGB and alpha"),
    ],
)
def test_a_png_of_16_bits_reaches_white(
    depth: int, colour: int, channels: int, tmp_path: Path, decode: Decode
) -> None:
    rows = np.repeat(np.rint(SHADES * 65_535)[..., None], channels, axis=2).astype(np.uint16)
    if channels in {2, 4}:
        rows[..., -1] = 65_535
    (tmp_path / "a.png").write_bytes(png_of(rows, depth=depth, colour=colour))

    check(decode(tmp_path / "a.png", image=WHOLE))


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_few_bits_reach_white(bits: int, suffix: str, tmp_path: Path, decode: Decode) -> None:
    levels = np.rint(SHADES * (2**bits - 1)).astype(np.uint8)
    exploded = np.unpackbits(levels[..., None], axis=2)[..., 8 - bits :]
    packed = np.packbits(exploded.reshape(SIDE, -1), axis=1)
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        path.write_bytes(png_of(packed, depth=bits, colour=0))
    else:
        make_tiff(path, packed, tags={256: (4, [SIDE]), 258: (3, [bits])})

    check(decode(path, image=WHOLE), levels.astype(int) * 255 // (2**bits - 1))


def test_colours_of_twelve_bits_in_sixteen_are_not_scored_as_black(
    tmp_path: Path, decode: Decode
) -> None:
    samples = np.repeat((SHADES * 4095)[..., None], 3, axis=2).astype(np.uint16)
    tags = {340: (3, [0] * 3), 341: (3, [4095] * 3)}
    path = make_tiff(tmp_path / "a.tiff", samples, photometric=2, tags=tags)

    with pytest.raises(JobError, match="white is 4095") as caught:
        decode(path)

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE


def test_a_jpeg_of_twelve_bits_is_refused_by_its_name(tmp_path: Path, decode: Decode) -> None:
    path = tmp_path / "a.jpg"
    Image.new("L", (64, 64)).save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 4] = 12
    path.write_bytes(data)

    with pytest.raises(JobError, match="a JPEG of 12 bits") as caught:
        decode(path)

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE


def test_a_tiff_of_an_unknown_compression_is_refused_by_its_number(
    tmp_path: Path, decode: Decode
) -> None:
    shades = EIGHT_BITS.astype(np.uint8)
    path = make_tiff(tmp_path / "a.tiff", shades, tags={259: (3, [34_712])})

    with pytest.raises(JobError, match="compression 34712") as caught:
        decode(path)

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE


def test_a_tiff_whose_directory_lacks_its_width_is_undecodable(
    tmp_path: Path, decode: Decode
) -> None:
    path = make_tiff(tmp_path / "a.tiff", EIGHT_BITS.astype(np.uint8))
    data = bytearray(path.read_bytes())
    data[data.rindex(struct.pack("<HH", 256, 4))] = 254 - 256 & 255
    path.write_bytes(data)

    with pytest.raises(JobError) as caught:
        decode(path)

    assert caught.value.code is ErrorCode.UNDECODABLE
