"""The rule that has replicas ready for the messages that come at this time of the day."""

from typing import Final

from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.estimates import profile
from detection_operator.scaling.rules import queueing
from detection_operator.scaling.rules.terms import Rule, Term, say
from detection_operator.spec.scaling import Forecast, Policy

SLOW_START: Final = 0.5
"""In allowed waits: replicas that start faster come in time for messages that wait already."""
EARLY_S: Final = 60.0
"""Messages may come this much earlier than before."""
UTILISATION: Final = 0.75
"""Utilisation of the expected replicas: days differ, and for the few minutes until the present
tells, spare replicas cost little."""
_DAYS: Final = {profile.DAY: "yesterday", profile.WEEK: "last week"}


def expect_daily(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have the replicas ready that messages at this time of the day needed before."""
    scaling, wait_s = inputs.spec.scaling, inputs.spec.slo.queue_wait_s
    if scaling.forecast is not Forecast.DAILY or scaling.policy is not Policy.OBJECTIVE:
        return None
    if inputs.cold_start_s <= SLOW_START * wait_s:
        return None
    until_s = inputs.now_s + inputs.cold_start_s + EARLY_S
    found = profile.expected(inputs.estimators.profile, now_s=inputs.now_s, until_s=until_s)
    if found is None:
        return None
    pace = found.per_s * (1.0 - inputs.poison)
    need = queueing.ceil_replicas(pace * inputs.lane_s / UTILISATION)
    if need <= replicas:
        return None
    return say(
        Rule.EXPECT_DAILY,
        need,
        "{replicas} kept ready for {rate:.3g} messages/s, as at this time {day}",
        rate=pace,
        day=_DAYS[found.lag],
    )
