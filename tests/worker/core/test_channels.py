"""When channels are judged apart: where one hides another in their mix, not in usual stereo."""

from collections.abc import Callable

import numpy as np
import pytest

from detection_testing.media import sample_media
from detection_worker.core.channels import MOST_APART, Array, Listener

RATE_HZ = 16_000
SECONDS = 4
STEREO = np.array([0.5, 0.5], np.float32)


def noise(seed: int, level: float = 0.1) -> Array:
    random = np.random.default_rng(seed)
    return (level * random.standard_normal(SECONDS * RATE_HZ)).astype(np.float32)


def voice() -> Array:
    """Harmonics in syllables with the hiss of fricatives between: sound at all frequencies."""
    harmonics = sample_media.tone(seconds=SECONDS, rate_hz=RATE_HZ, seed=1)
    t = np.arange(len(harmonics)) / RATE_HZ
    hiss = noise(2, 0.05) * (np.sin(2 * np.pi * 3 * t) > 0.3)
    return np.asarray(harmonics + hiss, np.float32)


def filtered(sound: Array, gain: Callable[[Array], Array]) -> Array:
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE_HZ).astype(np.float32)
    return np.fft.irfft(np.fft.rfft(sound) * gain(frequencies), len(sound)).astype(np.float32)


def delayed(sound: Array, samples: int) -> Array:
    return np.concatenate([np.zeros(samples, np.float32), sound[: len(sound) - samples]])


def every(sound: Array, seconds: float) -> Array:
    t = np.arange(len(sound)) / RATE_HZ
    return np.asarray(np.where(t / seconds % 2 < 1, sound, -sound), np.float32)


def room(sound: Array, seed: int) -> Array:
    """The same voice as another microphone hears it: as much reverberation as voice."""
    random = np.random.default_rng(seed)
    tail = random.standard_normal(4_800) * np.exp(-np.arange(4_800) / 1_200)
    echo = np.convolve(sound, tail / np.sqrt(np.square(tail).sum()))[: len(sound)]
    return np.asarray(sound + echo, np.float32)


HIDING: dict[str, Callable[[Array], Array]] = {
    "antiphase": lambda v: -v,
    "antiphase, a little softer": lambda v: -0.9 * v,
    "antiphase, half as loud": lambda v: -0.5 * v,
    "antiphase below 300 Hz": lambda v: filtered(v, lambda hz: np.where(hz < 300, -1, 1)),
    "antiphase above 1 kHz": lambda v: filtered(v, lambda hz: np.where(hz > 1_000, -1, 1)),
    "antiphase for every other half second": lambda v: every(v, 0.5),
    "antiphase for every other second": lambda v: every(v, 1),
    "0.5 ms later": lambda v: delayed(v, 8),
    "1 ms later": lambda v: delayed(v, 16),
    "3 ms later, in antiphase": lambda v: -delayed(v, 48),
}
USUAL: dict[str, Callable[[Array], Array]] = {
    "the same twice": lambda v: v,
    "louder on one side": lambda v: 0.4 * v,
    "one side silent": lambda v: 0 * v,
    "another sound on the other side": lambda v: noise(3),
    "another microphone in the room": lambda v: room(v, 5),
    "a little of it in antiphase": lambda v: -0.1 * v,
}


@pytest.mark.parametrize("name", HIDING)
def test_a_voice_that_its_other_channel_hides_is_judged_apart(name: str) -> None:
    channels = np.stack([voice(), HIDING[name](voice()).astype(np.float32)])

    units, apart = Listener().heard(STEREO @ channels, channels, STEREO)

    assert apart
    assert any(np.array_equal(unit, channels[0]) for unit in units)


@pytest.mark.parametrize("name", USUAL)
def test_usual_stereo_is_judged_by_its_mix_alone(name: str) -> None:
    channels = np.stack([room(voice(), 4), USUAL[name](voice()).astype(np.float32)])
    mix = STEREO @ channels

    units, apart = Listener().heard(mix, channels, STEREO)

    assert not apart
    assert np.array_equal(units, mix[None])


def test_channels_that_are_one_but_for_sign_and_level_are_judged_once() -> None:
    channels = np.stack([voice(), -0.5 * voice()])
    mix = STEREO @ channels

    units, _ = Listener().heard(mix, channels, STEREO)

    assert np.array_equal(units, np.stack([mix, channels[0]]))


def test_what_a_codec_leaves_of_a_mix_is_not_judged() -> None:
    channels = np.stack([voice(), -voice() + noise(1, 1e-4)])

    units, apart = Listener().heard(STEREO @ channels, channels, STEREO)

    assert apart
    assert len(units) == 1
    assert np.square(units[0]).mean() > 0.01


def test_a_voice_under_louder_noise_in_antiphase_is_judged_in_the_mix_too() -> None:
    loud = noise(7, 0.8)
    channels = np.stack([loud, voice() - loud])
    mix = STEREO @ channels

    units, apart = Listener().heard(mix, channels, STEREO)

    assert apart
    assert np.array_equal(units[0], mix)


def test_the_work_on_one_window_is_bounded() -> None:
    seven = [noise(i) for i in range(7)]
    channels = np.stack([*seven, -np.sum(seven, axis=0)]).astype(np.float32)
    weights = np.full(8, 1 / 8, np.float32)

    units, apart = Listener().heard(weights @ channels + noise(9, 0.01), channels, weights)

    assert apart
    assert len(units) == MOST_APART + 1


def test_a_channel_that_is_in_no_mix_is_not_judged() -> None:
    """Nobody hears the effects channel where there is no loudspeaker for it."""
    channels = np.stack([voice(), noise(1, 0.9)])
    weights = np.array([1, 0], np.float32)

    assert not Listener().heard(weights @ channels, channels, weights)[1]


@pytest.mark.parametrize("samples", [20, 100, 600, 5_000])
def test_sound_of_any_length_is_judged(samples: int) -> None:
    channels = np.stack([voice(), -voice()])[:, 8_000 : 8_000 + samples]

    assert Listener().heard(STEREO @ channels, channels, STEREO)[1]


def test_silence_has_nothing_to_hide() -> None:
    channels = np.zeros((2, 16_000), np.float32)

    assert not Listener().heard(channels[0], channels, STEREO)[1]


def test_silence_that_is_subtracted_from_silence_loses_nothing() -> None:
    silence = np.zeros((2, 4_000), dtype=np.float32)

    found, apart = Listener().heard(silence[0], silence, np.array([1.0, -1.0], dtype=np.float32))

    assert (found.shape, apart) == ((1, 4_000), False)


def test_windows_that_overlap_are_judged_as_each_alone() -> None:
    """Pieces that were compared for the window before are taken from it."""
    hop = 2 * RATE_HZ
    left = np.concatenate([voice(), voice()])
    right = np.concatenate([voice(), -voice()])
    channels = np.stack([left, right]).astype(np.float32)
    listener = Listener(hop)

    found = []
    for start in range(0, 4 * RATE_HZ + 1, hop):
        window = channels[:, start : start + 2 * hop]
        alone = Listener(hop).heard(STEREO @ window, window, STEREO, start=start)
        shared = listener.heard(STEREO @ window, window, STEREO, start=start)
        assert np.array_equal(alone[0], shared[0])
        found.append((alone[1], shared[1]))

    assert found == [(False, False), (True, True), (True, True)]
