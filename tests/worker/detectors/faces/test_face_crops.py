import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.core.faces import Box
from detection_worker.detectors.faces.crops import Mipmaps, cut


def ramp(width: int, height: int) -> torch.Tensor:
    """Red is the column, green the row, blue 0; float32 ``(3, h, w)``."""
    pixels = torch.zeros(3, height, width)
    pixels[0] = torch.arange(width)
    pixels[1] = torch.arange(height)[:, None]
    return pixels


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((20.0, 30.0, 44.0, 54.0), id="at its own size"),
        pytest.param((20.0, 30.0, 116.0, 126.0), id="four times as large"),
        pytest.param((20.5, 30.25, 32.5, 42.25), id="enlarged"),
    ],
)
def test_a_crop_shows_its_square_at_any_size(box: Box) -> None:
    maps = Mipmaps(torch.stack([ramp(200, 160), ramp(200, 160) + 7]))
    boxes = np.array([box, box], dtype=np.float32)

    crops = maps.crops(boxes, np.array([0, 1]), side=24)

    centres = box[0] + (np.arange(24) + 0.5) * (box[2] - box[0]) / 24 - 0.5
    np.testing.assert_allclose(crops[0, 0, 12, 1:-1], centres[1:-1], atol=0.6)
    np.testing.assert_allclose(crops[1] - crops[0], 7, atol=1e-3)


def test_beyond_the_border_its_pixels_are_repeated() -> None:
    maps = Mipmaps(ramp(60, 60)[None])

    crops = maps.crops(
        np.array([[-24, -24, 0, 0]], dtype=np.float32), np.zeros(1, np.int64), side=24
    )

    assert float(crops.abs().max()) == 0.0


def test_resizing_does_not_alias() -> None:
    stripes = torch.zeros(1, 3, 128, 128)
    stripes[..., ::2] = 1.0

    small = Mipmaps(stripes).resized((20, 20))

    assert float((small - 0.5).abs().max()) < 0.05


def test_a_face_is_cut_and_stretched() -> None:
    frame = ramp(100, 80).to(torch.uint8)

    part = cut(frame, (10, 20, 30, 60), side=20)

    assert part.dtype == torch.uint8
    assert part.shape == (3, 20, 20)
    np.testing.assert_allclose(part[0, 5], np.arange(10, 30), atol=1)
    np.testing.assert_allclose(part[1, :, 5], 20.5 + 2 * np.arange(20), atol=1)


def test_what_lies_beyond_the_border_is_reflected() -> None:
    frame = ramp(40, 40).to(torch.uint8)

    part = cut(frame, (-10, -5, 10, 15), side=20)

    assert part[0, 0].tolist() == [*range(10, 0, -1), *range(10)]
    assert part[1, :, 0].tolist() == [*range(5, 0, -1), *range(15)]


@settings(deadline=None)
@given(
    x=st.floats(-300, 300),
    y=st.floats(-300, 300),
    w=st.floats(0.1, 500),
    h=st.floats(0.1, 500),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
)
def test_any_box_of_any_frame_can_be_cut(
    x: float, y: float, w: float, h: float, width: int, height: int
) -> None:
    frame = torch.full((3, height, width), 9, dtype=torch.uint8)

    assert np.unique(cut(frame, (x, y, x + w, y + h), side=8).numpy()).tolist() == [9]
