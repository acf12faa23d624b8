"""Files under gzip or zlib, as objects with a Content-Encoding are."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_testing.media import sample_media
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia
from detection_worker.settings import MIB, MediaLimits

Decode = Callable[..., DecodedMedia]

SAID = {name: f"the file was stored under {name} compression" for name in ("gzip", "zlib")}


def raw_gzip_members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


@pytest.mark.parametrize(
    ("pack", "coding"),
    [
        pytest.param(gzip.compress, "gzip", id="gzip"),
        pytest.param(raw_gzip_members, "gzip", id="gzip in two members"),
        pytest.param(lambda data: gzip.compress(data) + bytes(7), "gzip", id="padded gzip"),
        pytest.param(zlib.compress, "zlib", id="deflate"),
        pytest.param(lambda data: zlib.compress(data, 1), "zlib", id="fast deflate"),
    ],
)
def test_a_compressed_image_is_analysed_as_what_it_holds(
    pack: Callable[[bytes], bytes], coding: str, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_image(tmp_path / "a.png", width=200, height=150)
    plain = decode(path)
    path.write_bytes(pack(path.read_bytes()))

    media = decode(path)

    assert np.array_equal(media.units, plain.units)
    assert media.info.warnings == (SAID[coding],)
    assert media.info.size_bytes == path.stat().st_size
    assert media.info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (media.info.truncated, media.info.damaged) == (False, False)


@pytest.mark.parametrize(
    ("kind", "name", "codec"),
    [
        pytest.param(MediaKind.VIDEO, "v.mp4", "libx264", id="video"),
        pytest.param(MediaKind.AUDIO, "s.wav", "pcm_s16le", id="sound"),
    ],
)
def test_compressed_video_and_sound_are_analysed_too(
    kind: MediaKind, name: str, codec: str, tmp_path: Path, decode: Decode
) -> None:
    make = sample_media.make_video if kind is MediaKind.VIDEO else sample_media.make_audio
    path = make(tmp_path / name, codec=codec, seconds=1)
    plain = decode(path)
    path.write_bytes(gzip.compress(path.read_bytes()))

    media = decode(path)

    assert media.info.kind is kind
    assert np.array_equal(media.units, plain.units)
    assert media.info.warnings == (SAID["gzip"],)


def test_a_bomb_is_refused_within_the_limit(tmp_path: Path, decode: Decode) -> None:
    path = tmp_path / "a.bmp"
    head = sample_media.make_image(tmp_path / "b.bmp", width=64, height=64).read_bytes()
    path.write_bytes(gzip.compress(head + bytes(64 * MIB)))

    with pytest.raises(JobError) as caught:
        decode(path, limits=MediaLimits(max_bytes=16 * MIB))

    assert caught.value.code is ErrorCode.TOO_LARGE


def test_a_bomb_of_bombs_is_not_opened(tmp_path: Path, decode: Decode) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(gzip.compress(bytes(64 * MIB))))

    with pytest.raises(JobError, match="inside gzip compression") as caught:
        decode(tmp_path / "a.gz")

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE


def test_a_compressed_archive_is_named(tmp_path: Path, decode: Decode) -> None:
    sample_media.make_image(tmp_path / "a.png", width=64, height=64)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.png", "a.png")

    with pytest.raises(JobError, match="inside gzip compression") as caught:
        decode(tmp_path / "a.tar.gz")

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE


def test_compressed_data_that_ends_early_is_truncated(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_image(tmp_path / "a.bmp", width=256, height=256)
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) * 2 // 3])

    media = decode(path)

    assert media.info.truncated
    assert "the image is truncated" in media.info.warnings


def test_compressed_data_without_its_checksum_is_truncated(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_image(tmp_path / "a.png", width=64, height=64)
    path.write_bytes(gzip.compress(path.read_bytes())[:-6])

    assert decode(path).info.truncated


def test_corrupt_compressed_data_is_damage(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_image(tmp_path / "a.bmp", width=512, height=256)
    packed = bytearray(gzip.compress(path.read_bytes()))
    at = len(packed) * 2 // 3
    packed[at : at + 64] = b"\xff" * 64
    path.write_bytes(packed)

    assert decode(path).info.damaged


def test_nothing_but_a_header_is_undecodable(tmp_path: Path, decode: Decode) -> None:
    (tmp_path / "a.jpg").write_bytes(gzip.compress(b"")[:12])

    with pytest.raises(JobError) as caught:
        decode(tmp_path / "a.jpg")

    assert caught.value.code is ErrorCode.UNDECODABLE


@pytest.mark.parametrize(
    ("head", "name"),
    [
        pytest.param(b"\x28\xb5\x2f\xfd", "Zstandard", id="Zstandard"),
        pytest.param(b"BZh9", "bzip2", id="bzip2"),
        pytest.param(b"\xfd7zXZ\0", "xz", id="xz"),
    ],
)
def test_other_compressions_are_refused_by_name(
    head: bytes, name: str, tmp_path: Path, decode: Decode
) -> None:
    (tmp_path / "a.jpg").write_bytes(head + bytes(64))

    with pytest.raises(JobError, match=name) as caught:
        decode(tmp_path / "a.jpg")

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE
