import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.faces import Box, Face, area, clipped, cut_out, placed, prominent

PLACE = st.floats(-500, 2500)
SIZE = st.floats(1, 900)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y, w, h = draw(PLACE), draw(PLACE), draw(SIZE), draw(SIZE)
    return (x, y, x + w, y + h)


def test_the_largest_faces_come_first_and_a_doubtful_one_counts_for_less() -> None:
    small = Face(box=(0, 0, 10, 10), confidence=1.0)
    large = Face(box=(0, 0, 40, 40), confidence=0.9)
    doubtful = Face(box=(0, 0, 41, 41), confidence=0.7)

    assert prominent([small, doubtful, large], most=2) == [large, doubtful]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param("square", (70.0, 90.0, 330.0, 350.0), id="a square on the longer side"),
        pytest.param("box", (135.0, 90.0, 265.0, 350.0), id="the box in its proportions"),
    ],
)
def test_what_is_cut_out_around_a_face(shape: str, expected: Box) -> None:
    cut = cut_out((150, 120, 250, 320), scale=1.3, shape="square" if shape == "square" else "box")

    assert cut == pytest.approx(expected)


@given(box=boxes(), width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_a_clipped_box_lies_in_the_picture_and_is_not_empty(
    box: Box, width: int, height: int
) -> None:
    left, top, right, bottom = clipped(box, width=width, height=height)

    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@given(box=boxes(), region=boxes(), w=st.integers(1, 1920), h=st.integers(1, 1920))
def test_placing_keeps_the_share_of_the_frame(box: Box, region: Box, w: int, h: int) -> None:
    there = placed(box, frame=(w, h), region=region)

    share = area(box) / (w * h)
    assert math.isclose(area(there), share * area(region), rel_tol=1e-6, abs_tol=1e-6)
    assert placed((0, 0, w, h), frame=(w, h), region=region) == pytest.approx(region)
