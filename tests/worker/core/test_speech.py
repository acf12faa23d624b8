"""The gate in front of detectors that judge speech."""

import itertools
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
from detection_worker.core import speech
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


def measured_by_the_book(sound: Sound) -> tuple[float, float, float, float]:
    """Return what ``Liveliness`` has, by full Fourier transforms and products of all frames."""
    length, hop = 512, 256
    frames = np.lib.stride_tricks.sliding_window_view(sound, length)[::hop]
    frames = frames - frames.mean(axis=1, keepdims=True)
    level_db = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    loud = level_db > max(speech.FLOOR_DBFS, np.percentile(level_db, 95) - speech.RANGE_DB)
    if not loud.any():
        return 0.0, 0.0, 0.0, 0.0
    hann = np.hanning(length)
    power = np.square(np.abs(np.fft.rfft(frames * hann, 2 * length, axis=1)))
    at_hz = np.linspace(0, RATE_HZ / 2, length + 1)
    weights = np.where((at_hz >= 100) & (at_hz <= 1_000), at_hz, 0)
    fading = np.fft.irfft(np.square(np.abs(np.fft.rfft(hann, 2 * length))))
    correlation = np.fft.irfft(power * weights, axis=1) / np.where(fading > 1e-9, fading, 1)
    pitched = correlation[:, 40:268].max(axis=1) / (correlation[:, 0] + 1e-12) > speech.VOICED
    pitched &= loud
    voiced = pitched & np.append(pitched[1:], False) & np.insert(pitched[:-1], 0, False)
    mel = np.linspace(2595 * np.log10(1 + 1 / 7), 2595 * np.log10(1 + 38 / 7), 17)
    edges = np.searchsorted(at_hz, 700 * (10 ** (mel / 2595) - 1))
    density = np.stack([power[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)], axis=1)
    shapes = np.log(density + 0.01 * density.max(axis=1, keepdims=True) + 1e-12)
    shapes -= shapes.mean(axis=1, keepdims=True)
    pairs = loud[3:] & loud[:-3] & (voiced[3:] | voiced[:-3])
    changes = np.abs(shapes[3:] - shapes[:-3]).mean(axis=1)[pairs]
    return (
        voiced.sum() * 0.016,
        voiced.sum() / loud.sum(),
        float(np.median(changes)) if len(changes) else 0.0,
        float(level_db[loud].std()),
    )


def part_of(kind: str, rng: np.random.Generator, t: NDArray[np.float64]) -> NDArray[np.floating]:
    match kind:
        case "speech":
            return np.roll(np.resize(read(sample_path(SPEECH[0])), len(t)), rng.integers(len(t)))
        case "tone":
            return np.asarray(
                np.sin(2 * np.pi * rng.uniform(60, 900) * t + 3 * np.sin(20 * t)) / 2
            )
        case "chord":
            return np.resize(chords(rng.uniform(0.1, 1.0)), len(t))
        case "noise":
            return np.resize(noise(rng.uniform(0, 1.2)), len(t))
    return np.asarray((np.arange(len(t)) % rng.integers(200, 8_000) == 0) * 0.9)


def made_sound(seed: int, kinds: list[str], *, seconds: float = 6) -> Sound:
    """Return a mix of speech, tones, chords, noise and pulses that swell and fade."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    total = np.zeros(len(t))
    for kind in kinds:
        depth, rate_hz = rng.uniform(0, 1), rng.uniform(0.2, 12)
        swell = 1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * rate_hz * t))
        total += part_of(kind, rng, t) * swell
    return np.asarray(total * 10 ** rng.uniform(-2.5, 0), dtype=np.float32)


KINDS = st.lists(
    st.sampled_from(["speech", "tone", "chord", "noise", "pulses"]), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), KINDS)
def test_the_measures_are_those_of_full_transforms_and_the_decision_follows_from_them(
    seed: int, kinds: list[str]
) -> None:
    sound = made_sound(seed, kinds, seconds=4)

    found = liveliness(sound, sample_rate_hz=RATE_HZ)

    measures = found.voiced_s, found.voiced_share, found.change, found.modulation_db
    assert measures == pytest.approx(measured_by_the_book(sound), abs=1e-4)
    assert has_speech(sound[None], sample_rate_hz=RATE_HZ) == found.may_be_speech


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), KINDS, st.sampled_from([32_000, 16_000, 10_000, 64_000]))
def test_windows_that_overlap_are_judged_as_each_by_itself(
    seed: int, kinds: list[str], hop: int
) -> None:
    sound = made_sound(seed, kinds)
    windows = np.lib.stride_tricks.sliding_window_view(sound, 4 * RATE_HZ)[::hop]

    alone = [has_speech(window[None], sample_rate_hz=RATE_HZ) for window in windows]

    assert has_speech(windows, sample_rate_hz=RATE_HZ, hop=hop) == any(alone)


def test_a_hop_that_the_windows_do_not_keep_changes_no_decision() -> None:
    """Windows of a long sound are further apart than its hop, and channels follow each other."""
    sound = read(sample_path("reading.wav"))
    windows = np.zeros((3, 2 * RATE_HZ), np.float32)
    windows[2] = sound[: 2 * RATE_HZ]

    assert has_speech(windows, sample_rate_hz=RATE_HZ, hop=16_000)
    assert not has_speech(windows[:2], sample_rate_hz=RATE_HZ, hop=16_000)
