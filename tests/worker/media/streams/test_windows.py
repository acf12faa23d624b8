import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.core.sampling import (
    APART_UNITS,
    AudioSampling,
    covered_s,
    most_units,
    spread,
)
from detection_worker.media.streams.windows import GROWTH_BYTES, Windows


@settings(deadline=None)
@given(
    pieces=st.lists(st.integers(0, 500), max_size=30),
    window=st.integers(1, 60),
    hop=st.integers(1, 80),
    most=st.integers(1, 7),
)
def test_windows_hold_the_sound_at_their_times_whatever_the_pieces(
    pieces: list[int], window: int, hop: int, most: int
) -> None:
    total = sum(pieces)
    sound = np.arange(total, dtype=np.float32)
    windows = Windows(AudioSampling(sample_rate_hz=1, window=window, hop=hop, max_windows=most))
    for start, end in zip(np.cumsum([0, *pieces]), np.cumsum(pieces), strict=False):
        windows.push(sound[start:end])

    units, at_s = windows.finish()

    count = 0 if not total else max(1, 1 + (total - window) // hop)
    assert len(units) == len(at_s) == min(count, most)
    if total >= window:
        starts = at_s.astype(int)
        assert (starts % hop == 0).all()
        assert all(
            np.array_equal(u, sound[s : s + window]) for u, s in zip(units, starts, strict=True)
        )
    elif total:
        assert np.array_equal(units[0], np.resize(sound, window))
    if total and count <= 2 * most:
        assert at_s.tolist() == [hop * i for i in spread(count, most)]


@given(count=st.integers(1, 5_000), most=st.integers(1, 12))
def test_windows_of_long_sound_reach_from_its_start_to_its_end(count: int, most: int) -> None:
    windows = Windows(AudioSampling(sample_rate_hz=1, window=1, hop=1, max_windows=most))
    for _ in range(0, count, 50):
        windows.push(np.zeros(50, dtype=np.float32))

    _, at_s = windows.finish()

    share = windows.samples / len(at_s)
    assert at_s[0] <= share
    assert at_s[-1] >= windows.samples - 2 * share - 1


BUNDLED = AudioSampling()
"""As the bundled models have it."""


def windows_of(seconds: float, *, channels: int = 1) -> Windows:
    """Return windows of silence, or of channels that cancel each other in their mix."""
    windows = Windows(BUNDLED)
    block = np.zeros(BUNDLED.sample_rate_hz * 4, np.float32)
    weights = None
    if channels > 1:
        noise = np.random.default_rng(0).normal(0, 0.1, (channels - 1, len(block)))
        voices = np.vstack([noise, -noise.sum(axis=0)]).astype(np.float32)
        weights = np.full(channels, 1 / channels, np.float32)
        block = np.vstack([weights @ voices, voices]).astype(np.float32)
    for _ in range(round(seconds / 4)):
        windows.push(block, weights)
    return windows


@pytest.mark.parametrize(
    ("seconds", "count", "covered"),
    [
        pytest.param(8, 3, 8, id="8 s: whole, twice"),
        pytest.param(60, 29, 60, id="a minute: whole, twice"),
        pytest.param(512, 255, 512, id="8 minutes: whole, twice"),
        pytest.param(1020, 256, 1020, id="17 minutes: without a gap"),
        pytest.param(800, 256, 800, id="13 minutes: partly twice, without a gap"),
        pytest.param(3600, 256, 1024, id="an hour: 17 minutes of it"),
    ],
)
def test_sound_is_covered_densely_up_to_a_limit_and_evenly_beyond(
    seconds: int, count: int, covered: float
) -> None:
    starts_s = windows_of(seconds).finish_apart().starts_s

    assert len(starts_s) == count
    assert covered_s(BUNDLED, starts_s.tolist(), seconds) == covered
    gaps = np.diff(starts_s)
    assert gaps.max() <= 2 * seconds / count + 2
    assert gaps.max() <= 2 * gaps.min()


def test_channels_that_are_judged_apart_take_the_place_of_windows() -> None:
    few = windows_of(120, channels=2).finish_apart()
    many = windows_of(800, channels=5).finish_apart()

    assert few.apart == len(few.starts_s) == 59
    assert len(many.units) <= APART_UNITS == most_units(BUNDLED)
    assert len(many.units) > APART_UNITS - 10
    assert many.starts_s[0] < 20
    assert many.starts_s[-1] > 780


def test_an_hour_takes_no_more_memory_than_the_windows_that_are_kept_meanwhile() -> None:
    tracemalloc.start()
    try:
        units, _ = windows_of(3_600).finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(units) == BUNDLED.max_windows
    assert peak < 2 * units.nbytes + 2 * GROWTH_BYTES
