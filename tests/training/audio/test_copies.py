from pathlib import Path

import numpy as np
import pytest
import torch

from detection_training.audio.making.copies import COPIES
from detection_training.audio.making.neural_vocoders import (
    HOP,
    NETWORKS,
    PIECE,
    copied,
    train_vocoder,
)
from detection_training.audio.making.utterances import CLIP_S, FADE, crossfaded, joined, voiced
from detection_training.audio.sound import RATE_HZ, Samples, encode

NEEDS_PYWORLD = {"world", "world-shifted"}


def buzz(*, seconds: float, pitch_hz: float = 120.0) -> Samples:
    """Return a pitch with a moving resonance and some breath."""
    rng = np.random.default_rng(5)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * pitch_hz * t
    sound = 0.003 * rng.standard_normal(len(t))
    for k in range(1, 30):
        sound += 0.05 * np.sin(k * phase) / k * (1 + np.sin(2 * np.pi * k * t))
    return sound.astype(np.float32)


def envelope(sound: Samples) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the log power in 20 bands over the whole sound."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    return np.array([np.log(part.mean() + 1e-9) for part in np.array_split(power, 20)])


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_as_long_sounds_alike_and_is_not_the_same(name: str) -> None:
    if name in NEEDS_PYWORLD:
        pytest.importorskip("pyworld")
    sound = buzz(seconds=1.5)

    copy = COPIES[name](sound, np.random.default_rng(1))

    assert copy.shape == sound.shape
    assert copy.dtype == np.float32
    assert np.isfinite(copy).all()
    assert np.corrcoef(envelope(copy), envelope(sound))[0, 1] > 0.6
    assert abs(np.corrcoef(copy, sound)[0, 1]) < 0.999


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_returns_as_many_samples_as_it_gets(name: str) -> None:
    torch.manual_seed(1)
    network = NETWORKS[name]().eval()

    made = copied(network, buzz(seconds=0.7))

    assert made.shape == (int(0.7 * RATE_HZ),)
    assert network(torch.zeros(2, 8 * HOP)).shape == (2, 8 * HOP)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neural-spectral", "neural-codec", "neural-adversarial"])
def test_training_brings_a_copy_nearer_to_its_original(name: str) -> None:
    said: list[str] = []
    sounds = [buzz(seconds=1.0, pitch_hz=hz) for hz in (100, 140, 190)]
    assert len(sounds[0]) > PIECE

    first = train_vocoder(name, sounds, steps=1, seconds=60, seed=1, log=said.append)
    later = train_vocoder(name, sounds, steps=15, seconds=60, seed=1, log=said.append)

    before, after = (float(line.split("loss ")[1].split(",")[0]) for line in said)
    assert after < before
    assert sum(p.numel() for p in first.parameters()) == sum(p.numel() for p in later.parameters())


def test_joints_are_faded_and_lose_only_the_fades() -> None:
    parts = [np.full(1000, 0.5, np.float32), np.full(800, -0.5, np.float32)]

    whole = crossfaded(parts)

    assert len(whole) == 1800 - FADE
    assert np.abs(np.diff(whole)).max() < 0.1


def test_noise_is_no_voice() -> None:
    noise = np.random.default_rng(1).standard_normal(RATE_HZ).astype(np.float32)

    assert voiced(buzz(seconds=1.0))
    assert not voiced(noise)


def test_clips_are_joined_from_short_utterances_and_broken_files_passed_over(
    tmp_path: Path,
) -> None:
    for i in range(12):
        data = encode(buzz(seconds=1.0, pitch_hz=100 + 10 * i), "g722", "g722")
        (tmp_path / f"{i:02}.g722").write_bytes(data)
    (tmp_path / "broken.ogg").write_bytes(b"no sound")

    found = list(joined(sorted(tmp_path.iterdir()), count=2, rng=np.random.default_rng(1)))

    assert len(found) == 2
    assert all(CLIP_S[0] <= len(sound) / RATE_HZ <= CLIP_S[1] for sound, _ in found)
    assert all(path.suffix == ".g722" for _, path in found)
