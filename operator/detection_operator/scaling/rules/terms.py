"""The names of the rules, and what a rule that applies says: a number and a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Fact = int | float | str


class Rule(StrEnum):
    """The rules of a decision, and with ``NOTHING_TO_DO`` all that can bind a plan.

    The values stand in ``status.plan``, in decision records and in metrics: they are API. Rules
    that say the same to a user share a name.
    """

    NOTHING_TO_DO = "Empty"
    KEEP_UP_WITH_ARRIVALS = "Steady"
    MEET_TAIL_OBJECTIVE = "Tail"
    CLEAR_BACKLOG_IN_TIME = "Drain"
    COVER_RECENT_BURSTS = "Recent"
    ONE_IN_HAND = "Spare"
    WAIT_FOR_EVIDENCE = "Evidence"
    DIVIDE_BACKLOG = "Backlog"
    ONE_FOR_VISIBLE = "Present"
    LEAVE_OUT_POISON = "Poison"
    CONFIRM_ACTIVATION = "Activation"
    ADD_HEADROOM = "Headroom"
    ONE_WHILE_IN_FLIGHT = "Occupied"
    KEEP_BUSY_ON_BACKLOG = "Full"
    KEEP_WARM = "Idle"
    EXPECT_DAILY = "Forecast"
    SCHEDULED_MINIMUM = "Schedule"
    MIN_REPLICAS = "Min"
    MAX_REPLICAS = "Max"
    HOLD_SURPLUS = "Hold"
    LIMIT_SCALE_IN_RATE = "ScaleDown"
    LIMIT_SCALE_OUT_RATE = "ScaleUp"
    WITHIN_BUDGET = "Budget"
    CLUSTER_CAPACITY = "Capacity"
    POD_STARTS = "Starts"
    TAKEN_BY_SERVER = "Refused"
    SHARE_OF_POOL = "Pool"
    NOT_BELOW_BUSY = "Busy"
    FALL_BACK = "Fallback"
    MANUAL = "Manual"
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class Term:
    """One step of a decision.

    Attributes:
        rule: The rule that applied.
        replicas: Replicas after the rule.
        template: Its sentence with named placeholders; ``{replicas}`` is always known.
        facts: Values of the other placeholders. Filling waits until the sentence is read.
    """

    rule: Rule
    replicas: int
    template: str
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The step in plain English."""
        return self.template.format(replicas=self.replicas, **self.facts)


def say(rule: Rule, replicas: int, template: str, **facts: Fact) -> Term:
    """Return the term of ``rule``; ``facts`` fill the placeholders of ``template``."""
    return Term(rule, replicas, template, facts)


def duration(seconds: float) -> str:
    """Return ``seconds`` in its largest useful unit: ``45s``, ``4m``, ``3h``."""
    if seconds < 90:
        return f"{max(0, round(seconds))}s"
    if seconds < 5400:
        return f"{round(seconds / 60)}m"
    return f"{round(seconds / 3600)}h"
