"""Speech files to samples, and back through codecs."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

Samples = NDArray[np.float32]
RATE_HZ: Final = 16_000
Channel = Callable[[Samples, np.random.Generator], Samples]


def read_sound(path: Path) -> Samples:
    """Return a file as mono samples at ``RATE_HZ`` in [-1, 1].

    ``.g722`` and ``.raw`` files have no header; the latter is 16-bit at ``RATE_HZ``.

    Raises:
        ValueError: If it holds no sound.
    """
    if path.suffix == ".raw":
        return np.frombuffer(path.read_bytes(), "<i2").astype(np.float32) / np.float32(32768)
    try:
        return _decoded(path.read_bytes(), "g722" if path.suffix == ".g722" else None)
    except av.FFmpegError as exc:
        raise ValueError(f"{path.name}: no sound") from exc


def trimmed(sound: Samples, *, below: float = 0.02, keep_s: float = 0.1) -> Samples:
    """Return speech without the silence around it, which differs from source to source."""
    frame = RATE_HZ // 100
    count = len(sound) // frame
    if not count:
        return sound
    loud = np.sqrt(np.square(sound[: count * frame].reshape(count, frame)).mean(axis=1))
    where = np.flatnonzero(loud > below * max(float(loud.max()), 1e-4))
    if not len(where):
        return sound[:0]
    keep = int(keep_s * 100)
    first, last = max(int(where[0]) - keep, 0), min(int(where[-1]) + keep + 1, count)
    return sound[first * frame : last * frame]


def levelled(sound: Samples, *, peak: float) -> Samples:
    """Return the sound with its highest sample at ``peak``."""
    return (sound * (peak / max(float(np.abs(sound).max(initial=0.0)), 1e-4))).astype(np.float32)


def through(codec: str, container: str, *, rate_hz: int = RATE_HZ, bit_rate: int = 0) -> Channel:
    """Return a channel that encodes and decodes."""

    def channel(sound: Samples, _: np.random.Generator) -> Samples:
        data = encode(sound, codec, container, rate_hz=rate_hz, bit_rate=bit_rate)
        decoded = _decoded(data, "g722" if container == "g722" else None)
        # Encoders add some delay and padding, which must not tell classes apart.
        return np.resize(decoded, len(sound)) if len(decoded) else sound

    return channel


def clean(sound: Samples, _: np.random.Generator) -> Samples:
    """Return the sound as it is."""
    return sound


def encode(
    sound: Samples, codec: str, container: str, *, rate_hz: int = RATE_HZ, bit_rate: int = 0
) -> bytes:
    """Return the sound as the bytes of a file."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate_hz, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
        samples = np.clip(sound * 32767, -32768, 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        resampler = AudioResampler(format=stream.format.name, layout="mono", rate=rate_hz)
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _decoded(data: bytes, container: str | None) -> Samples:
    resampler = AudioResampler(format="s32", layout="mono", rate=RATE_HZ)
    parts: list[NDArray[Any]] = []
    with av.open(io.BytesIO(data), "r", format=container) as source:
        for frame in source.decode(audio=0):
            frame.pts = None
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
        parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    whole = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return whole.astype(np.float32) / np.float32(2**31)
