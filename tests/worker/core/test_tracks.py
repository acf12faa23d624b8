import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.faces import Box
from detection_worker.core.tracks import MISSES, iou, track

SIZE = st.floats(10, 200)
PLACE = st.floats(-50, 2000)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y, w, h = draw(PLACE), draw(PLACE), draw(SIZE), draw(SIZE)
    return (x, y, x + w, y + h)


FRAMES = st.lists(st.lists(boxes(), max_size=4), max_size=8)


def moved(box: Box, dx: float, dy: float = 0.0) -> Box:
    return (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)


FACE: Box = (100.0, 100.0, 200.0, 220.0)
OTHER = moved(FACE, 300)


@given(frames=FRAMES)
def test_every_face_gets_a_number_that_no_other_face_of_its_frame_has(
    frames: list[list[Box]],
) -> None:
    numbers = track(frames)

    assert [len(n) for n in numbers] == [len(f) for f in frames]
    assert all(len(set(n)) == len(n) for n in numbers)


@given(frames=FRAMES)
def test_numbers_are_given_in_order_without_gaps(frames: list[list[Box]]) -> None:
    seen = [number for numbers in track(frames) for number in numbers]

    first = list(dict.fromkeys(seen))
    assert first == list(range(len(first)))


@given(box=boxes(), present=st.lists(st.booleans(), min_size=1, max_size=20))
def test_a_still_face_keeps_its_number_through_single_misses(
    box: Box, present: list[bool]
) -> None:
    frames = [[box] if here else [] for here in present]

    numbers = [n for found in track(frames) for n in found]

    gaps, since, seen = 0, 0, False
    for here in present:
        gaps += here and seen and since > MISSES
        since = 0 if here else since + 1
        seen = seen or here
    assert len(set(numbers)) == (gaps + 1 if numbers else 0)


@given(frames=FRAMES, dx=st.integers(-500, 500), dy=st.integers(-500, 500))
def test_numbers_do_not_depend_on_where_the_picture_lies(
    frames: list[list[Box]], dx: int, dy: int
) -> None:
    rounded = [[tuple(float(round(v)) for v in box) for box in f] for f in frames]
    whole = [[(b[0], b[1], b[2], b[3]) for b in f] for f in rounded]

    assert track([[moved(b, dx, dy) for b in f] for f in whole]) == track(whole)


@given(a=boxes(), b=boxes())
def test_overlap_is_symmetric_and_a_share(a: Box, b: Box) -> None:
    assert 0.0 <= iou(a, b) <= 1.0 + 1e-9
    assert math.isclose(iou(a, b), iou(b, a), abs_tol=1e-12)
    assert math.isclose(iou(a, a), 1.0)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([], [], id="no frames"),
        pytest.param([[], []], [[], []], id="nobody"),
        pytest.param([[FACE], [moved(FACE, 30)]], [[0], [0]], id="a small step"),
        pytest.param([[FACE], [moved(FACE, 75)]], [[0], [0]], id="a jump without much overlap"),
        pytest.param([[FACE], [moved(FACE, 200)]], [[0], [1]], id="too far to be the same"),
        pytest.param([[FACE], [], [FACE]], [[0], [], [0]], id="one missed frame"),
        pytest.param([[FACE], [], [], [FACE]], [[0], [], [], [1]], id="two missed frames"),
        pytest.param([[FACE, OTHER], [OTHER, FACE]], [[0, 1], [1, 0]], id="order does not count"),
        pytest.param([[FACE], [OTHER, FACE]], [[0], [1, 0]], id="a person comes in"),
        pytest.param([[FACE, OTHER], [moved(OTHER, -20)]], [[0, 1], [1]], id="a person leaves"),
        pytest.param(
            [[FACE], [moved(FACE, 60), moved(FACE, 10)]], [[0], [1, 0]], id="the best pair first"
        ),
        pytest.param(
            [[FACE], [(140.0, 150.0, 160.0, 170.0)]],
            [[0], [1]],
            id="a tiny face inside is another",
        ),
    ],
)
def test_tracks(frames: list[list[Box]], expected: list[list[int]]) -> None:
    assert track(frames) == expected
