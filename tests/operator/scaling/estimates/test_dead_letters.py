"""What counts as a death: not every rise of the dead-letter queue's depth."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from detection_operator.scaling.decision import decide
from detection_operator.scaling.estimates import dead_letters
from detection_operator.scaling.estimates.dead_letters import UNSEEN, DeadLetters
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.spec.queue_spec import QueueSpec

NOON_S = 1_767_268_800.0
MINUTES_10 = 20
"""Looks, each 30 s apart."""


def deaths(depths: Sequence[int | None]) -> int:
    known, total = UNSEEN, 0
    for number, depth in enumerate(depths):
        known, new = dead_letters.absorb(known, depth, 30.0 * number)
        total += new
    return total


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        pytest.param([100, 100], 0, id="those that were there before are no news"),
        pytest.param([0, 3, 5], 5, id="each rise is news"),
        pytest.param([100, 0, 100], 0, id="inspected and put back"),
        pytest.param([100, 0, 103], 3, id="three came during an inspection"),
        pytest.param([100, 60, 80, 70, 100, 40, 100], 0, id="counts that swing"),
        pytest.param([100, None, None, 100], 0, id="not read for a while"),
        pytest.param([100, *[0] * MINUTES_10, 4], 4, id="purged, then new ones"),
        pytest.param([100, *[0] * MINUTES_10, 4, 0, 4], 4, id="and these looked at"),
        pytest.param([100, *[0, 50] * 15, 100], 50, id="half of them came back for good"),
    ],
)
def test_only_a_rise_above_what_was_there_is_a_death(
    depths: list[int | None], expected: int
) -> None:
    assert deaths(depths) == expected


def test_dead_letters_that_are_looked_at_are_no_poison(spec_of: Callable[..., QueueSpec]) -> None:
    # Twelve recent failures, and a user inspects a hundred old dead letters for 30 s.
    depths = [100] * 10 + [0] * 6 + [100] * 10
    memory, now_s = Memory(), NOON_S
    plans: list[Plan] = []
    for number, depth in enumerate(depths):
        seen = Observation(
            sampled_at_s=None,
            visible=300,
            replicas=1,
            ready=1,
            busy=1,
            in_flight=1,
            failed=min(12, number),
            dead_letter=depth,
        )
        plans.append(decide(spec_of(), replace(seen, sampled_at_s=now_s), memory, now_s))
        memory, now_s = plans[-1].memory, now_s + 5.0

    assert {plan.estimates.poison_share for plan in plans} == {0.0}
    assert plans[-1].desired > 10


def test_a_clock_that_jumps_makes_no_low_depth_lasting() -> None:
    known, _ = dead_letters.absorb(DeadLetters(100), 0, 0.0)

    after, new = dead_letters.absorb(known.moved(1e6), 0, 1e6 + 5.0)

    assert (after.high, new) == (100, 0)
