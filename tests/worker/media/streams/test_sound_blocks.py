"""Sound is converted in large blocks: the same samples as frame by frame, of any layout."""

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from detection_testing.media import sample_media
from detection_testing.media.decoding import decode_here
from detection_worker.core.sampling import AudioSampling
from detection_worker.media.streams import audio
from detection_worker.media.values import DecodedMedia

RATE_HZ = 16_000
SAMPLING = AudioSampling(window=16_000, hop=8_000)


def decoded(path: Path) -> DecodedMedia:
    return decode_here(path, SAMPLING)


def write(path: Path, codec: str, layout: str, *, rate_hz: int = 44_100, seed: int = 1) -> Path:
    """Write a voice that is softer in each channel than in the one before."""
    voice = sample_media.tone(seconds=3, rate_hz=rate_hz, seed=seed)
    count = av.AudioLayout(layout).nb_channels
    levels = np.linspace(1, 0.3, count, dtype=np.float32)
    packed = (voice[:, None] * levels * 32_767).astype(np.int16).reshape(1, -1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        for at in range(0, len(voice), 1024):
            part = np.ascontiguousarray(packed[:, at * count : (at + 1024) * count])
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def two_formats(folder: Path) -> Path:
    """Write AAC that goes on at another rate with another number of channels."""
    first = write(folder / "1.aac", "aac", "stereo")
    second = write(folder / "2.aac", "aac", "mono", rate_hz=22_050, seed=2)
    both = folder / "both.aac"
    both.write_bytes(first.read_bytes() + second.read_bytes() + first.read_bytes())
    return both


SOUNDS: dict[str, Callable[[Path], Path]] = {
    "mono": lambda folder: write(folder / "s.flac", "flac", "mono"),
    "stereo": lambda folder: write(folder / "s.mp3", "libmp3lame", "stereo"),
    "opus": lambda folder: write(folder / "s.ogg", "libopus", "stereo", rate_hz=48_000),
    "six channels": lambda folder: write(folder / "s.m4a", "aac", "5.1"),
    "eight planes": lambda folder: write(folder / "s.m4a", "aac", "7.1"),
    "wanted rate": lambda folder: write(folder / "s.wav", "pcm_s16le", "mono", rate_hz=RATE_HZ),
    "another format halfway": two_formats,
}


@pytest.mark.parametrize("name", SOUNDS)
def test_blocks_of_any_size_give_the_same_samples(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SOUNDS[name](tmp_path)
    blocks = decoded(path)

    monkeypatch.setattr(audio, "BATCH_SAMPLES", 1)
    frames = decoded(path)

    assert blocks.info == frames.info
    assert np.abs(blocks.units - frames.units).max() < 1e-6


@pytest.mark.parametrize("name", SOUNDS)
def test_the_samples_are_those_of_a_plain_resampler(name: str, tmp_path: Path) -> None:
    path = SOUNDS[name](tmp_path)

    units = decoded(path).units

    expected = resampled(path)
    starts = range(0, len(expected) - SAMPLING.window + 1, SAMPLING.hop)
    assert len(units) == len(starts)
    for unit, start in zip(units, starts, strict=True):
        assert np.abs(unit - expected[start : start + SAMPLING.window]).max() < 1e-4


def resampled(path: Path) -> NDArray[np.float32]:
    """Return FFmpeg's own mono mix, frame by frame; a resampler for each format in a row."""
    parts: list[NDArray[np.int32]] = []
    shape = None
    resampler = av.AudioResampler(format="s32", layout="mono", rate=RATE_HZ)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            if shape not in {None, (frame.sample_rate, frame.layout.name)}:
                parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
                resampler = av.AudioResampler(format="s32", layout="mono", rate=RATE_HZ)
            shape = (frame.sample_rate, frame.layout.name)
            frame.pts = None
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
        parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.asarray(np.concatenate(parts), np.float32) * np.float32(2.0**-31)


SILENT_DTS = (
    "eNqr/9fA+MdG1mChAqMFA/P7+gdsJxkf8G67ncAABEwMUCD3et3Ootfr9r6vNjZLW3mAgX3X63Uxu16vr7"
    "535uzMVQUMCKDg0MjEwiHAgA3glmPyVJmkhAAK6NJIckpApTA0MRQCwlatWrViJJvH/P8PEg8ATLBW8A=="
)
"""A frame of 512 samples at 44,100 Hz by FFmpeg's encoder, which PyAV comes without."""


@pytest.mark.parametrize("silent_samples", [0, 40_000])
def test_dts_under_a_header_of_pcm_is_found_behind_a_second_of_silence(
    silent_samples: int, tmp_path: Path
) -> None:
    data = bytes(4 * silent_samples) + zlib.decompress(base64.b64decode(SILENT_DTS)) * 345
    wav = tmp_path / "s.wav"
    form = struct.pack("<IHHIIHH", 16, 1, 2, 44_100, 176_400, 4, 16)
    wav.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip

    found = decoded(wav)

    assert found.info.codec == "dts"
    assert found.info.duration_s == pytest.approx(4, abs=0.1)
