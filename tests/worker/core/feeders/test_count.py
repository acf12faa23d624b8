import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.feeders.count import MOST, count_of, share


@pytest.mark.parametrize(
    ("cores", "on_cpu", "on_gpu"),
    [
        pytest.param(1, 0, 1, id="one core"),
        pytest.param(2, 0, 1, id="two cores: a forward pass on the CPU needs both"),
        pytest.param(3, 1, 1, id="the fewest cores with a feeder on a CPU"),
        pytest.param(8, 2, 2, id="a small node"),
        pytest.param(16, 5, 5, id="a node"),
        pytest.param(96, MOST, MOST, id="a large node"),
    ],
)
def test_cores_and_device_choose_how_many_feeders_there_are(
    cores: int, on_cpu: int, on_gpu: int
) -> None:
    assert count_of(wanted=None, cores=cores, gpu=False, alone=False) == on_cpu
    assert count_of(wanted=None, cores=cores, gpu=True, alone=False) == on_gpu


@pytest.mark.parametrize("wanted", [0, 1, 3, 32])
def test_a_wanted_number_wins(wanted: int) -> None:
    assert count_of(wanted=wanted, cores=64, gpu=True, alone=False) == wanted


@pytest.mark.parametrize("wanted", [None, 2])
def test_one_that_must_be_alone_has_none(wanted: int | None) -> None:
    assert count_of(wanted=wanted, cores=64, gpu=True, alone=True) == 0


@given(total=st.integers(1, 1 << 40), feeders=st.integers(1, 32))
def test_shares_are_even_and_never_nothing(total: int, feeders: int) -> None:
    shares = [share(total, feeders=feeders, index=i) for i in range(feeders)]

    assert sum(shares) == max(total, feeders)
    assert max(shares) - min(shares) <= 1
    assert min(shares) >= 1
