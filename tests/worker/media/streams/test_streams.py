"""Which stream is analysed: the default one, never a cover; and all of them are told of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from detection_contract.media_types import MediaKind
from detection_testing.media import sample_media
from detection_worker.core.sampling import AudioSampling, ImageSampling
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.settings import MediaLimits

Decode = Callable[..., DecodedMedia]
RATE_HZ = 16_000
NONE = Disposition(0)


@dataclass(frozen=True, kw_only=True)
class Track:
    """A stream to write: pictures at ``fps``, or sound if there is no size."""

    codec: str
    size: tuple[int, int] | None = None
    frames: int = 1
    fps: int = 25
    seconds: float = 3.0
    hz: float = 440.0
    disposition: Disposition = NONE
    language: str = ""
    title: str = ""


def write(path: Path, tracks: Sequence[Track]) -> Path:
    with av.open(str(path), "w") as container:
        streams = [_added(container, track) for track in tracks]
        for track, stream in zip(tracks, streams, strict=True):
            if isinstance(stream, av.VideoStream):
                packets = [stream.encode(picture) for picture in _pictures(track)]
            else:
                packets = [stream.encode(part) for part in _sound(track)]
            for packet in (*packets, stream.encode(None)):
                container.mux(packet)
    return path


def _added(
    container: av.container.OutputContainer, track: Track
) -> av.VideoStream | av.AudioStream:
    if track.size is None:
        stream = container.add_stream(track.codec, rate=RATE_HZ, layout="mono")
    else:
        stream = container.add_stream(track.codec, rate=track.fps)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = track.size
        stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(track.codec, "yuv420p")
    stream.disposition = track.disposition
    if track.language:
        stream.metadata["language"] = track.language
    if track.title:
        stream.metadata["title"] = track.title
    assert isinstance(stream, av.VideoStream | av.AudioStream)
    return stream


def _pictures(track: Track) -> list[av.VideoFrame]:
    width, height = track.size or (0, 0)
    picture = sample_media.texture(width=width, height=height, seed=1)
    frames = []
    for i in range(track.frames):
        frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * i, axis=1), format="rgb24")
        frame.pts = i
        frames.append(frame)
    return frames


def _sound(track: Track) -> list[av.AudioFrame]:
    t = np.arange(int(track.seconds * RATE_HZ)) / RATE_HZ
    samples = (8_000 * np.sin(2 * np.pi * track.hz * t)).astype(np.int16)
    frames = []
    for at in range(0, len(samples), 1024):
        part = np.ascontiguousarray(samples[None, at : at + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, at
        frames.append(frame)
    return frames


def sound(**how: object) -> Track:
    return Track(codec="aac", **how)  # type: ignore[arg-type]


def jpeg(**how: object) -> Track:
    return Track(codec="mjpeg", size=(96, 64), **how)  # type: ignore[arg-type]


def video(**how: object) -> Track:
    return Track(codec="libx264", size=(160, 120), **{"frames": 50, **how})  # type: ignore[arg-type]


COVERS = {
    "a JPEG track": [sound(), jpeg()],
    "a JPEG track first": [jpeg(disposition=Disposition.default), sound()],
    "a PNG track": [sound(), Track(codec="png", size=(96, 64))],
    "one frame of H.264": [sound(), video(frames=1)],
    "slides of chapters": [sound(seconds=30), jpeg(frames=3)],
    "attached": [sound(), jpeg(disposition=Disposition.attached_pic)],
    "two pictures": [sound(), jpeg(), Track(codec="png", size=(64, 64))],
}
# Matroska holds no PNG; only MP4 is written with attached pictures.
COVER_FILES = [
    (name, suffix)
    for name, tracks in COVERS.items()
    for suffix in (".mp4", ".mov", ".mkv")
    if not (suffix == ".mkv" and any(t.codec == "png" for t in tracks))
    if not (suffix != ".mp4" and name == "attached")
]
REAL = {
    "a few frames": [video(frames=5), sound(seconds=0.2)],
    "two frames beside longer sound": [video(frames=2), sound()],
    "one frame with its own sound": [video(frames=1), sound(seconds=0.1)],
    "one frame without sound": [video(frames=1)],
    "Motion JPEG": [jpeg(frames=50), sound(seconds=2)],
    "Motion JPEG, one frame a second": [jpeg(frames=4, fps=1), sound(seconds=4)],
}


@pytest.mark.parametrize(("name", "suffix"), COVER_FILES)
def test_sound_with_a_cover_is_sound(
    name: str, suffix: str, tmp_path: Path, decode: Decode
) -> None:
    tracks = COVERS[name]
    path = write(tmp_path / f"s{suffix}", tracks)

    media = decode(path)

    assert media.info.kind is MediaKind.AUDIO
    assert media.info.duration_s == pytest.approx(
        max(t.seconds for t in tracks if t.size is None), abs=0.1
    )
    told = {stream.type: stream for stream in media.info.streams}
    assert set(told) == {"audio", "cover"}
    assert (told["audio"].analysed, told["cover"].analysed) == (True, False)
    assert len(media.info.streams) == len(tracks)
    assert told["cover"].width in {64, 96, 160}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("name", REAL)
def test_a_video_with_few_frames_stays_one(
    name: str, suffix: str, tmp_path: Path, decode: Decode
) -> None:
    media = decode(write(tmp_path / f"v{suffix}", REAL[name]))

    assert media.info.kind is MediaKind.VIDEO
    assert media.info.frames_analysed == min(6, REAL[name][0].frames)


def test_a_video_behind_a_cover_is_found(tmp_path: Path, decode: Decode) -> None:
    tracks = [jpeg(disposition=Disposition.default), video(), sound(seconds=2)]

    info = decode(write(tmp_path / "v.mkv", tracks)).info

    assert (info.kind, info.codec, info.width) == (MediaKind.VIDEO, "h264", 160)


def test_the_picture_of_an_mp3_is_told_of(tmp_path: Path, decode: Decode) -> None:
    path = sample_media.make_audio(tmp_path / "s.mp3", codec="libmp3lame", seconds=1)
    picture = sample_media.make_image(tmp_path / "c.jpg", width=96, height=64).read_bytes()
    body = b"\0image/jpeg\0\x03\0" + picture
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + frame + path.read_bytes())

    info = decode(path).info

    assert [(s.type, s.codec) for s in info.streams] == [("audio", "mp3"), ("cover", "mjpeg")]
    assert info.warnings == ()


def pitch_hz(media: DecodedMedia) -> float:
    spectrum = np.abs(np.fft.rfft(media.units[0]))
    return float(np.argmax(spectrum) * RATE_HZ / media.units.shape[1])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("default", [0, 1, 2])
def test_of_several_sound_tracks_the_default_one_is_heard(
    default: int, suffix: str, tmp_path: Path, decode: Decode
) -> None:
    tracks = [
        sound(
            hz=300 * (i + 1),
            disposition=Disposition.default if i == default else NONE,
            language=language,
        )
        for i, language in enumerate(("eng", "deu", "fra"))
    ]
    path = write(tmp_path / f"s{suffix}", tracks)

    media = decode(path)

    assert pitch_hz(media) == pytest.approx(300 * (default + 1), abs=5)
    assert [s.analysed for s in media.info.streams] == [i == default for i in range(3)]
    assert [s.language for s in media.info.streams] == ["eng", "deu", "fra"]
    assert media.info.warnings[-1] == "only one of 3 sound tracks was analysed"


def test_tracks_are_named_in_printable_words(tmp_path: Path, decode: Decode) -> None:
    tracks = [sound(title="Director's\ncut" + "x" * 500), sound(language="und")]

    streams = decode(write(tmp_path / "s.mkv", tracks)).info.streams

    assert (streams[0].title or "").startswith("Director's cutxxx")
    assert len(streams[0].title or "") == 100
    assert (streams[1].title, streams[1].language) == (None, None)


def test_of_several_videos_the_default_one_is_seen(
    tmp_path: Path, decode: Decode, pool: ProcessDecoder
) -> None:
    tracks = [video(), Track(codec="mpeg4", size=(96, 64), frames=50), sound(seconds=2)]
    tracks[1] = Track(
        codec="mpeg4", size=(96, 64), frames=50, disposition=Disposition.default, title="main"
    )
    path = write(tmp_path / "v.mkv", tracks)

    info = decode(path).info

    assert (info.codec, info.width) == ("mpeg4", 96)
    assert [(s.type, s.analysed) for s in info.streams] == [
        ("video", False),
        ("video", True),
        ("audio", False),
    ]
    assert info.streams[1].title == "main"
    assert info.warnings == ("only one of 2 videos was analysed",)


def test_a_cover_needs_no_model_for_video(tmp_path: Path, pool: ProcessDecoder) -> None:
    path = write(tmp_path / "s.mkv", COVERS["a JPEG track"])
    request = DecodeRequest(
        path=path,
        announced=MediaKind.AUDIO,
        image=ImageSampling(),
        video=None,
        audio=AudioSampling(),
        limits=MediaLimits(),
    )

    media = pool.decode(request, on_progress=lambda: None, cancelled=lambda: False)

    assert media.info.kind is MediaKind.AUDIO
