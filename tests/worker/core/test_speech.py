"""The gate in front of detectors that judge speech."""

import math
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detection_testing.samples import sample_path
from detection_worker.core.speech import has_speech, liveliness

Sound = NDArray[np.float32]
RATE_HZ = 16_000
T = np.arange(4 * RATE_HZ) / RATE_HZ


def heard(sound: NDArray[np.floating]) -> bool:
    windows = sound.astype(np.float32)[None]
    return has_speech(windows, sample_rate_hz=RATE_HZ, duration_s=len(sound) / RATE_HZ)


def read(path: Path, *, rate_hz: int = RATE_HZ) -> Sound:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    with av.open(str(path)) as container:
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    frames += resampler.resample(None)
    samples: Sound = np.concatenate([f.to_ndarray()[0] for f in frames]).astype(np.float32)
    return samples / np.float32(32_768)


def tone(hz: float) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hz * T)


def noise(power: float) -> NDArray[np.float64]:
    """Return noise whose spectrum falls with frequency to that power, peak 0.5."""
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(size=len(T)))
    sound = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** power, len(T))
    return np.asarray(sound / np.abs(sound).max() / 2)


def chords(seconds: float) -> NDArray[np.float64]:
    """Return triads of decaying harmonics, one after another."""
    n = round(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    steps = [(262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294)]
    played = [
        sum(np.sin(2 * np.pi * hz * k * t) / k**1.5 for hz in step for k in range(1, 8))
        * np.exp(-3 * t)
        / 20
        for step in steps
    ]
    return np.concatenate([played[i % 4] for i in range(math.ceil(len(T) / n))])[: len(T)]


SWELL = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * T)


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(np.zeros(len(T)), id="silence"),
        pytest.param(np.full(len(T), 0.5), id="constant offset"),
        pytest.param(np.random.default_rng(0).integers(-1, 2, len(T)) / 32_768, id="dither"),
        pytest.param(0.3 * tone(50) + 0.1 * tone(150), id="mains hum"),
        pytest.param(0.5 * tone(440), id="tone"),
        pytest.param(0.3 * np.sign(tone(200)), id="square wave"),
        pytest.param(0.2 * tone(440) + 0.05 * noise(0), id="tone in noise"),
        pytest.param(0.5 * tone(440) * SWELL, id="tone that swells"),
        pytest.param(0.5 * np.sin(2 * np.pi * (100 * T + 300 * T * T)), id="sweep"),
        pytest.param(0.3 * (tone(480) + tone(620)) * (T % 1 < 0.5), id="busy signal"),
        pytest.param(noise(0), id="white noise"),
        pytest.param(noise(0.5), id="pink noise"),
        pytest.param(noise(1), id="rumble"),
        pytest.param(noise(0) * SWELL, id="noise that swells"),
        pytest.param((np.arange(len(T)) % 4000 == 0) * 0.9, id="clicks"),
        pytest.param((tone(262) + tone(330) + tone(392)) / 6, id="held chord"),
        pytest.param(chords(0.25), id="four chords a second"),
        pytest.param(np.zeros(3), id="three samples"),
    ],
)
def test_what_is_no_speech_is_kept_back(sound: NDArray[np.float64]) -> None:
    assert not heard(sound)


SPEECH = ("reading.wav", "reading-vocoded.mp3", "sentence-synthesised.ogg")


def hissing(sound: Sound) -> Sound:
    """Return the sound with white noise 10 dB below it."""
    level = float(np.sqrt(np.square(sound).mean())) / math.sqrt(10)
    hiss = np.random.default_rng(2).normal(0, level, len(sound))
    return (sound + hiss).astype(np.float32)


def narrow(sound: Sound) -> Sound:
    """Return what a telephone lets through."""
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    spectrum = np.fft.rfft(sound) * ((hz > 300) & (hz < 3400))
    return np.asarray(np.fft.irfft(spectrum, len(sound)), dtype=np.float32)


@pytest.mark.parametrize("name", SPEECH)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda x: x, id="as it is"),
        pytest.param(lambda x: x * 0.01, id="quiet"),
        pytest.param(lambda x: np.clip(x * 8, -1, 1), id="clipped"),
        pytest.param(narrow, id="telephone"),
        pytest.param(hissing, id="in noise"),
        pytest.param(lambda x: x[: round(1.5 * RATE_HZ)], id="a second and a half"),
        pytest.param(lambda x: x + np.float32(0.2), id="with an offset"),
    ],
)
def test_speech_passes_real_or_made(name: str, change: Callable[[Sound], Sound]) -> None:
    assert heard(change(read(sample_path(name))))


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 44_100])
def test_other_sample_rates_are_heard_alike(rate_hz: int) -> None:
    speech = read(sample_path("reading.wav"), rate_hz=rate_hz)[None]
    hum = np.sin(2 * np.pi * 440 * np.arange(3 * rate_hz) / rate_hz).astype(np.float32)[None]

    assert has_speech(speech, sample_rate_hz=rate_hz)
    assert not has_speech(hum, sample_rate_hz=rate_hz)


def test_one_window_of_speech_among_silence_is_enough() -> None:
    windows = np.zeros((5, 4 * RATE_HZ), np.float32)
    speech = read(sample_path("reading.wav"))[: 4 * RATE_HZ]
    windows[3, : len(speech)] = speech

    assert has_speech(windows, sample_rate_hz=RATE_HZ, duration_s=12.0)


def test_a_short_sound_is_not_judged_by_its_repetitions() -> None:
    beep = (0.5 * tone(440) * np.minimum(1, T * 20))[: RATE_HZ // 5].astype(np.float32)
    window = np.resize(beep, (1, 4 * RATE_HZ))

    assert not has_speech(window, sample_rate_hz=RATE_HZ, duration_s=0.2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5_000), st.sampled_from([0.0, 1e-8, 1e-3, 1.0]))
def test_measures_of_any_sound_are_finite_and_in_range(
    seed: int, samples: int, loudness: float
) -> None:
    sound = np.random.default_rng(seed).uniform(-loudness, loudness, samples).astype(np.float32)

    found = liveliness(sound, sample_rate_hz=RATE_HZ)

    assert 0 <= found.voiced_share <= 1
    assert 0 <= found.voiced_s <= samples / RATE_HZ + 0.04
    assert math.isfinite(found.change)
    assert math.isfinite(found.modulation_db)
