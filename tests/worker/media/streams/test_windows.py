import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.core.sampling import AudioSampling, spread
from detection_worker.media.streams.windows import Windows


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
