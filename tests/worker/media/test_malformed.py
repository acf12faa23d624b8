import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from detection_contract.error_codes import ErrorCode
from detection_testing.media import sample_media
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia
from detection_worker.settings import MediaLimits

Decode = Callable[..., DecodedMedia]

MUTANTS_PER_SEED = 12
REFUSALS = {
    ErrorCode.UNDECODABLE,
    ErrorCode.NO_FRAMES,
    ErrorCode.UNSUPPORTED_TYPE,
    ErrorCode.EMPTY_FILE,
    ErrorCode.TOO_LONG,
    ErrorCode.TOO_MANY_PIXELS,
    ErrorCode.DECODE_MEMORY,
}


def seeds(folder: Path) -> list[Path]:
    images = [
        sample_media.make_image(folder / f"i{suffix}", width=96, height=80)
        for suffix in (".jpg", ".png", ".bmp", ".tiff", ".webp")
    ]
    videos = [
        sample_media.make_video(
            folder / f"v-{codec}{suffix}", codec=codec, seconds=0.6, width=96, height=80
        )
        for suffix, codec in (
            (".mp4", "libx264"),
            (".mkv", "libx264"),
            (".avi", "mpeg4"),
            (".wmv", "wmv2"),
            (".mov", "mjpeg"),
        )
    ]
    sounds = [
        sample_media.make_audio(folder / f"s{suffix}", codec=codec, seconds=0.5, rate_hz=16_000)
        for suffix, codec in (
            (".wav", "pcm_s16le"),
            (".mp3", "libmp3lame"),
            (".flac", "flac"),
            (".m4a", "aac"),
            (".ogg", "vorbis"),
        )
    ]
    return images + videos + sounds


def mutate(path: Path, number: int) -> None:
    if number % 3 == 0:
        sample_media.truncate(path, share=(number + 1) / (MUTANTS_PER_SEED + 1))
    elif number % 3 == 1:
        sample_media.flip_bits(path, count=1 + 4 * number, seed=number)
    else:
        sample_media.flip_bits(path, count=400, seed=number, skip_bytes=16)


def outcome(decode: Decode, path: Path) -> str:
    try:
        decode(path, limits=MediaLimits(decode_timeout_s=10))
    except JobError as error:
        return error.code
    return "decoded"


@pytest.mark.slow
def test_damaged_files_of_every_format_decode_or_are_refused_with_a_code(
    tmp_path: Path, decode: Decode
) -> None:
    outcomes: Counter[str] = Counter()
    for seed in seeds(tmp_path):
        healthy = seed.read_bytes()
        for number in range(MUTANTS_PER_SEED):
            seed.write_bytes(healthy)
            mutate(seed, number)
            outcomes[outcome(decode, seed)] += 1

    assert set(outcomes) <= REFUSALS | {"decoded"}
    assert outcomes.total() == 180
    assert outcomes["decoded"] > 60
    assert outcomes[ErrorCode.UNDECODABLE] > 10


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_rest_of_a_truncated_image_is_analysed_and_that_is_said(
    suffix: str, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_image(tmp_path / f"a{suffix}", width=256, height=256)

    media = decode(sample_media.truncate(path, share=0.6))

    assert media.info.truncated
    assert "the image is truncated" in media.info.warnings


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_cut_off_after_its_header_is_undecodable(
    suffix: str, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_image(tmp_path / f"a{suffix}", width=256, height=256)
    path.write_bytes(path.read_bytes()[:620])

    with pytest.raises(JobError) as caught:
        decode(path)

    assert caught.value.code is ErrorCode.UNDECODABLE


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        pytest.param(".avi", "mjpeg", id="AVI"),
        pytest.param(".mkv", "libx264", id="Matroska"),
        pytest.param(".wmv", "wmv2", id="WMV"),
    ],
)
def test_the_rest_of_a_truncated_video_is_analysed(
    suffix: str, codec: str, tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_video(
        tmp_path / f"v{suffix}", codec=codec, seconds=4, width=160, height=120
    )

    media = decode(sample_media.truncate(path, share=0.5))

    assert media.info.frames_analysed == 6
    assert 0.9 < (media.info.duration_s or 0) < 3.5
    assert media.info.truncated
    assert not media.info.damaged


def test_an_mp4_without_its_index_is_undecodable(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_video(tmp_path / "v.mp4", width=160, height=120)

    with pytest.raises(JobError) as caught:
        decode(sample_media.truncate(path, share=0.5))

    assert caught.value.code is ErrorCode.UNDECODABLE


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_audio(tmp_path / "s.flac", codec="flac", seconds=3)
    sample_media.flip_bits(path, count=60, seed=1, skip_bytes=9_000)

    media = decode(path)

    assert len(media.units) >= 1
    assert media.info.damaged
    assert any(re.search(r"damaged packets? (was|were) skipped", w) for w in media.info.warnings)


def test_messages_hold_no_bytes_of_the_file(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_image(tmp_path / "a.png", width=64, height=64)
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"\0\0\0\rSECR" + data[16:])

    with pytest.raises(JobError) as caught:
        decode(path)

    assert "SECR" not in caught.value.message
