"""Every mode and format decodes inside the jail as outside: all is loaded when it closes."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from detection_testing.media import sample_media
from detection_testing.media.sample_stills import make_tiff, png, png_chunks, png_of
from detection_worker.core.sampling import ImageSampling
from detection_worker.media.decode import decode_file
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.jail.wire import order_of
from detection_worker.media.values import DecodedMedia, DecodeRequest

RequestFor = Callable[..., DecodeRequest]
Array = NDArray[Any]

WHOLE = ImageSampling(crop_px=64, max_crops=1, view="faces")
WIDTH, HEIGHT = 72, 68


def picture(mode: str = "RGB") -> Image.Image:
    image = Image.fromarray(sample_media.texture(width=WIDTH, height=HEIGHT, seed=6))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
        assert converted is not None
        return converted
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode.startswith("I;16"):
        deep = np.asarray(image.convert("L")).astype(">u2" if mode == "I;16B" else "<u2") * 257
        return Image.fromarray(deep)
    return image.convert(mode)


def by_pillow(suffix: str, mode: str, **how: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"a{suffix}"
        picture(mode).save(path, **how)
        return path

    return make


def ycck(folder: Path) -> Path:
    path = by_pillow(".jpg", "CMYK")(folder)
    data = bytearray(path.read_bytes())
    data[data.index(b"Adobe") + 11] = 2  # the transform of the Adobe marker: YCCK
    path.write_bytes(data)
    return path


def raw_png(colour: int, depth: int, *, interlaced: bool) -> Callable[[Path], Path]:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]

    def make(folder: Path) -> Path:
        random = np.random.default_rng(depth + colour)
        shape = (HEIGHT, WIDTH, channels)
        rows = random.integers(0, 2**depth, shape, dtype=np.uint16)
        palette = random.integers(0, 256, 3 << depth if depth <= 8 else 3, dtype=np.uint8)
        before = [(b"PLTE", palette.tobytes())] if colour == 3 else []
        data = png_of(_packed(rows, depth), depth=depth, colour=colour, before_data=before)
        path = folder / "a.png"
        path.write_bytes(_interlaced(data, rows, depth) if interlaced else data)
        return path

    return make


def _packed(rows: Array, depth: int) -> Array:
    if depth == 16:
        return rows
    if depth == 8:
        return rows.astype(np.uint8)
    bits = np.unpackbits(rows.astype(np.uint8), axis=2)[..., 8 - depth :]
    return np.packbits(bits.reshape(len(rows), -1), axis=1)


def _interlaced(data: bytes, rows: Array, depth: int) -> bytes:
    """The same pixels in the seven passes of Adam7 (ISO 15948 section 8.2)."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    lines = b"".join(
        b"\0" + (row[None].astype(">u2") if depth == 16 else _packed(row[None], depth)).tobytes()
        for top, left, down, across in passes
        for row in rows[top::down, left::across]
    )
    chunks = dict(png_chunks(data))
    chunks[b"IHDR"] = chunks[b"IHDR"][:12] + b"\1"
    chunks[b"IDAT"] = zlib.compress(lines)
    return png(chunks.items())


def raw_bmp(bits: int, *, compression: int = 0, old: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        random = np.random.default_rng(bits)
        stride = (WIDTH * bits + 31) // 32 * 4
        colours = random.integers(0, 256, ((1 << bits) if bits <= 8 else 0, 4), dtype=np.uint8)
        if compression == 0:
            data = random.integers(0, 256, stride * HEIGHT, dtype=np.uint8).tobytes()
        else:  # runs of one colour, then the end of the line
            data = (b"\x12\x35\x12\x71\x12\x2a\x12\x64\0\0" * HEIGHT) + b"\0\1"
        if old:
            header = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
            palette = colours[:, :3].tobytes()
        else:
            header = struct.pack(
                "<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, compression, len(data), 0, 0, 0, 0
            )
            palette = colours.tobytes()
        offset = 14 + len(header) + len(palette)
        file = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
        (folder / "a.bmp").write_bytes(file + header + palette + data)
        return folder / "a.bmp"

    return make


def planar(folder: Path) -> Path:
    stored = np.asarray(picture()).transpose(2, 0, 1)
    plane = WIDTH * HEIGHT
    tags: dict[int, Any] = {
        256: (4, [WIDTH]), 257: (4, [HEIGHT]), 258: (3, [8] * 3), 277: (3, [3]), 284: (3, [2]),
        273: (4, [8, 8 + plane, 8 + 2 * plane]), 278: (4, [HEIGHT]), 279: (4, [plane] * 3),
        339: (3, [1] * 3),
    }  # fmt: skip
    flat = np.ascontiguousarray(stored).reshape(3 * HEIGHT, WIDTH)
    return make_tiff(folder / "a.tiff", flat, photometric=2, tags=tags)


def tiled(folder: Path) -> Path:
    # Two tiles each way of 48 x 48 pixels; those at the right and the bottom reach beyond.
    padded = np.zeros((96, 96, 3), np.uint8)
    padded[:HEIGHT, :WIDTH] = np.asarray(picture())
    tiles = padded.reshape(2, 48, 2, 48, 3).transpose(0, 2, 1, 3, 4).reshape(4 * 48, 48, 3)
    size = 48 * 48 * 3
    tags: dict[int, Any] = {
        256: (4, [WIDTH]), 257: (4, [HEIGHT]), 322: (4, [48]), 323: (4, [48]),
        324: (4, [8 + i * size for i in range(4)]), 325: (4, [size] * 4),
    }  # fmt: skip
    path = make_tiff(folder / "a.tiff", np.ascontiguousarray(tiles), photometric=2, tags=tags)
    data = bytearray(path.read_bytes())
    for strip in (273, 278, 279):  # a tiled file has none: make them private tags
        data[data.rindex(struct.pack("<HH", strip, 4)) + 1] |= 0x80
    path.write_bytes(data)
    return path


def big(folder: Path) -> Path:
    return make_tiff(folder / "a.tiff", np.asarray(picture()), photometric=2, big=True)


def animated(folder: Path) -> Path:
    first, second = picture("RGBA"), picture("RGBA").rotate(180)
    first.save(folder / "a.webp", save_all=True, append_images=[second])
    return folder / "a.webp"


TIFF_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I",
              "I;16", "I;16B", "F")  # fmt: skip
TIFF_COMPRESSIONS = [
    *(("RGB", name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd",
                                 "lzma")),
    *(("1", name) for name in ("group3", "group4", "tiff_ccitt")),
    *((mode, "tiff_lzw") for mode in ("1", "L", "RGBA", "P", "CMYK", "I;16", "F", "LAB")),
    ("L", "jpeg"), ("YCbCr", "jpeg"),
]  # fmt: skip


PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def stills() -> Iterator[Any]:
    for mode in TIFF_MODES:
        yield pytest.param(by_pillow(".tiff", mode), id=f"TIFF {mode}")
    for mode, name in TIFF_COMPRESSIONS:
        yield pytest.param(by_pillow(".tiff", mode, compression=name), id=f"TIFF {mode} by {name}")
    for mode in ("L", "RGB", "CMYK"):
        yield pytest.param(by_pillow(".jpg", mode), id=f"JPEG {mode}")
        yield pytest.param(by_pillow(".jpg", mode, progressive=True), id=f"progressive {mode}")
    yield pytest.param(by_pillow(".jpg", "RGB", subsampling=0), id="JPEG 4:4:4")
    for colour, depths in PNG_DEPTHS.items():
        for depth in depths:
            for interlaced in (False, True):
                make = raw_png(colour, depth, interlaced=interlaced)
                name = f"PNG {colour} at {depth} bits{' in Adam7' if interlaced else ''}"
                yield pytest.param(make, id=name)
    for bits in (1, 4, 8, 16, 24, 32):
        yield pytest.param(raw_bmp(bits), id=f"BMP at {bits} bits")
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield pytest.param(by_pillow(".bmp", mode), id=f"BMP {mode}")
    yield pytest.param(raw_bmp(8, compression=1), id="BMP RLE8")
    yield pytest.param(raw_bmp(4, compression=2), id="BMP RLE4")
    yield pytest.param(raw_bmp(8, old=True), id="BMP of OS/2")
    for mode in ("RGB", "RGBA"):
        yield pytest.param(by_pillow(".webp", mode), id=f"lossy WebP {mode}")
        yield pytest.param(by_pillow(".webp", mode, lossless=True), id=f"lossless WebP {mode}")
    for make in (ycck, planar, tiled, big, animated):
        yield pytest.param(make, id=make.__name__)


VIDEOS = [
    ("libx264", ".mp4"), ("libx265", ".mp4"), ("libsvtav1", ".mp4"), ("libvpx-vp9", ".webm"),
    ("mpeg4", ".avi"), ("mjpeg", ".avi"), ("prores_ks", ".mov"), ("wmv2", ".wmv"),
]  # fmt: skip
SOUNDS = [
    ("pcm_s16le", ".wav"), ("pcm_s24le", ".wav"), ("pcm_mulaw", ".wav"), ("libmp3lame", ".mp3"),
    ("flac", ".flac"), ("flac", ".ogg"), ("vorbis", ".ogg"), ("libopus", ".ogg"),
    ("aac", ".m4a"), ("aac", ".aac"), ("alac", ".m4a"), ("wmav2", ".wmv"),
]  # fmt: skip


def alike(inside: DecodedMedia, outside: DecodedMedia) -> None:
    assert inside.info == outside.info
    assert np.array_equal(inside.units, outside.units)
    assert np.array_equal(inside.boxes, outside.boxes)
    assert np.array_equal(inside.at_s, outside.at_s)


def compare(path: Path, fresh: ProcessDecoder, request: DecodeRequest) -> DecodedMedia:
    inside = fresh.decode(request, on_progress=lambda: None, cancelled=lambda: False)
    with path.open("rb") as file:
        outside = decode_file(file, order_of(request), tick=lambda: None)
    alike(inside, outside)
    return inside


@pytest.mark.parametrize("make", list(stills()))
def test_a_still_image_decodes_in_the_jail_as_outside(
    make: Callable[[Path], Path], tmp_path: Path, pool: ProcessDecoder, request_for: RequestFor
) -> None:
    path = make(tmp_path)

    media = compare(path, pool, request_for(path, image=WHOLE))

    assert (media.info.width, media.info.height) == (WIDTH, HEIGHT)
    assert not media.info.truncated
    assert not media.info.damaged
    assert float(media.units.std()) > 10


@pytest.mark.parametrize(("codec", "suffix"), VIDEOS)
def test_a_video_decodes_in_the_jail_as_outside(
    codec: str, suffix: str, tmp_path: Path, pool: ProcessDecoder, request_for: RequestFor
) -> None:
    path = sample_media.make_video(
        tmp_path / f"v{suffix}", codec=codec, seconds=0.4, width=96, height=80
    )

    compare(path, pool, request_for(path))


@pytest.mark.parametrize(("codec", "suffix"), SOUNDS)
def test_a_sound_decodes_in_the_jail_as_outside(
    codec: str, suffix: str, tmp_path: Path, pool: ProcessDecoder, request_for: RequestFor
) -> None:
    path = sample_media.make_audio(
        tmp_path / f"s{suffix}", codec=codec, seconds=0.5, rate_hz=48_000
    )

    compare(path, pool, request_for(path))


@pytest.mark.parametrize("mode", ["LAB", "CMYK", "PA", "F"])
def test_the_first_picture_of_a_fresh_child_may_be_any(
    mode: str, tmp_path: Path, request_for: RequestFor
) -> None:
    path = by_pillow(".tiff", mode)(tmp_path)

    with ProcessDecoder(1) as fresh:
        compare(path, fresh, request_for(path, image=WHOLE))


def test_lab_pixels_are_those_of_the_colour_library(
    tmp_path: Path, pool: ProcessDecoder, request_for: RequestFor
) -> None:
    buffer = io.BytesIO()
    picture("LAB").save(buffer, "TIFF")
    (tmp_path / "a.tiff").write_bytes(buffer.getvalue())

    media = compare(tmp_path / "a.tiff", pool, request_for(tmp_path / "a.tiff", image=WHOLE))

    assert np.abs(media.units[0].astype(int) - np.asarray(picture())).mean() < 3
