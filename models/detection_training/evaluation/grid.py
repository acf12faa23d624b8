"""What happens to media between their making and us: treated copies for a robustness grid.

A copy is a file of its own, so that it comes back through the same decoding as any other. Files
are streamed: a long recording needs no more memory than a short one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray
from PIL import Image, ImageOps

from detection_contract.media_types import MediaKind

WIDE_HZ: Final = 16_000
NARROW_HZ: Final = 8_000
"""Sample rate of a telephone line (ITU-T G.711)."""
OPUS_HZ: Final = 48_000
"""The only rate of the Opus encoder at which nothing is resampled inside."""
CRF: Final = 28
"""Visibly worse than x264's default of 23; about what messengers send."""
DEFAULT_RATE: Final = Fraction(25)
FULL_SCALE: Final = 32_767
Chunk = NDArray[np.int16]


class TreatmentError(Exception):
    """A file could not be treated; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """One way to treat a file.

    Attributes:
        suffix: Extension of the copy.
        apply: Writes the treated copy of the first path to the second.
    """

    suffix: str
    apply: Callable[[Path, Path], None]

    def write(self, source: Path, target: Path) -> None:
        """Write the treated copy.

        Raises:
            TreatmentError: The file cannot be read, or not be written in that form.
        """
        try:
            self.apply(source, target)
        except (av.FFmpegError, OSError, ValueError, Image.DecompressionBombError) as exc:
            raise TreatmentError(f"could not be treated: {type(exc).__name__}") from exc


def treatments_for(kind: MediaKind) -> Mapping[str, Treatment]:
    """Return the treatments of a media kind by name."""
    return GRID[kind]


def _saved(picture: Image.Image, target: Path, *, quality: int | None = None) -> None:
    if quality is None:
        picture.save(target, "PNG", compress_level=1)
    else:
        picture.save(target, "JPEG", quality=quality)


def _jpeg(source: Path, target: Path, *, quality: int) -> None:
    with Image.open(source) as picture:
        _saved(_upright(picture), target, quality=quality)


def _resized(source: Path, target: Path, *, scale: float) -> None:
    with Image.open(source) as picture:
        upright = _upright(picture)
    size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    # Lossless, so that the table shows what the resizing does and nothing else.
    _saved(upright.resize(size, Image.Resampling.LANCZOS), target)


def _upright(picture: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(picture).convert("RGB")


def _coded(
    source: Path, target: Path, *, codec: str, rate_hz: int, bit_rate: int | None = None
) -> None:
    _write_sound(_sound(source, WIDE_HZ), target, codec=codec, rate_hz=rate_hz, bit_rate=bit_rate)


def _narrow(source: Path, target: Path) -> None:
    _write_sound(_sound(source, NARROW_HZ), target, codec="pcm_s16le", from_hz=NARROW_HZ)


def _noisy(source: Path, target: Path, *, snr_db: float) -> None:
    """White noise below the mean level of the whole file; the same noise every time."""
    power, count = 0.0, 0
    for chunk in _sound(source, WIDE_HZ):
        power += float(np.square(chunk.astype(np.float64)).sum())
        count += len(chunk)
    level = np.sqrt(power / max(count, 1) / 10 ** (snr_db / 10))
    rng = np.random.default_rng(0)

    def noisy() -> Iterator[Chunk]:
        for chunk in _sound(source, WIDE_HZ):
            mixed = chunk + level * rng.standard_normal(len(chunk))
            yield np.clip(mixed, -FULL_SCALE, FULL_SCALE).astype(np.int16)

    _write_sound(noisy(), target, codec="pcm_s16le")


def _sound(source: Path, rate_hz: int) -> Iterator[Chunk]:
    resampler = AudioResampler(format="s16", layout="mono", rate=rate_hz)
    with av.open(str(source), "r") as container:
        for frame in container.decode(audio=0):
            frame.pts = None
            for out in resampler.resample(frame):
                yield out.to_ndarray()[0]
        for out in resampler.resample(None):
            yield out.to_ndarray()[0]


def _write_sound(
    chunks: Iterator[Chunk],
    target: Path,
    *,
    codec: str,
    from_hz: int = WIDE_HZ,
    rate_hz: int | None = None,
    bit_rate: int | None = None,
) -> None:
    with av.open(str(target), "w") as out:
        stream: Any = out.add_stream(codec, rate=rate_hz or from_hz, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
        resampler = AudioResampler(
            format=stream.format.name, layout="mono", rate=rate_hz or from_hz
        )
        for chunk in chunks:
            frame = av.AudioFrame.from_ndarray(chunk[None], format="s16", layout="mono")
            frame.sample_rate = from_hz
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))


def _reencoded(source: Path, target: Path) -> None:
    """H.264 without the sound track; odd sides lose a row or column."""
    with av.open(str(source), "r") as container, av.open(str(target), "w") as out:
        video = container.streams.video[0]
        stream: Any = None
        rate = video.average_rate or DEFAULT_RATE
        for i, frame in enumerate(container.decode(video)):
            if stream is None:
                stream = out.add_stream("libx264", rate=rate)
                stream.width, stream.height = frame.width // 2 * 2, frame.height // 2 * 2
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": str(CRF), "preset": "veryfast"}
            whole = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            pixels = np.ascontiguousarray(whole[: stream.height, : stream.width])
            ready = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            ready.pts, ready.time_base = i, 1 / rate
            out.mux(stream.encode(ready))
        if stream is None:
            raise ValueError("no frames")
        out.mux(stream.encode(None))


GRID: Final[dict[MediaKind, dict[str, Treatment]]] = {
    MediaKind.IMAGE: {
        **{
            f"JPEG {quality}": Treatment(suffix=".jpg", apply=partial(_jpeg, quality=quality))
            for quality in (95, 85, 75)
        },
        **{
            f"resized to {scale:g}": Treatment(suffix=".png", apply=partial(_resized, scale=scale))
            for scale in (0.75, 0.5)
        },
    },
    MediaKind.AUDIO: {
        "MP3 32 kbit/s": Treatment(
            suffix=".mp3",
            apply=partial(_coded, codec="libmp3lame", rate_hz=WIDE_HZ, bit_rate=32_000),
        ),
        "Opus 16 kbit/s": Treatment(
            suffix=".ogg",
            apply=partial(_coded, codec="libopus", rate_hz=OPUS_HZ, bit_rate=16_000),
        ),
        "G.722": Treatment(suffix=".wav", apply=partial(_coded, codec="g722", rate_hz=WIDE_HZ)),
        "8 kHz": Treatment(suffix=".wav", apply=_narrow),
        **{
            f"noise {snr_db} dB": Treatment(suffix=".wav", apply=partial(_noisy, snr_db=snr_db))
            for snr_db in (20, 10)
        },
    },
    MediaKind.VIDEO: {f"H.264 CRF {CRF}": Treatment(suffix=".mp4", apply=_reencoded)},
}
"""The treatments by media kind, in the order of the tables."""
