"""What containers of still images say: metadata, orientation, and whether the file is whole."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_testing.media.sample_stills import make_tiff, png, png_chunks
from detection_worker.core.sampling import ImageSampling
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia

Decode = Callable[..., DecodedMedia]
Array = NDArray[np.uint8]

WHOLE = ImageSampling(crop_px=64, max_crops=1, view="faces")
LARGE = "metadata of more than 1 MiB was skipped"
BROKEN = "damaged metadata was skipped"
MIB = 1024 * 1024


def picture() -> Array:
    return sample_media.texture(width=96, height=80, seed=4)


def saved(suffix: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    name = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tiff": "TIFF", ".bmp": "BMP"}[suffix]
    Image.fromarray(picture()).save(buffer, name, **how)
    return buffer.getvalue()


def with_chunk(name: bytes, data: bytes) -> bytes:
    """The picture as PNG with a chunk in front of its pixels."""
    header, *rest = png_chunks(saved(".png"))
    return png([header, (name, data), *rest])


def with_segments(segments: list[tuple[int, bytes]]) -> bytes:
    """The picture as JPEG with application segments behind the first one."""
    data = saved(".jpg")
    own = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments
    )
    return data[:2] + own + data[2:]


def with_riff_chunk(name: bytes, data: bytes) -> bytes:
    """The picture as extended WebP with a chunk of metadata behind it."""
    whole = saved(".webp", lossless=True, exif=b"MM\0*\0\0\0\x08\0\0")
    own = struct.pack("<4sI", name, len(data)) + data + bytes(len(data) % 2)
    return whole[:4] + struct.pack("<I", len(whole) - 8 + len(own)) + whole[8:] + own


def decoded(tmp_path: Path, decode: Decode, name: str, data: bytes) -> DecodedMedia:
    (tmp_path / name).write_bytes(data)
    return decode(tmp_path / name, image=WHOLE)


def expected(suffix: str) -> Array:
    with Image.open(
        io.BytesIO(saved(suffix, **({"lossless": True} if suffix == ".webp" else {})))
    ) as image:
        return np.asarray(image.convert("RGB"))


ZEROS = bytes(2 * MIB)
LARGE_PNG = {
    "zTXt": with_chunk(b"zTXt", b"note\0\0" + zlib.compress(ZEROS)),
    "iTXt": with_chunk(b"iTXt", b"note\0\x01\0en\0note\0" + zlib.compress(ZEROS)),
    "iCCP": with_chunk(b"iCCP", b"icc\0\0" + zlib.compress(ZEROS)),
    "tEXt": with_chunk(b"tEXt", b"note\0" + ZEROS),
    "eXIf": with_chunk(b"eXIf", b"MM\0*\0\0\0\x08" + ZEROS),
    "private": with_chunk(b"prVt", ZEROS),
}
BROKEN_PNG = {
    "zTXt without zlib": with_chunk(b"zTXt", b"note\0\0not zlib at all"),
    "iCCP without zlib": with_chunk(b"iCCP", b"icc\0\0not zlib at all"),
}
STRANGE_PNG = {
    "zTXt by another method": with_chunk(b"zTXt", b"note\0\7" + zlib.compress(b"x")),
    "iCCP without a name": with_chunk(b"iCCP", b"icc"),
    "short gamma": with_chunk(b"gAMA", b"\0"),
    "short resolution": with_chunk(b"pHYs", b"\0"),
    "short EXIF": with_chunk(b"eXIf", b"II"),
    "iTXt without fields": with_chunk(b"iTXt", b"note\0\1"),
}


@pytest.mark.parametrize("kind", LARGE_PNG)
def test_large_metadata_of_a_png_is_skipped_with_a_warning(
    kind: str, tmp_path: Path, decode: Decode
) -> None:
    media = decoded(tmp_path, decode, "a.png", LARGE_PNG[kind])

    assert np.array_equal(media.units[0], picture())
    assert media.info.warnings == (LARGE,)
    assert (media.info.truncated, media.info.damaged) == (False, False)


@pytest.mark.parametrize("kind", BROKEN_PNG)
def test_broken_metadata_of_a_png_is_skipped_with_a_warning(
    kind: str, tmp_path: Path, decode: Decode
) -> None:
    media = decoded(tmp_path, decode, "a.png", BROKEN_PNG[kind])

    assert np.array_equal(media.units[0], picture())
    assert media.info.warnings == (BROKEN,)


@pytest.mark.parametrize("kind", STRANGE_PNG)
def test_metadata_that_nobody_understands_costs_nothing(
    kind: str, tmp_path: Path, decode: Decode
) -> None:
    media = decoded(tmp_path, decode, "a.png", STRANGE_PNG[kind])

    assert np.array_equal(media.units[0], picture())


def test_ten_thousand_texts_cost_neither_the_picture_nor_its_orientation(
    tmp_path: Path, decode: Decode
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    header, *rest = png_chunks(saved(".png", exif=exif))
    bomb = (b"zTXt", b"note\0\0" + zlib.compress(ZEROS))

    media = decoded(tmp_path, decode, "a.png", png([header, *[bomb] * 10_000, *rest]))

    assert np.array_equal(media.units[0], picture()[::-1, ::-1])
    assert media.info.warnings == (LARGE,)


@pytest.mark.parametrize(
    ("segments", "warnings"),
    [
        pytest.param([(0xE1, b"Exif\0\0" + bytes(65_000))] * 40, (LARGE,), id="EXIF"),
        pytest.param([(0xE2, b"ICC_PROFILE\0\x01\x28" + bytes(65_000))] * 40, (LARGE,), id="ICC"),
        pytest.param([(0xED, b"Photoshop 3.0\0" + bytes(65_000))] * 40, (LARGE,), id="Photoshop"),
        pytest.param([(0xFE, bytes(65_000))] * 40, (LARGE,), id="comments"),
        pytest.param([(0xE7, b"x")] * 20_000, (), id="many"),
        pytest.param([(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")], (), id="broken EXIF"),
        pytest.param([(0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff")], (), id="broken MPF"),
        pytest.param([(0xE2, b"MPF\0II*\0\xff\xff\xff\x7f")], (), id="MPF without directory"),
        pytest.param([(0xE2, b"ICC_PROFILE\0")], (), id="ICC without a number"),
        pytest.param([(0xEE, b"Adobe")], (), id="short Adobe marker"),
        pytest.param([(0xED, b"Photoshop 3.0\x008BIM")], (), id="short Photoshop block"),
    ],
)
def test_metadata_never_costs_a_jpeg(
    segments: list[tuple[int, bytes]], warnings: tuple[str, ...], tmp_path: Path, decode: Decode
) -> None:
    media = decoded(tmp_path, decode, "a.jpg", with_segments(segments))

    assert np.array_equal(media.units[0], expected(".jpg"))
    assert media.info.warnings == warnings


@pytest.mark.parametrize(
    ("name", "data", "warnings"),
    [
        pytest.param(b"XMP ", bytes(2 * MIB), (LARGE,), id="XMP"),
        pytest.param(b"ICCP", bytes(2 * MIB), (LARGE,), id="ICC"),
        pytest.param(b"EXIF", bytes(2 * MIB), (LARGE,), id="EXIF"),
        pytest.param(b"none", bytes(2 * MIB), (LARGE,), id="unknown"),
        pytest.param(b"EXIF", b"\xff\xff\xff", (), id="broken EXIF"),
    ],
)
def test_metadata_never_costs_a_webp(
    name: bytes, data: bytes, warnings: tuple[str, ...], tmp_path: Path, decode: Decode
) -> None:
    media = decoded(tmp_path, decode, "a.webp", with_riff_chunk(name, data))

    assert np.array_equal(media.units[0], picture())
    assert media.info.warnings == warnings


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize(
    ("tag", "kind", "values", "warnings"),
    [
        pytest.param(34675, 7, bytes(2 * MIB), (LARGE,), id="large ICC"),
        pytest.param(700, 1, bytes(2 * MIB), (LARGE,), id="large XMP"),
        pytest.param(34377, 7, bytes(2 * MIB), (LARGE,), id="large Photoshop block"),
        pytest.param(34665, 4, [0xFFFFFFFF], (), id="EXIF outside of the file"),
        pytest.param(34853, 4, [7], (), id="GPS in the header"),
        pytest.param(330, 4, [0xFFFFFFF0] * 3, (), id="directories outside of the file"),
        pytest.param(282, 5, [1, 0, 2, 0, 3, 0], (), id="three resolutions by zero"),
        pytest.param(296, 3, [3], (), id="a unit without a resolution"),
        pytest.param(274, 2, b"upright\0", (), id="orientation in words"),
        pytest.param(274, 3, [77], (), id="orientation beyond 8"),
        pytest.param(305, 2, b"x" * 9, (), id="text without an end"),
    ],
)
def test_metadata_never_costs_a_tiff(
    tag: int,
    kind: int,
    values: list[int] | bytes,
    warnings: tuple[str, ...],
    big: bool,  # noqa: FBT001 - a test's parameter
    tmp_path: Path,
    decode: Decode,
) -> None:
    path = make_tiff(
        tmp_path / "a.tiff", picture(), photometric=2, big=big, tags={tag: (kind, values)}
    )

    media = decode(path, image=WHOLE)

    assert np.array_equal(media.units[0], picture())
    assert media.info.warnings == warnings


def test_a_tag_that_claims_gigabytes_costs_nothing(tmp_path: Path, decode: Decode) -> None:
    path = make_tiff(tmp_path / "a.tiff", picture(), photometric=2, tags={34675: (7, b"12345678")})
    data = bytearray(path.read_bytes())
    at = data.rindex(struct.pack("<HHI", 34675, 7, 8))
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)

    media = decode(path, image=WHOLE)

    assert np.array_equal(media.units[0], picture())


def test_a_pixel_bomb_stays_refused(tmp_path: Path, decode: Decode) -> None:
    with pytest.raises(JobError) as caught:
        decode(sample_media.make_bomb_png(tmp_path / "a.png"))

    assert caught.value.code is ErrorCode.TOO_MANY_PIXELS


def oriented(suffix: str, orientation: int, by: str) -> bytes:
    exif = Image.Exif()
    if by == "EXIF":
        exif[0x0112] = orientation
    packet = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    how: dict[str, object] = {"exif": exif}
    if suffix == ".webp":
        how["lossless"] = True
    if by == "XMP" and suffix != ".png":
        how["xmp"] = packet
    if suffix == ".tiff":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        if by == "EXIF":
            info[274] = orientation
        else:
            info[700] = packet
        how = {"tiffinfo": info}
    if suffix == ".png" and by == "XMP":
        return with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    return saved(suffix, **how)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("by", ["EXIF", "XMP"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_every_orientation_of_every_format_is_applied(
    suffix: str, by: str, orientation: int, tmp_path: Path, decode: Decode
) -> None:
    data = oriented(suffix, orientation, by)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(expected(suffix))
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored))

    media = decoded(tmp_path, decode, f"a{suffix}", data)

    assert np.array_equal(media.units[0], upright)


@pytest.mark.parametrize("orientation", [0, 9, 300, 65_535])
def test_an_orientation_that_there_is_not_is_ignored(
    orientation: int, tmp_path: Path, decode: Decode
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    media = decoded(tmp_path, decode, "a.jpg", saved(".jpg", exif=exif))

    assert np.array_equal(media.units[0], expected(".jpg"))


def test_old_profiles_of_imagemagick_are_read(tmp_path: Path, decode: Decode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = b"\nexif\n" + str(len(exif.tobytes())).encode() + b"\n" + exif.tobytes().hex().encode()
    chunk = b"Raw profile type exif\0\0" + zlib.compress(body)

    media = decoded(tmp_path, decode, "a.png", with_chunk(b"zTXt", chunk))

    assert (media.info.width, media.info.height) == (80, 96)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp"])
def test_a_whole_file_is_neither_truncated_nor_damaged(
    suffix: str, tmp_path: Path, decode: Decode
) -> None:
    data = saved(suffix) + b"what some programs append"

    media = decoded(tmp_path, decode, f"a{suffix}", data)

    assert (media.info.truncated, media.info.damaged) == (False, False)
    assert media.info.warnings == ()


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        pytest.param(".jpg", {}, id="JPEG"),
        pytest.param(".jpg", {"progressive": True}, id="progressive JPEG"),
        pytest.param(".png", {}, id="PNG"),
        pytest.param(".bmp", {}, id="BMP"),
        pytest.param(".tiff", {}, id="TIFF"),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_ends_early_is_truncated_not_damaged(
    suffix: str, how: dict[str, object], share: float, tmp_path: Path, decode: Decode
) -> None:
    data = saved(suffix, **how)
    if suffix == ".tiff":  # Pillow writes the directory first
        data = make_tiff_with_directory_first()

    media = decoded(tmp_path, decode, f"a{suffix}", data[: int(len(data) * share)])

    assert (media.info.truncated, media.info.damaged) == (True, False)
    assert media.info.warnings == ("the image is truncated",)


def make_tiff_with_directory_first() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("suffix", "cut"),
    [
        pytest.param(".png", 12, id="PNG without IEND"),
        pytest.param(".png", 5, id="PNG with half an IEND"),
        pytest.param(".jpg", 2, id="JPEG without EOI"),
    ],
)
def test_a_file_that_lacks_only_its_end_is_truncated(
    suffix: str, cut: int, tmp_path: Path, decode: Decode
) -> None:
    media = decoded(tmp_path, decode, f"a{suffix}", saved(suffix)[:-cut])

    assert (media.info.truncated, media.info.damaged) == (True, False)
    assert np.array_equal(media.units[0], expected(suffix))


@pytest.mark.parametrize("name", [b"tEXt", b"tIME", b"gAMA", b"prVt"])
def test_a_wrong_checksum_of_metadata_is_damage_not_truncation(
    name: bytes, tmp_path: Path, decode: Decode
) -> None:
    header, *rest = png_chunks(saved(".png"))
    data = png([header, (name, b"\0\0\xb1\x8f"), *rest], wrong_checksum=[name])

    media = decoded(tmp_path, decode, "a.png", data)

    assert (media.info.truncated, media.info.damaged) == (False, True)
    assert media.info.warnings == (BROKEN,)
    assert np.array_equal(media.units[0], picture())


def test_a_wrong_checksum_of_the_pixels_is_damage(tmp_path: Path, decode: Decode) -> None:
    data = png(png_chunks(saved(".png")), wrong_checksum=[b"IDAT"])

    media = decoded(tmp_path, decode, "a.png", data)

    assert (media.info.truncated, media.info.damaged) == (False, True)
    assert media.info.warnings == ("the image is damaged",)


def test_pixels_that_do_not_decode_are_damage(tmp_path: Path, decode: Decode) -> None:
    chunks = [
        (name, body[: len(body) // 2] + b"\xff" * 9 + body[len(body) // 2 + 9 :])
        if name == b"IDAT" else (name, body)
        for name, body in png_chunks(saved(".png"))
    ]  # fmt: skip

    media = decoded(tmp_path, decode, "a.png", png(chunks))

    assert (media.info.truncated, media.info.damaged) == (False, True)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_the_strips_before_a_corrupt_one_are_analysed(
    compression: str, tmp_path: Path, decode: Decode
) -> None:
    large = Image.fromarray(sample_media.texture(width=400, height=400, seed=4))
    large.save(tmp_path / "a.tiff", compression=compression, strip_size=400 * 3 * 40)
    data = bytearray((tmp_path / "a.tiff").read_bytes())
    at = len(data) * 2 // 3
    data[at : at + 2_000] = b"\xff" * 2_000

    media = decoded(tmp_path, decode, "a.tiff", bytes(data))

    assert (media.info.truncated, media.info.damaged) == (False, True)
    assert media.units[0, :64].std() > 10


def test_pictures_behind_the_first_do_not_make_a_jpeg_truncated(
    tmp_path: Path, decode: Decode
) -> None:
    thumbnail = (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0" + saved(".jpg", quality=10)[:4000])
    data = with_segments([thumbnail]) + saved(".jpg")[:700]

    media = decoded(tmp_path, decode, "a.jpg", data)

    assert (media.info.truncated, media.info.damaged) == (False, False)


def test_an_end_inside_a_thumbnail_is_not_the_end_of_the_picture(
    tmp_path: Path, decode: Decode
) -> None:
    thumbnail = (
        0xE1,
        b"Exif\0\0MM\0*\0\0\0\x08\0\0" + saved(".jpg", quality=10)[:4000] + b"\xff\xd9",
    )

    media = decoded(tmp_path, decode, "a.jpg", with_segments([thumbnail])[:-600])

    assert media.info.truncated


def test_a_webp_without_its_last_padding_byte_is_whole(tmp_path: Path, decode: Decode) -> None:
    whole = saved(".webp", lossless=True)
    data = whole[:4] + struct.pack("<I", len(whole) - 8 + 1) + whole[8:]

    media = decoded(tmp_path, decode, "a.webp", data)

    assert (media.info.truncated, media.info.damaged) == (False, False)
    assert np.array_equal(media.units[0], picture())


def test_a_webp_that_ends_early_is_named_truncated(tmp_path: Path, decode: Decode) -> None:
    with pytest.raises(JobError, match="truncated") as caught:
        decoded(tmp_path, decode, "a.webp", saved(".webp")[:900])

    assert caught.value.code is ErrorCode.UNDECODABLE
