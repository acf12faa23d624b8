from pathlib import Path

import numpy as np
import pytest

from detection_training.audio.making.copies import COPIES
from detection_training.audio.making.vocoders import pitch_track
from detection_training.audio.sound import (
    RATE_HZ,
    Samples,
    clean,
    levelled,
    read_sound,
    through,
    trimmed,
)


def tone(hz: float, *, seconds: float = 1.0) -> Samples:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 12))
    return (0.2 * np.asarray(buzz)).astype(np.float32)


CHANNELS = {
    "clean": clean,
    "opus": through("libopus", "ogg", rate_hz=48_000, bit_rate=20_000),
    "mp3": through("libmp3lame", "mp3", bit_rate=48_000),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_keeps_length_and_tone(name: str) -> None:
    sound = tone(220)

    passed = CHANNELS[name](sound, np.random.default_rng(0))

    assert passed.dtype == np.float32
    assert len(passed) == len(sound)
    spectrum = np.abs(np.fft.rfft(passed * np.hanning(len(passed))))
    assert abs(int(spectrum.argmax()) - 220) <= 2


@pytest.mark.parametrize("name", ["griffin-lim", "source-filter"])
def test_a_resynthesis_keeps_length_and_is_not_the_original(name: str) -> None:
    sound = tone(150, seconds=1.3)

    made = COPIES[name](sound, np.random.default_rng(0))

    assert made.dtype == np.float32
    assert len(made) == len(sound)
    assert np.isfinite(made).all()
    assert np.abs(made - sound).mean() > 0.01


def test_a_shifted_voice_has_another_pitch_and_the_same_length() -> None:
    sound = tone(150, seconds=1.5)

    made = COPIES["pitch-shift"](sound, np.random.default_rng(0))

    assert len(made) == len(sound)
    heard = float(np.median(pitch_track(made, frames=40)[10:30]))
    assert abs(heard / 150 - 1) > 0.08


@pytest.mark.parametrize("hz", [80, 150, 310])
def test_the_pitch_of_a_voice_is_found(hz: float) -> None:
    track = pitch_track(tone(hz), frames=30)

    assert np.median(track[5:25]) == pytest.approx(hz, rel=0.03)


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)

    assert (pitch_track(noise, frames=30) > 0).mean() < 0.2


def test_silence_around_speech_is_cut() -> None:
    sound = np.concatenate([np.zeros(RATE_HZ), tone(200), np.zeros(RATE_HZ)]).astype(np.float32)

    assert len(trimmed(sound)) == pytest.approx(1.2 * RATE_HZ, rel=0.05)
    assert len(trimmed(np.zeros(RATE_HZ, np.float32))) == 0
    assert np.abs(levelled(sound, peak=0.5)).max() == pytest.approx(0.5, abs=1e-3)


def test_a_file_without_sound_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    path.write_bytes(b"no sound at all")

    with pytest.raises(ValueError, match=r"x\.ogg: no sound"):
        read_sound(path)
