import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_training.audio.making import channels
from detection_training.audio.making.channels import (
    CHANNEL_WEIGHTS,
    CHANNELS,
    FLOOR_DB,
    Augmenter,
    draw_channel,
    fast_length,
    optional,
    with_floor,
)
from detection_training.audio.sound import RATE_HZ, Samples
from detection_worker.errors import UsageError

NEEDS_SOUNDFILE = {"vorbis", "gsm"}


@pytest.fixture
def tone() -> Samples:
    t = np.arange(RATE_HZ) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_keeps_length_and_most_of_the_sound(name: str, tone: Samples) -> None:
    if name in NEEDS_SOUNDFILE:
        pytest.importorskip("soundfile")

    passed = CHANNELS[name](tone, np.random.default_rng(1))

    assert passed.shape == tone.shape
    assert passed.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(passed))
    assert abs(int(spectrum.argmax()) - 440) <= 2
    assert 0.1 < passed.std() / tone.std() < 2


def test_every_channel_is_drawn_about_as_often_as_its_weight_says() -> None:
    rng = np.random.default_rng(3)
    drawn = [draw_channel(rng) for _ in range(4000)]

    total = sum(CHANNEL_WEIGHTS.values())
    for name, weight in CHANNEL_WEIGHTS.items():
        assert drawn.count(name) / 4000 == pytest.approx(weight / total, abs=0.03)


def test_no_clip_keeps_digital_silence(tone: Samples) -> None:
    half = tone.copy()
    half[: RATE_HZ // 2] = 0

    floored = with_floor(half, np.random.default_rng(2))

    level_db = 20 * np.log10(floored[: RATE_HZ // 2].std() / half.std())
    assert -FLOOR_DB[1] - 3 < level_db < -FLOOR_DB[0] + 3


def test_augmented_windows_are_finite_and_differ(tone: Samples) -> None:
    augment = Augmenter(len(tone), rng=np.random.default_rng(4))

    made = [augment(tone) for _ in range(20)]

    assert all(window.shape == tone.shape and np.isfinite(window).all() for window in made)
    assert len({window.tobytes() for window in made}) > 10


@given(st.integers(1, 10**6))
def test_a_fast_length_is_long_enough_and_not_wasteful(least: int) -> None:
    length = fast_length(least)

    assert least <= length <= 1.5 * least + 1
    while length % 2 == 0:
        length //= 2
    assert length in {1, 3}


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    with pytest.raises(UsageError, match=r"'no_such_package' is not installed!\n.*train-full"):
        optional("no_such_package")


def test_resampling_to_the_same_rate_changes_nothing(tone: Samples) -> None:
    assert channels.resampled(tone, RATE_HZ, RATE_HZ) is tone
