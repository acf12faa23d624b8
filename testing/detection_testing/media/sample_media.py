"""Small media files of every format of the contract, sound and malformed, for tests and demos."""

import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

VIDEO_CONTAINERS = {
    ".mp4": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".wmv": "asf",
}
AUDIO_CONTAINERS = {
    ".wav": "wav",
    ".mp3": "mp3",
    ".flac": "flac",
    ".m4a": "ipod",
    ".ogg": "ogg",
    ".aac": "adts",
    ".mp4": "mp4",
    ".mkv": "matroska",
    ".wmv": "asf",
}
_PIXELS = {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p"}
_SAMPLES = {
    "libmp3lame": "s16p",
    "aac": "fltp",
    "flac": "s16",
    "pcm_s24le": "s32",
    "alac": "s16p",
    "libopus": "s16",
    "vorbis": "fltp",
    "wmav2": "fltp",
}
_SPEED: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libsvtav1": {"preset": "12"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def texture(*, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Return a picture with edges, gradients and noise: RGB, shape ``(height, width, 3)``."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [
        np.sin(x * random.uniform(0.02, 0.2) + y * random.uniform(0.02, 0.2) + phase)
        for phase in random.uniform(0, 6, 3)
    ]
    noise = random.normal(0, 8, (height, width, 1))
    return np.asarray(np.clip(128 + 60 * np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8))


def make_image(path: Path, *, width: int = 320, height: int = 240, seed: int = 0) -> Path:
    """Write a picture in the format that the extension names; return ``path``."""
    picture = Image.fromarray(texture(width=width, height=height, seed=seed))
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        picture.save(path, quality=92)
    else:
        picture.save(path)
    return path


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    seconds: float = 1.0,
    fps: int = 25,
    width: int = 320,
    height: int = 240,
    seed: int = 0,
) -> Path:
    """Write a video of a moving texture in the container of the extension; return ``path``.

    Args:
        path: With an extension of ``VIDEO_CONTAINERS``, in any case.
        codec: FFmpeg's encoder.
        seconds: Length.
        fps: Frames a second.
        width: Even, pixels.
        height: Even, pixels.
        seed: Seed of the texture.
    """
    picture = texture(width=width, height=height, seed=seed)
    pictures = [np.roll(picture, 3 * i, axis=1) for i in range(round(seconds * fps))]
    # Where it may (as root), SVT-AV1 raises the thread that opens it to real-time priority and
    # leaves it there; children inherit that and starve the machine. A thread of its own takes it
    # along.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_encode_video, path, pictures, codec=codec, fps=fps).result()
    return path


def _encode_video(
    path: Path, pictures: Sequence[NDArray[np.uint8]], *, codec: str, fps: int
) -> None:
    with av.open(str(path), "w", format=VIDEO_CONTAINERS[path.suffix.lower()]) as container:
        stream = container.add_stream(codec, rate=fps, options=_SPEED.get(codec, {}))
        if not isinstance(stream, av.VideoStream):
            raise ValueError(f"{codec} is no video encoder")  # noqa: TRY004 - of the value, not its type
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = _PIXELS.get(codec, "yuv420p")
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def tone(*, seconds: float, rate_hz: int, seed: int) -> NDArray[np.float32]:
    """Return a voice-like sound: gliding harmonics in syllables plus noise, within [-0.9, 0.9]."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * np.cumsum(random.uniform(110, 220) * (1 + 0.1 * np.sin(2 * t))) / rate_hz
    voice = sum(np.sin(k * phase) / k for k in range(1, 6))
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)
    sound = 0.25 * voice * syllables + random.normal(0, 0.01, len(t))
    return np.asarray(np.clip(sound, -0.9, 0.9).astype(np.float32))


def make_audio(
    path: Path, *, codec: str, seconds: float = 2.0, rate_hz: int = 44_100, seed: int = 0
) -> Path:
    """Write a stereo sound in the container of the extension; return ``path``.

    Args:
        path: With an extension of ``AUDIO_CONTAINERS``, in any case.
        codec: FFmpeg's encoder.
        seconds: Length.
        rate_hz: Sample rate.
        seed: Seed of the sound.
    """
    sound = tone(seconds=seconds, rate_hz=rate_hz, seed=seed)
    stereo = np.repeat((sound * 32767).astype(np.int16), 2)[None]
    with av.open(str(path), "w", format=AUDIO_CONTAINERS[path.suffix.lower()]) as container:
        stream = container.add_stream(codec, rate=rate_hz, options={"strict": "experimental"})
        if not isinstance(stream, av.AudioStream):
            raise ValueError(f"{codec} is no sound encoder")  # noqa: TRY004 - of the value, not its type
        stream.layout, stream.bit_rate = "stereo", 128_000
        stream.format = _SAMPLES.get(codec, "s16")
        for start in range(0, len(sound), 1024):
            part = np.ascontiguousarray(stereo[:, 2 * start : 2 * (start + 1024)])
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def add_sound(path: Path, sound: NDArray[np.float32], *, rate_hz: int, codec: str = "aac") -> Path:
    """Give a video without sound a mono sound track; return ``path``.

    Args:
        path: Path of the video; its frames are kept as they are.
        sound: In [-1, 1], shape ``(samples,)``.
        rate_hz: Sample rate.
        codec: FFmpeg's encoder.
    """
    silent = path.rename(path.with_name(f"silent-{path.name}"))
    muxer = VIDEO_CONTAINERS[path.suffix.lower()]
    with av.open(str(silent)) as source, av.open(str(path), "w", format=muxer) as container:
        frames = container.add_stream_from_template(source.streams.video[0])
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        if not isinstance(stream, av.AudioStream):
            raise ValueError(f"{codec} is no sound encoder")  # noqa: TRY004 - of the value, not its type
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = frames
                container.mux(packet)
        samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
        for start in range(0, len(samples), 1024):
            part = np.ascontiguousarray(samples[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    silent.unlink()
    return path


def spoil_sound(path: Path) -> Path:
    """Overwrite every packet of a video's sound, and nothing else; return ``path``."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.pos is not None and packet.size:
                data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    return path


def truncate(path: Path, *, share: float) -> Path:
    """Keep the first ``share`` of a file's bytes; return ``path``."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def flip_bits(path: Path, *, count: int, seed: int, skip_bytes: int = 0) -> Path:
    """Flip ``count`` random bits behind the first ``skip_bytes`` bytes; return ``path``."""
    random = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    for position in random.integers(skip_bytes, len(data), count):
        data[position] ^= 1 << int(random.integers(8))
    path.write_bytes(data)
    return path


def make_bomb_png(path: Path, *, side_px: int = 12_000) -> Path:
    """Write a black PNG that is a few KB long and ``side_px`` squared when decoded."""
    row = bytes(1 + (side_px + 7) // 8)
    header = struct.pack("!IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * side_px, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))
        for name, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def make_invisible_image(path: Path) -> Path:
    """Write a picture whose pixels are all transparent; return ``path``."""
    picture = texture(width=96, height=96, seed=0)
    Image.fromarray(np.dstack([picture, np.zeros((96, 96), np.uint8)])).save(path)
    return path


def make_ffconcat(path: Path, *, victim: str) -> Path:
    """Write a playlist that makes a careless FFmpeg read the neighbour file ``victim``."""
    path.write_text(f"ffconcat version 1.0\nfile {victim}\n")
    return path


def make_hls(path: Path, *, victim: str) -> Path:
    """Write an HLS playlist that names ``victim`` as its only segment."""
    path.write_text(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n"
        f"#EXTINF:10.0,\n{victim}\n#EXT-X-ENDLIST\n"
    )
    return path


def lie_about_duration(path: Path, *, factor: int) -> Path:
    """Multiply the durations in the headers of an MP4 by ``factor``; its samples stay as they are.

    Patches version 0 of the boxes mvhd, tkhd and mdhd (ISO 14496-12 sections 8.2.2, 8.3.2, 8.4.2).
    """
    data = bytearray(path.read_bytes())
    for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = data.find(box)
        while at >= 0:
            (old,) = struct.unpack_from("!I", data, at + offset)
            struct.pack_into("!I", data, at + offset, min(old * factor, 2**32 - 1))
            at = data.find(box, at + 4)
    path.write_bytes(data)
    return path


def set_display_matrix(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Set ``a, b, c, d`` of the display matrix of an MP4's first track; return ``path``.

    Patches version 0 of the box tkhd (ISO 14496-12 section 8.3.2), whose numbers are 16.16.
    """
    data = bytearray(path.read_bytes())
    a, b, c, d = (round(number * 65_536) for number in matrix)
    struct.pack_into("!9i", data, data.find(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def set_edits(path: Path, edits: Sequence[tuple[int, int]], *, track: int = 0) -> Path:
    """Give a track of an MP4 whose index is at its end an edit list; return ``path``.

    Args:
        path: As FFmpeg writes it: offsets of samples do not move.
        edits: Length, in the movie's time scale, and first time shown, in the track's; -1 for
            nothing (ISO 14496-12 section 8.6.6).
        track: Counted from 0.
    """
    data = path.read_bytes()
    moov = data.rfind(b"moov") - 4
    trak = moov
    for _ in range(track + 1):
        trak = data.index(b"trak", trak + 8) - 4
    body = data[trak + 8 : trak + _box_bytes(data, trak)]
    if (old := body.find(b"edts")) >= 0:
        body = body[: old - 4] + body[old - 4 + _box_bytes(body, old - 4) :]
    entries = b"".join(struct.pack("!IiHH", length, start, 1, 0) for length, start in edits)
    elst = _box(b"elst", struct.pack("!II", 0, len(edits)) + entries)
    # Behind the track's header, as encoders write it.
    head = _box_bytes(body, 0)
    new = _box(b"trak", body[:head] + _box(b"edts", elst) + body[head:])
    inside = data[moov + 8 : trak] + new + data[trak + _box_bytes(data, trak) :]
    path.write_bytes(data[:moov] + _box(b"moov", inside))
    return path


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I4s", 8 + len(body), name) + body


def _box_bytes(data: bytes, at: int) -> int:
    return int(struct.unpack_from("!I", data, at)[0])
