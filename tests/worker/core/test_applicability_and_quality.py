"""What a detector is not for, and what makes it less sure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_contract.result_types import REASON_CODES
from detection_worker.core.applicability import (
    ANYTHING,
    INAPPLICABLE,
    Inapplicable,
    NotApplicable,
    Scope,
    misfit,
)
from detection_worker.core.quality import picture_quality, sound_quality


@pytest.mark.parametrize(
    ("duration_s", "size_px", "expected"),
    [
        pytest.param(1.0, None, None, id="just long enough"),
        pytest.param(0.999, None, "too_short", id="too short"),
        pytest.param(None, (64, 64), None, id="just large enough"),
        pytest.param(None, (4000, 63), "too_small", id="a strip"),
        pytest.param(0.5, (10, 10), "too_short", id="short before small"),
        pytest.param(None, None, None, id="nothing known"),
    ],
)
def test_measures_decide_before_anything_is_scored(
    duration_s: float | None, size_px: tuple[int, int] | None, expected: str | None
) -> None:
    scope = Scope(min_duration_s=1.0, min_side_px=64)

    assert misfit(scope, duration_s=duration_s, size_px=size_px) == expected


@given(st.none() | st.floats(0, 1e6), st.none() | st.tuples(st.integers(1), st.integers(1)))
def test_a_model_without_limits_takes_anything(
    duration_s: float | None, size_px: tuple[int, int] | None
) -> None:
    assert misfit(ANYTHING, duration_s=duration_s, size_px=size_px) is None


def test_results_can_say_every_reason() -> None:
    assert set(INAPPLICABLE) < set(REASON_CODES)


@pytest.mark.parametrize(
    ("kind", "container", "size_px", "size_bytes", "expected"),
    [
        pytest.param(MediaKind.IMAGE, "jpeg", (640, 480), 40_000, (), id="good photograph"),
        pytest.param(
            MediaKind.IMAGE, "jpeg", (640, 480), 9_000, ("heavy_compression",), id="0.23 bits"
        ),
        pytest.param(MediaKind.IMAGE, "png", (640, 480), 900, (), id="a drawing loses nothing"),
        pytest.param(MediaKind.IMAGE, "png", (127, 480), 9_000, ("low_resolution",), id="narrow"),
        pytest.param(
            MediaKind.IMAGE,
            "jpeg",
            (100, 100),
            300,
            ("low_resolution", "heavy_compression"),
            id="both",
        ),
        pytest.param(MediaKind.VIDEO, "mp4", (1920, 1080), 9_000, (), id="frames share bytes"),
    ],
)
def test_poor_pictures_are_named(
    kind: MediaKind,
    container: str,
    size_px: tuple[int, int],
    size_bytes: int,
    expected: tuple[str, ...],
) -> None:
    found = picture_quality(kind, container=container, size_px=size_px, size_bytes=size_bytes)

    assert found == expected


@pytest.mark.parametrize(
    ("duration_s", "sample_rate_hz", "expected"),
    [
        pytest.param(4.0, 16_000, (), id="good"),
        pytest.param(3.9, 44_100, ("short_sound",), id="shorter than a window"),
        pytest.param(60.0, 8_000, ("narrowband",), id="telephone"),
    ],
)
def test_poor_sounds_are_named(
    duration_s: float, sample_rate_hz: int, expected: tuple[str, ...]
) -> None:
    found = sound_quality(
        duration_s=duration_s, sample_rate_hz=sample_rate_hz, wanted_s=4.0, wanted_hz=16_000
    )

    assert found == expected


@pytest.mark.parametrize("reason", INAPPLICABLE)
def test_what_is_raised_says_why(reason: Inapplicable) -> None:
    assert NotApplicable(reason).reason == reason
