"""What counts as a good end, and what the watcher is told."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from detection_testing.operator_demo.local_aws import Depth
from detection_testing.operator_demo.node import PodCounts
from detection_testing.operator_demo.options import NEEDED, advice, missing_extras
from detection_testing.operator_demo.outcome import Outcome, problems, summary
from detection_testing.operator_demo.pool import HandOver
from detection_testing.operator_demo.screen import STEADY_S, Screen, Snapshot


def ended() -> tuple[Outcome, PodCounts]:
    """Return a demonstration that ended as it should."""
    outcome = Outcome(expected=["a", "b"], first_wanted_s=1.5, results_s=10.0, gone_s=20.0)
    outcome.add({"request_id": "a", "status": "finished"})
    outcome.add({"request_id": "b", "status": "finished"})
    return outcome, PodCounts(started=2, most=2, first_ready_s=105.0, removed=2, drained=2)


def test_a_good_end_has_no_problem_and_is_told_in_numbers() -> None:
    outcome, counts = ended()

    lines = "\n".join(summary(outcome, counts, 100.0))

    assert outcome.over
    assert problems(outcome, counts) == []
    assert "2 of 2 in 10.0 s, 0 duplicates, 0 failed" in lines
    assert "first wanted after 1.5 s, first ready after 5.0 s, at most 2 at a time" in lines
    assert "busy pods killed: 0" in lines


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda o, _: o.counts.pop("a"), "1 of 2 results", id="result missing"),
        pytest.param(
            lambda o, _: o.add({"request_id": "a", "status": "failed", "error": {"code": "bad"}}),
            "a failed: bad",
            id="result failed",
        ),
        pytest.param(lambda o, _: setattr(o, "left", 1), "1 message is left", id="queue"),
        pytest.param(lambda o, _: setattr(o, "dead_letters", 3), "3 messages", id="dead letters"),
        pytest.param(lambda o, _: setattr(o, "pods", 1), "1 pod is left", id="pod left"),
        pytest.param(lambda o, _: setattr(o, "replicas", 1), "1 replica is", id="replica left"),
        pytest.param(lambda _, t: setattr(t, "busy", 1), "1 pod was removed", id="busy pod"),
        pytest.param(lambda _, t: setattr(t, "unclean", 1), "exit code 0", id="unclean end"),
        pytest.param(lambda _, t: t.crashed.append(("p", 3)), "pod p crashed", id="crash"),
        pytest.param(lambda o, _: setattr(o, "trouble", "too late"), "too late", id="given up"),
    ],
)
def test_each_thing_that_goes_wrong_is_a_problem(
    spoil: Callable[[Outcome, PodCounts], object], says: str
) -> None:
    outcome, counts = ended()

    spoil(outcome, counts)

    (sentence,) = problems(outcome, counts)
    assert says in sentence


def test_a_second_result_is_a_duplicate_and_none_for_another_message() -> None:
    outcome, _ = ended()
    outcome.counts.pop("b")

    outcome.add({"request_id": "a", "status": "finished"})

    assert (outcome.duplicates, outcome.results, outcome.answered) == (1, 1, False)


class Time:
    """A clock that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def moment(plan: str = "1 needed", *, visible: int = 9, wanted: int = 1) -> Snapshot:
    return Snapshot(depth=Depth(visible, 0), results=0, wanted=wanted, pods=0, ready=0, plan=plan)


def test_a_row_is_printed_when_the_plan_changes_and_else_only_now_and_then() -> None:
    lines: list[str] = []
    clock = Time()
    screen = Screen(clock, lines.append)
    screen.begin()
    lines.clear()

    screen.row(moment())
    screen.row(moment(visible=8))
    screen.row(moment("2 needed", wanted=2))
    clock.now_s += STEADY_S
    screen.row(moment("2 needed", wanted=2, visible=3))
    clock.now_s += STEADY_S
    screen.row(moment("2 needed", wanted=2, visible=3))

    assert [line.split()[2] for line in lines] == ["9", "9", "3"]
    assert [line.split("  ")[-1] for line in lines] == ["1 needed", "2 needed", "2 needed"]
    assert lines[-1].split()[:2] == ["5.0", "s"]


def test_what_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    lacking = missing_extras(lambda module: module not in {"torch", "torchvision"})

    assert lacking == ["worker"]
    assert "the extra worker is not installed" in advice(lacking)
    assert "pip install 'detection-queue[operator,testing,worker]'" in advice(lacking)
    assert missing_extras(lambda _: True) == []
    assert missing_extras(lambda _: False) == list(NEEDED)


WENT_WELL = HandOver(
    capacity=2,
    most_pods=2,
    asked_s=10.0,
    first_s=20.0,
    over_s=21.5,
    done_s=30.0,
    back_s=40.0,
    bulk_left=7,
)


def test_a_pool_that_is_handed_over_and_back_is_told_in_numbers() -> None:
    assert WENT_WELL.problems() == []
    assert "urgent messages after 10.0 s" in WENT_WELL.summary()[1]
    assert "all of the pool 11.5 s later" in WENT_WELL.summary()[1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"most_pods": 3}, "3 pods existed at a time in a pool of 2"),
        ({"first_s": None}, "the urgent queue never got a worker"),
        ({"over_s": None}, "the urgent queue did not take over the pool"),
        ({"bulk_left": 0}, "the urgent messages came last: send more with --messages"),
        ({"back_s": None}, "the other queue did not get the pool back"),
    ],
)
def test_each_thing_that_goes_wrong_with_a_pool_is_a_problem(
    change: dict[str, Any], problem: str
) -> None:
    assert dataclasses.replace(WENT_WELL, **change).problems() == [problem]
