"""Loads of the benchmark: files of one kind, and a mix of all."""

import io
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from detection_testing.media.sample_media import make_image, make_video, texture
from detection_testing.samples import sample_path

BUCKET: Final = "media"
SPEECH_S: Final = 10
WARM_SHARE: Final = 0.1
"""Share of the results at the start that does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSet:
    """Files of one kind of load.

    Attributes:
        name: For the table.
        files: Contents by key, in the order in which messages name them.
        messages: For the worker, the pools and the limit.
        slow_messages: For the sequential loop, which needs no more for a steady rate.
    """

    name: str
    files: Mapping[str, bytes]
    messages: int
    slow_messages: int


def images(folder: Path) -> MediaSet:
    """Photographs of one crop: network latency dominates a sequential loop."""
    made = [make_image(folder / f"small{i}.jpg", width=160, height=144, seed=i) for i in range(16)]
    return _set("images", made, messages=1500, slow_messages=80)


def photos(folder: Path) -> MediaSet:
    """Photographs of 3 megapixels: decoding dominates."""
    made = []
    for i in range(6):
        path = folder / f"photo{i}.jpg"
        Image.fromarray(texture(width=2048, height=1536, seed=i)).save(path, quality=88)
        made.append(path)
    return _set("photos", made, messages=300, slow_messages=40)


def audio(folder: Path) -> MediaSet:
    """Ten seconds of speech, which a gate has to find: scoring dominates."""
    with wave.open(str(sample_path("reading.wav"))) as source:
        rate_hz = source.getframerate()
        sound = np.frombuffer(source.readframes(source.getnframes()), np.int16)
    sound = np.resize(sound, rate_hz * SPEECH_S)
    made = []
    for i in range(8):
        path = folder / f"speech{i}.wav"
        path.write_bytes(_wav(np.roll(sound, i * rate_hz), rate_hz))
        made.append(path)
    return _set("audio", made, messages=200, slow_messages=30)


def videos(folder: Path) -> MediaSet:
    """Clips of five seconds: decoding and scoring dominate."""
    made = []
    for i in range(4):
        path = folder / f"clip{i}.mp4"
        make_video(path, codec="h264", seconds=5, fps=25, width=640, height=360, seed=i)
        made.append(path)
    return _set("videos", made, messages=200, slow_messages=40)


def mix(folder: Path) -> MediaSet:
    """All in turn: of 16 messages 11 are images, two photographs, two sounds, one a video."""
    small, large, sounds, moving = (
        list(make(folder).files.items()) for make in (images, photos, audio, videos)
    )
    order = chain(small[:4], large[:1], small[4:7], sounds[:1], small[7:9], large[1:2])
    files = dict(chain(order, small[9:11], sounds[1:2], moving[:1]))
    return MediaSet(name="mix", files=files, messages=480, slow_messages=48)


MAKERS: Final[Mapping[str, Callable[[Path], MediaSet]]] = {
    "images": images,
    "photos": photos,
    "audio": audio,
    "videos": videos,
    "mix": mix,
}
"""By name, in the order of the tables."""


def _set(name: str, paths: list[Path], *, messages: int, slow_messages: int) -> MediaSet:
    files = {path.name: path.read_bytes() for path in paths}
    return MediaSet(name=name, files=files, messages=messages, slow_messages=slow_messages)


def _wav(sound: np.ndarray[tuple[int, ...], np.dtype[np.int16]], rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(sound.tobytes())
    return buffer.getvalue()
