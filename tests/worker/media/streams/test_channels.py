"""Sound of several channels out of the jail, to its verdict."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_testing.media import sample_media
from detection_testing.samples import sample_path
from detection_worker.core.sampling import AudioSampling
from detection_worker.detectors import registry
from detection_worker.detectors.model_folder import listing
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.streams.windows import Windows
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import Analysis
from detection_worker.pipeline.files.analyzer import Analyzer
from detection_worker.settings import MediaLimits

RATE_HZ = 16_000
Sound = NDArray[np.float32]


def sample(name: str) -> Sound:
    with av.open(str(sample_path(name))) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        frames = [out for f in container.decode(audio=0) for out in resampler.resample(f)]
    return np.asarray(np.concatenate([f.to_ndarray()[0] for f in frames]), np.float32)


def write(path: Path, channels: Sequence[Sound], layout: str, *, codec: str = "flac") -> Path:
    packed = np.stack(channels, axis=1).reshape(1, -1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE_HZ, layout=layout)
        assert isinstance(stream, av.AudioStream)
        step = 1024 * len(channels)
        for at in range(0, packed.shape[1], step):
            part = np.ascontiguousarray(packed[:, at : at + step] * 32_767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.pts = RATE_HZ, at // len(channels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def forged() -> Sound:
    return sample("sentence-synthesised.ogg")


def silence() -> Sound:
    return np.zeros_like(forged())


HIDDEN = {
    "antiphase": (lambda: [forged(), -forged()], "stereo"),
    "antiphase, softer": (lambda: [forged(), -0.8 * forged()], "stereo"),
    "later in one channel": (
        lambda: [forged(), np.concatenate([np.zeros(8, np.float32), forged()[:-8]])],
        "stereo",
    ),
    "antiphase of two in six": (
        lambda: [forged(), -forged(), silence(), silence(), silence(), silence()],
        "5.1",
    ),
}
PLAIN = {
    "mono": (lambda: [forged()], "mono"),
    "one channel silent": (lambda: [forged(), silence()], "stereo"),
    "the middle of six": (
        lambda: [silence(), silence(), forged(), silence(), silence(), silence()],
        "5.1",
    ),
}


@pytest.fixture(scope="module")
def analyse(pool: ProcessDecoder) -> Callable[[Path], Analysis]:
    loaded = registry.load_detectors(
        listing.bundled_models_dir(), threads=1, prefer=["audio-lfb-resnet-s"]
    )

    def run(path: Path) -> Analysis:
        analyzer = Analyzer(pool, loaded.by_kind, MediaLimits())
        found, _ = analyzer.analyse(path, name=path.name, threshold=0.5)
        assert isinstance(found, Analysis)
        return found

    return run


@pytest.mark.parametrize("name", [*HIDDEN, *PLAIN])
def test_a_forged_voice_is_found_in_whatever_channels_it_is(
    name: str, analyse: Callable[[Path], Analysis], tmp_path: Path
) -> None:
    make, layout = (HIDDEN | PLAIN)[name]

    found = analyse(write(tmp_path / "s.flac", make(), layout))

    assert found.verdict.finding == "fake"
    assert found.verdict.score >= 0.61
    assert any("channels cancel" in w for w in found.info.warnings) is (name in HIDDEN)
    assert len(found.segments) == found.info.frames_analysed


@pytest.mark.parametrize("codec", ["flac", "aac"])
def test_a_genuine_voice_in_antiphase_stays_genuine(
    codec: str, analyse: Callable[[Path], Analysis], tmp_path: Path
) -> None:
    voice = sample("reading.wav")
    suffix = {"flac": ".flac", "aac": ".m4a"}[codec]

    found = analyse(write(tmp_path / f"s{suffix}", [voice, -voice], "stereo", codec=codec))

    assert found.verdict.finding == "real"


def test_only_windows_that_need_it_have_more_units(
    tmp_path: Path, decode: Callable[..., DecodedMedia]
) -> None:
    one = sample_media.tone(seconds=4, rate_hz=RATE_HZ, seed=1)
    other = one.copy()
    other[2 * RATE_HZ : 3 * RATE_HZ] *= -0.9
    path = write(tmp_path / "s.flac", [one, other], "stereo")

    media = decode(path, audio=AudioSampling(window=RATE_HZ, hop=RATE_HZ, max_windows=8))

    assert (media.info.kind, media.info.frames_analysed) == (MediaKind.AUDIO, 4)
    assert media.frame.tolist() == [0, 1, 2, 2, 3]
    assert np.abs(media.units[3] - one[2 * RATE_HZ : 3 * RATE_HZ]).max() < 1e-3
    assert "in 1 of 4 windows" in media.info.warnings[0]


@pytest.mark.parametrize(
    ("layout", "count", "weights"),
    [
        pytest.param("stereo", 2, [0.5, 0.5], id="stereo"),
        pytest.param("3.0", 3, [0.29, 0.29, 0.41], id="three"),
        pytest.param("5.1", 6, [0.21, 0.21, 0.29, 0, 0.15, 0.15], id="six"),
    ],
)
def test_the_mix_is_that_of_ffmpeg(
    layout: str,
    count: int,
    weights: list[float],
    tmp_path: Path,
    decode: Callable[..., DecodedMedia],
) -> None:
    voices = [sample_media.tone(seconds=1, rate_hz=RATE_HZ, seed=i) for i in range(count)]
    path = write(tmp_path / "s.flac", voices, layout)
    with av.open(str(path)) as container:
        mixer = av.AudioResampler(format="s32", layout="mono", rate=RATE_HZ)
        mixed = [out for f in container.decode(audio=0) for out in mixer.resample(f)]
    expected = np.concatenate([f.to_ndarray()[0] for f in mixed]) / 2.0**31

    media = decode(path, audio=AudioSampling(window=RATE_HZ, hop=RATE_HZ, max_windows=1))

    assert np.abs(media.units[0] - expected).max() < 1e-6
    rough = sum(w * voice for w, voice in zip(weights, voices, strict=True))
    assert np.abs(expected - rough).max() < 0.01


def test_channels_that_come_later_in_a_stream_are_looked_at_too() -> None:
    voice = sample_media.tone(seconds=2, rate_hz=RATE_HZ, seed=1)
    stereo = np.stack([voice, -0.9 * voice])
    half = np.array([0.5, 0.5], np.float32)
    windows = Windows(AudioSampling(window=2 * RATE_HZ, hop=RATE_HZ, max_windows=4))

    windows.push(voice[:RATE_HZ])
    windows.push(np.vstack([half @ stereo, stereo]), half)
    windows.push(np.vstack([half @ stereo, stereo]), half)
    found = windows.finish_apart()

    assert found.starts_s.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found.apart == 4
    assert np.bincount(found.frame).min() > 1
