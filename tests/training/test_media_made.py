from pathlib import Path

import numpy as np
import pytest

from detection_training.audio.making.speech import build_clips
from detection_training.audio.making.vocoders import RESYNTHESES, pitch_track
from detection_training.audio.sound import (
    CHANNELS,
    RATE_HZ,
    Samples,
    levelled,
    read_sound,
    trimmed,
)
from detection_training.image.making import treatments
from detection_training.image.making.autoencoders import Autoencoder, reconstruct
from detection_training.image.making.photos import patches, read_photo
from detection_training.pipeline.splits import Split


def tone(hz: float, *, seconds: float = 1.0) -> Samples:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 12))
    return (0.2 * np.asarray(buzz)).astype(np.float32)


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

    made = RESYNTHESES[name](sound, np.random.default_rng(0))

    assert made.dtype == np.float32
    assert len(made) == len(sound)
    assert np.isfinite(made).all()
    assert np.abs(made - sound).mean() > 0.01


def test_a_shifted_voice_has_another_pitch_and_the_same_length() -> None:
    sound = tone(150, seconds=1.5)

    made = RESYNTHESES["pitch-shift"](sound, np.random.default_rng(0))

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


def test_clips_of_both_classes_have_the_same_lengths_and_channels_are_drawn_for_both(
    packages: dict[str, Path],
) -> None:
    clips = build_clips(packages, Split.TRAIN, per_voice=2, seed=0, log=lambda _: None)

    real = [clip for clip in clips if not clip.fake]
    fake = [clip for clip in clips if clip.fake]
    assert {clip.family for clip in fake} == {"griffin-lim", "source-filter"}
    assert len(fake) == 2 * len(real)
    assert sorted(len(c.sound) for c in real) * 2 != []
    assert {len(c.sound) for c in real} == {len(c.sound) for c in fake}


def test_a_file_without_sound_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    path.write_bytes(b"no sound at all")

    with pytest.raises(ValueError, match=r"x\.ogg: no sound"):
        read_sound(path)


def test_patches_are_drawn_alike_for_the_same_seed(packages: dict[str, Path]) -> None:
    photo = read_photo(packages["scikit-image"] / "skimage/data/coffee.png")

    first, second = (
        patches([photo], count=3, side_px=64, rng=np.random.default_rng(4)) for _ in range(2)
    )

    assert first.shape == (3, 64, 64, 3)
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_a_text_file_is_no_photograph(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("hello")

    with pytest.raises(ValueError, match="not a picture"):
        read_photo(tmp_path / "x.jpg")


@pytest.mark.parametrize("name", ["none", "jpeg", "webp"])
def test_a_treatment_keeps_a_picture_nearly_as_it_is(name: str) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 3))

    treated = treatments.IMAGE_TREATMENTS[name](ramp, np.random.default_rng(0))

    assert treated.shape == ramp.shape
    assert np.abs(treated.astype(int) - ramp).mean() < 4


def test_a_clip_keeps_its_frames() -> None:
    frames = np.stack([np.full((64, 96, 3), 40 * i, np.uint8) for i in range(5)])

    read = treatments.read_frames(treatments.write_clip(frames, crf=18))

    assert [round(float(f.mean()) / 40) for f in read] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("decoder", ["nearest", "transposed", "shuffle"])
def test_a_reconstruction_has_the_shape_of_its_original(decoder: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)

    assert reconstruct(Autoencoder(decoder).eval(), pixels).shape == pixels.shape
