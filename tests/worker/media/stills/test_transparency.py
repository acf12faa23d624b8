"""What no viewer shows must not decide: transparent pixels, invisible borders, hidden frames."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_testing.media.sample_stills import make_tiff, png, png_chunks, png_of
from detection_worker.core.sampling import ImageSampling
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia

Decode = Callable[..., DecodedMedia]
Array = NDArray[np.uint8]

WHOLE = ImageSampling(crop_px=64, max_crops=1, view="faces")
"""The picture itself, as it is."""
ON_WHITE = "transparent pixels were shown on white"
WIDTH, HEIGHT = 96, 64
SEEN = (16, 8, 80, 56)
"""Left, top, right, bottom of what is opaque."""


def rgba(*, alpha: int = 255, hidden: int = 0) -> Array:
    """A picture with noise behind an alpha of ``hidden`` around a visible part."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    noise[..., 3] = hidden
    left, top, right, bottom = SEEN
    noise[top:bottom, left:right, :3] = visible()
    noise[top:bottom, left:right, 3] = alpha
    return noise


def visible() -> Array:
    left, top, right, bottom = SEEN
    return sample_media.texture(width=right - left, height=bottom - top, seed=3)


def grey(picture: Array) -> Array:
    return np.asarray(Image.fromarray(picture).convert("L"))


def save_rgba(path: Path) -> Array:
    Image.fromarray(rgba()).save(path, lossless=True) if path.suffix == ".webp" else (
        Image.fromarray(rgba()).save(path)
    )
    return visible()


def save_grey_alpha(path: Path) -> Array:
    stored = rgba()
    Image.fromarray(np.dstack([stored[..., 0], stored[..., 3]]), "LA").save(path)
    return np.repeat(visible()[..., :1], 3, axis=2)


def save_sixteen_bits(path: Path) -> Array:
    deep = rgba().astype(np.uint16) * 257
    path.write_bytes(png_of(deep, depth=16, colour=6))
    return visible()


def save_sixteen_bit_grey(path: Path) -> Array:
    deep = rgba()[..., [0, 3]].astype(np.uint16) * 257
    path.write_bytes(png_of(deep, depth=16, colour=4))
    return np.repeat(visible()[..., :1], 3, axis=2)


def _palette(path: Path, clear: bytes | int) -> Array:
    left, top, right, bottom = SEEN
    inner = Image.fromarray(visible()).quantize(200)
    indices = np.random.default_rng(1).integers(200, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    if isinstance(clear, int):
        indices[:] = clear
    indices[top:bottom, left:right] = np.asarray(inner)
    picture = Image.fromarray(indices, "P")
    colours = (inner.getpalette() or [])[:600]
    picture.putpalette([*colours, *(7 * i % 256 for i in range(768 - len(colours)))])
    picture.save(path, transparency=clear)
    return np.asarray(inner.convert("RGB"))


def save_palette(path: Path) -> Array:
    return _palette(path, b"\xff" * 200 + bytes(56))


def save_palette_with_one_clear_colour(path: Path) -> Array:
    return _palette(path, 255)


def save_colour_key(path: Path) -> Array:
    stored = rgba()
    stored[stored[..., 3] == 0] = (1, 2, 3, 0)
    key = struct.pack(">3H", 1, 2, 3)
    path.write_bytes(png_of(stored[..., :3], depth=8, colour=2, before_data=[(b"tRNS", key)]))
    return visible()


def save_deep_colour_key(path: Path) -> Array:
    stored = rgba().astype(np.uint16) * 257
    stored[stored[..., 3] == 0] = (0x0102, 0x0203, 0x0304, 0)
    key = struct.pack(">3H", 0x0102, 0x0203, 0x0304)
    path.write_bytes(png_of(stored[..., :3], depth=16, colour=2, before_data=[(b"tRNS", key)]))
    return visible()


def save_grey_key(path: Path) -> Array:
    stored = rgba()
    stored[stored[..., 3] == 0] = 0
    shades = np.maximum(grey(stored[..., :3]), stored[..., 3] // 255)
    key = struct.pack(">H", 0)
    path.write_bytes(png_of(shades, depth=8, colour=0, before_data=[(b"tRNS", key)]))
    left, top, right, bottom = SEEN
    return np.repeat(shades[top:bottom, left:right, None], 3, axis=2)


def save_deep_grey_key(path: Path) -> Array:
    stored = rgba()
    shades = np.where(stored[..., 3] == 0, 4_711, stored[..., 0].astype(np.uint16) * 257)
    key = struct.pack(">H", 4_711)
    path.write_bytes(
        png_of(shades.astype(np.uint16), depth=16, colour=0, before_data=[(b"tRNS", key)])
    )
    return np.repeat(visible()[..., :1], 3, axis=2)


def save_four_bit_key(path: Path) -> Array:
    stored = rgba()
    shades = np.where(
        stored[..., 3] == 0, 5, np.where(stored[..., 0] // 16 == 5, 6, stored[..., 0] // 16)
    )
    packed = (shades[:, ::2] << 4 | shades[:, 1::2]).astype(np.uint8)
    key = struct.pack(">H", 5)
    path.write_bytes(png_of(packed, depth=4, colour=0, before_data=[(b"tRNS", key)]))
    left, top, right, bottom = SEEN
    return np.repeat((shades[top:bottom, left:right, None] * 17).astype(np.uint8), 3, axis=2)


def save_unassociated(path: Path) -> Array:
    make_tiff(path, rgba(), photometric=2, tags={338: (3, [2])})
    return visible()


def save_associated(path: Path) -> Array:
    stored = rgba()
    stored[stored[..., 3] == 0, :3] = 0
    make_tiff(path, stored, photometric=2, tags={338: (3, [1])})
    return visible()


def save_associated_grey(path: Path) -> Array:
    stored = rgba()[..., [0, 3]]
    stored[stored[..., 1] == 0] = 0
    make_tiff(path, stored, tags={338: (3, [1])})
    return np.repeat(visible()[..., :1], 3, axis=2)


def save_deep_tiff(path: Path) -> Array:
    make_tiff(path, rgba().astype(np.uint16) * 257, photometric=2, tags={338: (3, [2])})
    return visible()


def save_bmp(path: Path) -> Array:
    stored = rgba()[::-1, :, [2, 1, 0, 3]]
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, WIDTH, HEIGHT, 1, 32, 3, stored.nbytes, 0, 0, 0, 0)
    offset = 14 + 108
    path.write_bytes(
        b"BM" + struct.pack("<IHHI", offset + stored.nbytes, 0, 0, offset)
        + (header + masks).ljust(108, b"\0") + stored.tobytes()
    )  # fmt: skip
    return visible()


MAKERS = [
    pytest.param(save_rgba, ".png", id="PNG"),
    pytest.param(save_rgba, ".webp", id="lossless WebP"),
    pytest.param(save_rgba, ".tiff", id="TIFF by Pillow"),
    pytest.param(save_grey_alpha, ".png", id="grey PNG"),
    pytest.param(save_sixteen_bits, ".png", id="16 bits"),
    pytest.param(save_sixteen_bit_grey, ".png", id="16 bits of grey"),
    pytest.param(save_palette, ".png", id="palette"),
    pytest.param(save_palette_with_one_clear_colour, ".png", id="one clear colour"),
    pytest.param(save_colour_key, ".png", id="colour key"),
    pytest.param(save_deep_colour_key, ".png", id="colour key of 16 bits"),
    pytest.param(save_grey_key, ".png", id="grey key"),
    pytest.param(save_deep_grey_key, ".png", id="grey key of 16 bits"),
    pytest.param(save_four_bit_key, ".png", id="grey key of 4 bits"),
    pytest.param(save_unassociated, ".tiff", id="unassociated alpha"),
    pytest.param(save_associated, ".tiff", id="associated alpha"),
    pytest.param(save_associated_grey, ".tiff", id="associated alpha of grey"),
    pytest.param(save_deep_tiff, ".tiff", id="TIFF of 16 bits"),
    pytest.param(save_bmp, ".bmp", id="BMP"),
]


@pytest.mark.parametrize(("save", "suffix"), MAKERS)
def test_only_the_visible_part_is_analysed_at_its_place(
    save: Callable[[Path], Array], suffix: str, tmp_path: Path, decode: Decode
) -> None:
    path = tmp_path / f"a{suffix}"
    expected = save(path)

    media = decode(path, image=WHOLE)

    assert (media.info.width, media.info.height) == (WIDTH, HEIGHT)
    assert media.info.visible_px == (64, 48)
    assert media.boxes.tolist() == [list(SEEN)]
    assert np.abs(media.units[0].astype(int) - expected).max() <= 1
    assert media.info.warnings == (
        ON_WHITE,
        "the visible 64 x 48 pixels of 96 x 64 were analysed",
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_place_of_the_visible_part_is_upright(
    orientation: int, tmp_path: Path, decode: Decode
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = rgba()
    stored[..., 3] = 0
    stored[4:20, 10:60, 3] = 255
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    mark = np.zeros((HEIGHT, WIDTH), np.uint8)
    mark[4:20, 10:60] = 1
    swapped = mark.T if orientation >= 5 else mark
    turns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, across = turns.get(orientation, (1, 1))
    rows, columns = np.nonzero(swapped[::down, ::across])

    media = decode(tmp_path / "a.png", image=WHOLE)

    place = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert media.boxes.tolist() == [place]
    assert (media.info.height, media.info.width) == swapped.shape


@pytest.mark.parametrize("alpha", [16, 100, 254])
def test_half_transparent_pixels_are_mixed_with_white(
    alpha: int, tmp_path: Path, decode: Decode
) -> None:
    Image.fromarray(rgba(alpha=alpha)).save(tmp_path / "a.png")

    media = decode(tmp_path / "a.png", image=WHOLE)

    mixed = (visible().astype(float) * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(media.units[0] - mixed).max() <= 1
    assert ON_WHITE in media.info.warnings


@pytest.mark.parametrize("hidden", [1, 15])
def test_a_border_that_nobody_can_tell_from_white_is_cut_off(
    hidden: int, tmp_path: Path, decode: Decode
) -> None:
    Image.fromarray(rgba(hidden=hidden)).save(tmp_path / "a.png")

    assert decode(tmp_path / "a.png").info.visible_px == (64, 48)


def test_lossy_webp_with_alpha_shows_what_is_visible(tmp_path: Path, decode: Decode) -> None:
    Image.fromarray(rgba()).save(tmp_path / "a.webp", quality=95)

    media = decode(tmp_path / "a.webp", image=WHOLE)

    assert media.info.visible_px == (64, 48)
    assert np.abs(media.units[0].astype(int) - visible()).mean() < 12


@pytest.mark.parametrize("alpha", [0, 15])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_a_picture_that_shows_nothing_is_refused_not_scored(
    suffix: str, alpha: int, tmp_path: Path, decode: Decode
) -> None:
    Image.fromarray(rgba(alpha=alpha)).save(tmp_path / f"a{suffix}")

    with pytest.raises(JobError, match="nothing is visible") as caught:
        decode(tmp_path / f"a{suffix}")

    assert caught.value.code is ErrorCode.NO_FRAMES


def test_opaque_alpha_changes_nothing_and_says_nothing(tmp_path: Path, decode: Decode) -> None:
    picture = sample_media.texture(width=WIDTH, height=HEIGHT, seed=0)
    Image.fromarray(np.dstack([picture, np.full((HEIGHT, WIDTH), 255, np.uint8)])).save(
        tmp_path / "a.png"
    )

    media = decode(tmp_path / "a.png", image=WHOLE)

    assert np.array_equal(media.units[0], picture)
    assert media.info.warnings == ()


def test_a_bmp_whose_fourth_byte_is_unused_is_opaque(tmp_path: Path, decode: Decode) -> None:
    save_bmp(tmp_path / "a.bmp")
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[14 + 108 + 3 :: 4] = bytes(len(data[14 + 108 + 3 :: 4]))
    (tmp_path / "a.bmp").write_bytes(data)

    media = decode(tmp_path / "a.bmp", image=WHOLE)

    assert media.info.visible_px == (WIDTH, HEIGHT)
    assert media.info.warnings == ()


def _animated(frames: list[Array], **how: object) -> list[tuple[bytes, bytes]]:
    buffer = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(buffer, "PNG", save_all=True, append_images=others, **how)
    return png_chunks(buffer.getvalue())


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_the_first_frame_of_an_animation_is_composited_too(
    suffix: str, tmp_path: Path, decode: Decode
) -> None:
    frames = [Image.fromarray(rgba()), Image.fromarray(rgba()[::-1])]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], lossless=True)

    media = decode(tmp_path / f"a{suffix}", image=WHOLE)

    assert media.boxes.tolist() == [list(SEEN)]
    assert np.abs(media.units[0].astype(int) - visible()).max() <= 1


def test_a_picture_that_only_old_programs_show_does_not_decide(
    tmp_path: Path, decode: Decode
) -> None:
    hidden, shown, next_ = (
        sample_media.texture(width=WIDTH, height=HEIGHT, seed=seed) for seed in (1, 2, 3)
    )
    chunks = _animated([hidden, shown, next_], default_image=True)
    (tmp_path / "a.png").write_bytes(png(chunks))

    media = decode(tmp_path / "a.png", image=WHOLE)

    assert np.array_equal(media.units[0], shown)
    assert media.info.warnings == ("only the first of 2 frames was analysed",)


def test_a_broken_animation_falls_back_to_its_picture(tmp_path: Path, decode: Decode) -> None:
    frames = [sample_media.texture(width=WIDTH, height=HEIGHT, seed=seed) for seed in (1, 2)]
    chunks = [c for c in _animated(frames) if c[0] != b"fcTL"]
    (tmp_path / "a.png").write_bytes(png(chunks))

    assert np.array_equal(decode(tmp_path / "a.png", image=WHOLE).units[0], frames[0])


def test_twelve_megapixels_with_alpha_decode_within_the_usual_limits(
    tmp_path: Path, decode: Decode
) -> None:
    picture = np.zeros((3000, 4000, 4), np.uint8)
    picture[500:2500, 500:3500] = 200
    picture[::50, ::50, :3] = 90
    Image.fromarray(picture).save(tmp_path / "a.png", compress_level=1)

    media = decode(tmp_path / "a.png")

    assert media.info.visible_px == (3000, 2000)
