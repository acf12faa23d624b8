import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.tracks import iou
from detection_worker.detectors.faces.crops import Boxes
from detection_worker.detectors.faces.finding import apart, moved, squares


@st.composite
def many_boxes(draw: st.DrawFn) -> Boxes:
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(-50, 200),
                st.integers(-50, 200),
                st.integers(1, 120),
                st.integers(1, 120),
            ),
            max_size=12,
        )
    )
    found = np.array(rows, dtype=np.float32).reshape(-1, 4)
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)


def overlap(a: Boxes, b: Boxes) -> float:
    first, second = a.tolist(), b.tolist()
    return iou(
        (first[0], first[1], first[2], first[3]), (second[0], second[1], second[2], second[3])
    )


@given(boxes=many_boxes(), most=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_what_stays_is_apart_and_what_goes_was_near_something_surer(
    boxes: Boxes, most: float, seed: int
) -> None:
    odds = np.random.default_rng(seed).normal(size=len(boxes)).astype(np.float32)

    kept = apart(boxes, odds, most=most).tolist()

    assert [odds[k] for k in kept] == sorted((odds[k] for k in kept), reverse=True)
    for i, a in enumerate(kept):
        assert all(overlap(boxes[a], boxes[b]) <= most + 1e-5 for b in kept[:i])
    for gone in set(range(len(boxes))) - set(kept):
        assert any(
            odds[k] >= odds[gone] and overlap(boxes[k], boxes[gone]) >= most - 1e-5 for k in kept
        )


def test_a_box_inside_another_goes_if_the_smaller_one_counts() -> None:
    boxes = np.array([[0, 0, 100, 100], [40, 40, 60, 60]], dtype=np.float32)
    odds = np.array([2.0, 1.0], dtype=np.float32)

    assert apart(boxes, odds, most=0.7).tolist() == [0, 1]
    assert apart(boxes, odds, most=0.7, of_smaller=True).tolist() == [0]


def test_offsets_are_shares_of_the_sides() -> None:
    boxes = np.array([[10, 20, 30, 60]], dtype=np.float32)
    offsets = np.array([[0.5, -0.25, 0.0, 0.5]], dtype=np.float32)

    assert moved(boxes, offsets).tolist() == [[20, 10, 30, 80]]


@given(boxes=many_boxes())
def test_squares_keep_the_centre_and_the_longer_side(boxes: Boxes) -> None:
    made = squares(boxes)

    sides, old = made[:, 2:] - made[:, :2], boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(sides, np.repeat(old.max(axis=1, initial=0)[:, None], 2, axis=1))
    np.testing.assert_allclose(made[:, 2:] + made[:, :2], boxes[:, 2:] + boxes[:, :2], atol=1e-4)
