import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.media.crops import choose, cut, pad

SIZES = st.integers(1, 300)


@settings(deadline=None)
@given(width=SIZES, height=SIZES, crop=st.integers(1, 96), most=st.integers(1, 9), seed=SIZES)
def test_crops_lie_inside_do_not_overlap_and_are_as_many_as_fit(
    width: int, height: int, crop: int, most: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    crops, boxes = cut(pixels, crop_px=crop, max_crops=most)

    fit = max(1, width // crop) * max(1, height // crop)
    painted = np.zeros((height, width), dtype=int)
    for left, top, right, bottom in boxes:
        painted[top:bottom, left:right] += 1
    assert crops.shape == (len(boxes), crop, crop, 3)
    assert 1 <= len(boxes) <= most
    assert len(boxes) >= min(most, fit)
    assert painted.max() == 1
    assert boxes.min() >= 0
    assert (boxes[:, 2].max(), boxes[:, 3].max()) <= (width, height)


def test_the_centre_comes_first_and_then_the_tile_with_most_detail() -> None:
    pixels = np.zeros((90, 150, 3), dtype=np.uint8)
    pixels[60:, 120:] = np.random.default_rng(0).integers(0, 256, (30, 30, 3))
    pixels[:30, :30] = np.random.default_rng(0).integers(0, 60, (30, 30, 3))

    boxes = choose(pixels, crop_px=30, max_crops=3)

    assert boxes == [(60, 30, 90, 60), (120, 60, 150, 90), (0, 0, 30, 30)]


@given(size=st.integers(1, 20), wanted=st.integers(1, 70))
def test_padding_reflects_as_numpy_does(size: int, wanted: int) -> None:
    row = np.arange(size, dtype=np.uint8)
    pixels = np.broadcast_to(row[None, :, None], (wanted, size, 3))

    padded = pad(np.ascontiguousarray(pixels), wanted)

    expected = np.pad(row, (0, max(0, wanted - size)), mode="reflect")
    assert np.array_equal(padded[0, :, 0], expected)
