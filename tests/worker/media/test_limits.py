import errno
import os
import time
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_testing.media import sample_media
from detection_worker.core.sampling import AudioSampling
from detection_worker.errors import JobError
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.settings import MIB, MediaLimits

Decode = Callable[..., DecodedMedia]


def code_of(decode: Decode, path: Path, **how: object) -> ErrorCode:
    with pytest.raises(JobError) as caught:
        decode(path, **how)
    return caught.value.code


def image(path: Path) -> Path:
    return sample_media.make_image(path / "a.png", width=200, height=100)


def video(path: Path) -> Path:
    return sample_media.make_video(path / "v.mp4", seconds=2, width=160, height=120)


def sound(path: Path) -> Path:
    return sample_media.make_audio(path / "s.flac", codec="flac", seconds=3)


def empty(path: Path) -> Path:
    (path / "a.jpg").write_bytes(b"")
    return path / "a.jpg"


def silent(path: Path) -> Path:
    with wave.open(str(path / "s.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    return path / "s.wav"


@pytest.mark.parametrize(
    ("make", "limits", "code"),
    [
        pytest.param(empty, MediaLimits(), ErrorCode.EMPTY_FILE, id="no bytes"),
        pytest.param(image, MediaLimits(max_bytes=999), ErrorCode.TOO_LARGE, id="bytes"),
        pytest.param(
            image, MediaLimits(max_pixels=19_999), ErrorCode.TOO_MANY_PIXELS, id="image pixels"
        ),
        pytest.param(
            video, MediaLimits(max_pixels=19_199), ErrorCode.TOO_MANY_PIXELS, id="frame pixels"
        ),
        pytest.param(
            video, MediaLimits(max_duration_s=1.5), ErrorCode.TOO_LONG, id="video duration"
        ),
        pytest.param(
            video, MediaLimits(max_frames_decoded=20), ErrorCode.TOO_LONG, id="video frames"
        ),
        pytest.param(
            sound, MediaLimits(max_duration_s=2.5), ErrorCode.TOO_LONG, id="sound duration"
        ),
        pytest.param(silent, MediaLimits(), ErrorCode.NO_FRAMES, id="no samples"),
    ],
)
def test_each_limit_has_its_code(
    make: Callable[[Path], Path],
    limits: MediaLimits,
    code: ErrorCode,
    tmp_path: Path,
    decode: Decode,
) -> None:
    assert code_of(decode, make(tmp_path), limits=limits) is code


def test_files_at_their_limits_decode(tmp_path: Path, decode: Decode) -> None:
    size = image(tmp_path).stat().st_size
    limits = MediaLimits(max_pixels=20_000, max_bytes=size)

    assert decode(image(tmp_path), limits=limits).info.width == 200
    assert decode(video(tmp_path), limits=MediaLimits(max_duration_s=2.01)).info.duration_s == 2.0


def test_a_bomb_is_refused_by_its_header_before_a_pixel_is_decoded(
    tmp_path: Path, decode: Decode
) -> None:
    bomb = sample_media.make_bomb_png(tmp_path / "b.png")
    before_s = time.monotonic()

    assert code_of(decode, bomb) is ErrorCode.TOO_MANY_PIXELS
    assert bomb.stat().st_size < 100_000
    assert time.monotonic() - before_s < 5


@pytest.mark.parametrize(
    "memory_mib", [pytest.param(64, id="64 MiB"), pytest.param(256, id="256 MiB")]
)
def test_a_bomb_that_the_pixel_limit_lets_through_hits_the_memory_limit(
    memory_mib: int, tmp_path: Path, decode: Decode
) -> None:
    bomb = sample_media.make_bomb_png(tmp_path / "b.png")
    limits = MediaLimits(max_pixels=200_000_000, decode_memory_bytes=memory_mib * MIB)

    assert code_of(decode, bomb, limits=limits) is ErrorCode.DECODE_MEMORY
    assert decode(image(tmp_path)).info.width == 200


@pytest.mark.slow
def test_a_huge_video_frame_hits_the_memory_limit(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_video(
        tmp_path / "v.mp4", codec="mpeg4", seconds=0.08, width=3072, height=3072
    )
    # Room for everything but a frame: without any, FFmpeg can die where it does not expect to.
    limits = MediaLimits(decode_memory_bytes=32 * MIB)

    assert code_of(decode, path, limits=limits) is ErrorCode.DECODE_MEMORY


@pytest.mark.parametrize("factor", [100_000, 10])
def test_a_header_that_lies_about_the_duration_changes_nothing(
    factor: int, tmp_path: Path, decode: Decode
) -> None:
    honest = decode(video(tmp_path))

    lying = decode(sample_media.lie_about_duration(video(tmp_path), factor=factor))

    assert lying.info.duration_s == honest.info.duration_s
    assert lying.at_s.tolist() == honest.at_s.tolist()


def test_sound_whose_header_claims_hours_is_judged_by_its_packets(
    tmp_path: Path, decode: Decode
) -> None:
    path = sample_media.make_audio(tmp_path / "s.m4a", codec="aac", seconds=2)
    sample_media.lie_about_duration(path, factor=10_000)

    assert decode(path).info.duration_s == pytest.approx(2.0, abs=0.05)


def test_hours_of_silence_in_a_small_file_are_refused(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_audio(
        tmp_path / "s.wav", codec="pcm_mulaw", seconds=400, rate_hz=8_000
    )

    assert code_of(decode, path, limits=MediaLimits(max_duration_s=300)) is ErrorCode.TOO_LONG


def test_a_missing_file_is_the_workers_fault(tmp_path: Path, decode: Decode) -> None:
    with pytest.raises(JobError) as caught:
        decode(tmp_path / "gone.jpg")

    assert caught.value.code is ErrorCode.INTERNAL
    assert os.strerror(errno.ENOENT) in caught.value.message
    assert "gone" not in caught.value.message


def test_a_pipe_or_a_folder_is_no_media_file(tmp_path: Path, decode: Decode) -> None:
    os.mkfifo(tmp_path / "a.jpg")

    assert code_of(decode, tmp_path / "a.jpg") is ErrorCode.UNSUPPORTED_TYPE
    assert code_of(decode, tmp_path) is ErrorCode.UNSUPPORTED_TYPE


@pytest.mark.parametrize(
    ("content", "names"),
    [
        pytest.param(b"%PDF-1.7\n", "PDF", id="PDF"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG", id="SVG"),
        pytest.param(b"  <!DOCTYPE html><html></html>", "HTML", id="HTML"),
        pytest.param(b"PK\x03\x04" + bytes(26), "ZIP", id="ZIP"),
        pytest.param(b"GIF89a" + bytes(20), "GIF", id="GIF"),
        pytest.param(b"\0\0\0\x20ftypavif" + bytes(20), "AVIF or HEIC", id="AVIF"),
        pytest.param(b"\0\0\0\x20ftypheic" + bytes(20), "AVIF or HEIC", id="HEIC"),
        pytest.param(b'{"Error": "Access Denied"}', "JSON", id="JSON"),
        pytest.param(bytes(10_000), "unknown", id="zeros"),
        pytest.param("plain text".encode("utf-16"), "unknown", id="UTF-16 text"),
        pytest.param(b"x", "unknown", id="one byte"),
    ],
)
def test_what_is_no_media_is_refused_by_name(
    content: bytes, names: str, tmp_path: Path, decode: Decode
) -> None:
    (tmp_path / "a.mp4").write_bytes(content)

    with pytest.raises(JobError, match=names) as caught:
        decode(tmp_path / "a.mp4", announced=MediaKind.VIDEO)

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.txt"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(sample_media.make_ffconcat, id="ffconcat"),
        pytest.param(sample_media.make_hls, id="HLS"),
    ],
)
def test_a_playlist_never_reaches_its_neighbours(
    make: Callable[..., Path], name: str, tmp_path: Path, decode: Decode
) -> None:
    sample_media.make_video(tmp_path / "victim.mp4", width=64, height=64)

    with pytest.raises(JobError, match="playlist") as caught:
        decode(make(tmp_path / name, victim="victim.mp4"))

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE


def test_a_minute_of_stereo_fits_the_smallest_memory_limit(
    tmp_path: Path, request_for: Callable[..., DecodeRequest]
) -> None:
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 1, 8_000, 0, "NONE", "none"))
        file.writeframes(os.urandom(2 * 8_000 * 60))
    request = request_for(
        path, audio=AudioSampling(), limits=MediaLimits(decode_memory_bytes=64 * MIB)
    )

    with ProcessDecoder(1) as fresh:
        media = fresh.decode(request, on_progress=lambda: None, cancelled=lambda: False)

    assert media.info.frames_analysed == 29
