"""Batch sizes: from measured times and free memory, never less than one unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core import batch_size
from detection_worker.core.batch_size import PassCost


@given(unit=st.floats(1e-6, 1e-1), fixed=st.floats(0, 1.0))
def test_a_line_is_found_again(unit: float, fixed: float) -> None:
    exact = PassCost(unit_s=unit, fixed_s=fixed)

    found = batch_size.fit_cost([(n, exact.seconds(n)) for n in (1, 4, 16, 64)])

    assert found.unit_s == pytest.approx(unit, rel=1e-6, abs=1e-9)
    assert found.fixed_s == pytest.approx(fixed, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("times", "unit_s", "fixed_s"),
    [
        pytest.param([(8, 0.4)], 0.0, 0.4, id="one size tells nothing of units"),
        pytest.param([(1, 2.0), (3, 1.0)], 0.0, 1.5, id="falling is noise"),
        pytest.param([(1, 0.5), (3, 3.0)], 0.95, 0.0, id="through the origin"),
    ],
)
def test_a_line_never_falls_and_never_begins_below_zero(
    times: list[tuple[int, float]], unit_s: float, fixed_s: float
) -> None:
    found = batch_size.fit_cost(times)

    assert [found.unit_s, found.fixed_s] == pytest.approx([unit_s, fixed_s])


def test_no_measurement_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pass"):
        batch_size.fit_cost([])


@pytest.mark.parametrize(
    ("cost", "units"),
    [
        pytest.param(PassCost(unit_s=1.0, fixed_s=0.0), 1, id="nothing to share"),
        pytest.param(PassCost(unit_s=1.0, fixed_s=1.0), 19, id="19 / 20 of the best rate"),
        pytest.param(PassCost(unit_s=1.0, fixed_s=0.01), 1, id="one is enough"),
        pytest.param(PassCost(unit_s=0.0, fixed_s=1.0), 64, id="units cost nothing"),
        pytest.param(PassCost(unit_s=1e-9, fixed_s=1.0), 64, id="at most"),
    ],
)
def test_the_smallest_batch_near_the_best_rate(cost: PassCost, units: int) -> None:
    assert batch_size.efficient_units(cost, most=64) == units


@given(unit=st.floats(1e-6, 1e-2), fixed=st.floats(1e-6, 1e-1), most=st.integers(1, 512))
def test_it_reaches_the_rate_or_is_the_most(unit: float, fixed: float, most: int) -> None:
    cost = PassCost(unit_s=unit, fixed_s=fixed)

    units = batch_size.efficient_units(cost, most=most, efficiency=0.9)

    assert 1 <= units <= most
    assert units == most or units / cost.seconds(units) >= 0.9 / unit * (1 - 1e-9)


@pytest.mark.parametrize(
    ("free", "unit", "units"),
    [(1000, 10, 50), (1000, 1, 64), (1000, 0, 64), (10, 1000, 1), (0, 1, 1)],
)
def test_half_of_the_free_memory_is_used(free: int, unit: int, units: int) -> None:
    assert batch_size.units_in_memory(free_bytes=free, unit_bytes=unit, most=64) == units


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (32, (1, 2, 4, 8, 16, 32)), (5, (1, 2, 4, 5))],
)
def test_buckets_are_powers_of_two_and_the_most(most: int, sizes: tuple[int, ...]) -> None:
    assert batch_size.buckets(most) == sizes


@given(most=st.integers(1, 300), data=st.data())
def test_every_batch_has_a_bucket_less_than_twice_its_size(most: int, data: st.DataObject) -> None:
    units = data.draw(st.integers(1, most))
    sizes = batch_size.buckets(most)

    bucket = batch_size.bucket_of(units, sizes)

    assert bucket is not None
    assert units <= bucket < 2 * units or bucket == units
    assert batch_size.bucket_of(most + 1, sizes) is None


def test_halving_ends_at_one_unit() -> None:
    assert [batch_size.halved(n) for n in (9, 4, 1)] == [4, 2, 1]


def test_a_gain_is_more_than_chance() -> None:
    assert batch_size.is_gain(1.0, 0.9)
    assert not batch_size.is_gain(1.0, 0.97)
