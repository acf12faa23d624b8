"""Announced against found: cut files are truncated, complete ones are not, from any muxer."""

import io
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from detection_testing.media import sample_media
from detection_worker.media.containers import completeness
from detection_worker.media.containers.completeness import ends_early
from detection_worker.media.containers.sniff import sniff
from detection_worker.media.values import DecodedMedia

Decode = Callable[..., DecodedMedia]

VIDEOS = {
    "mp4": ("libx264", ".mp4"),
    "mov": ("mjpeg", ".mov"),
    "mkv": ("libx264", ".mkv"),
    "webm": ("libvpx-vp9", ".webm"),
    "avi": ("mpeg4", ".avi"),
    "wmv": ("wmv2", ".wmv"),
}
SOUNDS = {
    "wav": ("pcm_s16le", ".wav"),
    "wav, 24 bits": ("pcm_s24le", ".wav"),
    "mp3": ("libmp3lame", ".mp3"),
    "flac": ("flac", ".flac"),
    "m4a": ("aac", ".m4a"),
    "alac": ("alac", ".m4a"),
    "vorbis": ("vorbis", ".ogg"),
    "opus": ("libopus", ".ogg"),
    "flac in ogg": ("flac", ".ogg"),
    "adts": ("aac", ".aac"),
    "opus in mkv": ("libopus", ".mkv"),
    "wma": ("wmav2", ".wmv"),
}
INDEX_AT_END = {"mp4", "mov", "m4a", "alac"}
"""Without it nothing can be decoded: a cut one is refused."""
SHARES = (0.55, 0.75, 0.9, 0.99)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("media")
    files = {}
    for name, (codec, suffix) in VIDEOS.items():
        path = folder / f"{name}{suffix}"
        files[name] = sample_media.make_video(
            path, codec=codec, seconds=2, width=96, height=64
        ).read_bytes()
    for name, (codec, suffix) in SOUNDS.items():
        path = folder / f"{name}{suffix}"
        rate_hz = 48_000 if codec == "libopus" else 44_100
        files[name] = sample_media.make_audio(
            path, codec=codec, seconds=4, rate_hz=rate_hz
        ).read_bytes()
    return files


def piped(muxer: str, codec: str, *, options: dict[str, str] | None = None) -> bytes:
    """A file from a program that cannot seek back, as in a pipe."""

    class Pipe:
        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, part: bytes) -> int:
            self.data += part
            return len(part)

    pipe = Pipe()
    with av.open(pipe, "w", format=muxer, container_options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(50):
            picture = np.roll(sample_media.texture(width=96, height=64, seed=1), 3 * i, axis=1)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return bytes(pipe.data)


PIPED = {
    "mkv": lambda: piped("matroska", "libx264"),
    "webm": lambda: piped("webm", "libvpx-vp9"),
    "live webm": lambda: piped("webm", "libvpx-vp9", options={"live": "1"}),
    "avi": lambda: piped("avi", "mpeg4"),
    "asf": lambda: piped("asf", "wmv2"),
    "fragmented mp4": lambda: piped(
        "mp4", "libx264", options={"movflags": "frag_keyframe+empty_moov"}
    ),
}


def announced(data: bytes) -> bool | None:
    file = io.BytesIO(data)
    return ends_early(file, sniff(file))


@pytest.mark.parametrize("name", [*VIDEOS, *SOUNDS])
def test_a_complete_file_is_neither_truncated_nor_damaged(
    name: str, written: dict[str, bytes], tmp_path: Path, decode: Decode
) -> None:
    (tmp_path / "f").write_bytes(written[name])

    info = decode(tmp_path / "f").info

    assert (info.truncated, info.damaged) == (False, False)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", [n for n in (*VIDEOS, *SOUNDS) if n not in INDEX_AT_END])
def test_a_cut_file_is_truncated_and_not_damaged(
    name: str, share: float, written: dict[str, bytes], tmp_path: Path, decode: Decode
) -> None:
    data = written[name]
    (tmp_path / "f").write_bytes(data[: int(len(data) * share)])

    info = decode(tmp_path / "f").info

    assert (info.truncated, info.damaged) == (True, False)


@pytest.mark.parametrize("name", sorted(INDEX_AT_END))
def test_an_mp4_with_its_index_first_says_what_is_missing(
    name: str, written: dict[str, bytes]
) -> None:
    data = written[name]

    assert announced(data) is False
    assert announced(data[: len(data) // 2]) is True


@pytest.mark.parametrize("name", PIPED)
def test_what_a_stream_leaves_open_is_no_announcement(
    name: str, tmp_path: Path, decode: Decode
) -> None:
    (tmp_path / "f").write_bytes(PIPED[name]())

    info = decode(tmp_path / "f").info

    assert (info.truncated, info.damaged) == (False, False)


@pytest.mark.parametrize("name", PIPED)
def test_a_stream_that_ends_within_a_frame_is_truncated(
    name: str, tmp_path: Path, decode: Decode
) -> None:
    data = PIPED[name]()
    (tmp_path / "f").write_bytes(data[: len(data) * 3 // 4])

    info = decode(tmp_path / "f").info

    assert (info.truncated, info.damaged) == (True, False)


def wav(
    *, data_bytes: int | None = None, riff_bytes: int | None = None, tail: bytes = b""
) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound = sample_media.tone(seconds=1, rate_hz=16_000, seed=1)
        writer.writeframes((sound * 32_767).astype(np.int16).tobytes())
    made = bytearray(file.getvalue()) + tail
    struct.pack_into("<I", made, 4, len(made) - 8 if riff_bytes is None else riff_bytes)
    if data_bytes is not None:
        struct.pack_into("<I", made, 40, data_bytes)
    return bytes(made)


@pytest.mark.parametrize(
    ("data", "short"),
    [
        pytest.param(wav(), False, id="as announced"),
        pytest.param(
            wav(data_bytes=0xFFFF_FFFF, riff_bytes=0xFFFF_FFFF), False, id="FFmpeg's pipe"
        ),
        pytest.param(wav(data_bytes=0, riff_bytes=0), False, id="zeros in a pipe"),
        pytest.param(wav(data_bytes=0x7FFF_F000, riff_bytes=0x7FFF_F024), False, id="SoX's pipe"),
        pytest.param(wav(data_bytes=0x7FFF_FFFF, riff_bytes=0x7FFF_FFFF), False, id="arecord"),
        pytest.param(wav(riff_bytes=32_044), False, id="counts its header"),
        pytest.param(wav(tail=b"LIST\x04\0\0\0INFO"), False, id="a chunk behind"),
        pytest.param(wav(tail=b"LIST\x40\0\0\0INFO", riff_bytes=40_000), True, id="cut behind"),
        pytest.param(wav(data_bytes=64_000, riff_bytes=64_036), True, id="half"),
        pytest.param(wav(data_bytes=32_001), True, id="one byte less"),
    ],
)
def test_sizes_of_a_wav(data: bytes, short: bool, tmp_path: Path, decode: Decode) -> None:  # noqa: FBT001 - a test's parameter
    (tmp_path / "f.wav").write_bytes(data)

    info = decode(tmp_path / "f.wav").info

    assert (announced(data), info.truncated, info.damaged) == (short, short, False)


ID3V1 = b"TAG" + bytes(125)
APE_TAG = bytes(range(8)) + b"APETAGEX" + struct.pack("<IIII8x", 2000, 40, 0, 0)
LYRICS = b"LYRICSBEGININD0000200LYR00005words000034LYRICS200"


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ID3V1, id="ID3v1"),
        pytest.param(APE_TAG, id="APEv2"),
        pytest.param(APE_TAG + ID3V1, id="APEv2 and ID3v1"),
        pytest.param(LYRICS + ID3V1, id="Lyrics3 and ID3v1"),
        pytest.param(APE_TAG + LYRICS + ID3V1, id="APEv2, Lyrics3 and ID3v1"),
        pytest.param(bytes(3000), id="zeros"),
    ],
)
@pytest.mark.parametrize("name", ["mp3", "adts"])
def test_tags_and_padding_behind_mpeg_audio_are_no_cut(
    name: str, tail: bytes, written: dict[str, bytes]
) -> None:
    data = written[name]

    assert announced(data + tail) is False
    if tail != bytes(3000):  # nobody can tell those from the frame's own
        assert announced(data[:-100] + tail) is True


def test_an_mp3_says_how_long_it_is(written: dict[str, bytes]) -> None:
    data = written["mp3"]
    whole_frames = 44 + 418 * 40  # cut between two frames: only the first one tells

    assert announced(data[:whole_frames]) is True


def test_an_ogg_is_over_with_its_last_page(written: dict[str, bytes]) -> None:
    data = written["vorbis"]
    last = data.rfind(b"OggS")

    assert announced(data) is False
    assert announced(data[:last]) is True
    assert announced(data[:-1]) is True
    assert announced(data + b"\0" * 64) is False


@pytest.mark.parametrize("name", [*VIDEOS, *SOUNDS])
def test_damaged_sizes_are_survived(name: str, written: dict[str, bytes]) -> None:
    random = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(written[name])
        for at in random.integers(12, 2_000, 12):
            data[at % len(data)] = int(random.choice(np.array([0, 1, 0x7F, 0xFF, 0x81])))
        file = io.BytesIO(data)

        assert ends_early(file, sniff(io.BytesIO(written[name]))) in {True, False, None}


@pytest.mark.parametrize(
    "box",
    [
        pytest.param(b"\0\0\0\x01mdat" + b"\xff" * 8, id="longer than any file"),
        pytest.param(b"\0\0\0\x08sidx", id="an empty index"),
        pytest.param(b"\0\0\0\x01sidx" + b"\xff" * 8, id="an index longer than any file"),
    ],
)
def test_boxes_of_a_liar_are_survived(box: bytes) -> None:
    data = b"\0\0\0\x14ftypisom\0\0\x02\0isom" + box

    assert announced(data) in {True, None}


def test_a_walk_that_is_cut_off_between_two_fragments_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov"
    data = head + b"\0\0\0\x08moof\0\0\0\x08mdat" * 9
    assert announced(data) is False
    for most in (9, 10):
        monkeypatch.setattr(completeness, "MAX_ELEMENTS", most)
        assert announced(data) is None


def test_dropped_frames_are_none_that_are_missing(tmp_path: Path, decode: Decode) -> None:
    """An AVI counts frames that are not there: its rate is constant, and some are left out."""
    path = sample_media.make_video(
        tmp_path / "v.avi", codec="mpeg4", seconds=2, width=96, height=64
    )
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 24, 500)
    struct.pack_into("<I", data, data.index(b"strh") + 40, 500)
    path.write_bytes(data)

    info = decode(path).info

    assert (info.truncated, info.damaged) == (False, False)


def test_broken_data_in_a_complete_file_is_damage(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_audio(tmp_path / "s.m4a", codec="aac", seconds=3)
    with av.open(str(path)) as container:
        packets = [(p.pos or 0, p.size) for p in container.demux(audio=0) if p.size]
    data = bytearray(path.read_bytes())
    for at, size in packets[-20:]:
        data[at : at + size] = b"\xff" * size
    path.write_bytes(data)

    info = decode(path).info

    assert (info.truncated, info.damaged) == (False, True)
