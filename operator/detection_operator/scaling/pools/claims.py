"""How strong the claim of a queue to one replica more is: by weight, or by urgency and weight."""

from collections.abc import Callable
from typing import Final

from detection_operator.scaling.pools.demand import Demand

STEADY: Final = 1.25
"""The need of a queue counts as unchanged until it has changed by this factor. Counts of SQS err
by some percent, and a replica that moves to another queue costs a drain and a cold start."""
SHORTEST_SLACK: Final = 0.25
"""In allowed waits: the least time to work off a backlog that urgency reckons with. A queue that
is late already is that much more urgent, not infinitely: others would be late for its sake."""

Claim = Callable[[Demand, int], tuple[bool, float]]
"""How strong the claim of a demand to its n-th replica is, n >= 1: urgent or not, and its value.
It falls with n."""


def by_weight(demand: Demand, nth: int) -> tuple[bool, float]:
    """Claim units in proportion to the weight."""
    return False, demand.weight / (nth * demand.units_each)


def by_urgency(demand: Demand, nth: int) -> tuple[bool, float]:
    """Claim first what the objective needs, the least covered need first, by weight.

    Who needs twice what it has is late sooner than who needs a tenth more, and the first replica
    helps it more than the tenth. What nobody needs for the objective goes by weight.
    """
    need = needed(demand)
    if nth - 1 < need:
        return True, demand.weight * need / nth
    return by_weight(demand, nth)


def needed(demand: Demand) -> float:
    """Return the replicas that keep up with arrivals and clear the backlog before it is late.

    With no less time for the backlog than a new replica needs to start. What was needed so far
    stands until it has clearly changed, so that noise moves nothing.
    """
    slack_s = max(
        demand.wait_s - demand.age_s, SHORTEST_SLACK * demand.wait_s, demand.cold_start_s
    )
    need, before = demand.load + demand.work_s / slack_s, demand.needed_before
    if before is not None and before / STEADY <= need <= before * STEADY:
        return before
    return need
