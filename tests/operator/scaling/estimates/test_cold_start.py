"""The usual cold start: the median of each part, and their sum."""

from detection_operator.scaling.cold_start import ColdStart, usual


def start(launch_s: float, pull_s: float, start_s: float) -> ColdStart:
    return ColdStart(launch_s=launch_s, pull_s=pull_s, start_s=start_s)


def test_nothing_is_usual_before_the_first_start() -> None:
    assert usual(()) is None


def test_each_part_has_a_median_of_its_own() -> None:
    found = usual([start(90, 30, 10), start(0, 40, 12), start(110, 0, 11)])
    assert found == start(90, 30, 11)
    assert found.total_s == 131


def test_a_launch_counts_only_where_most_starts_needed_one() -> None:
    assert usual([start(0, 0, 10), start(0, 5, 10), start(120, 60, 10)]) == start(0, 5, 10)
