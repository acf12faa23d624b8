"""A plan: the replicas to have, the steps that led there, and what was believed. Values only."""

from dataclasses import dataclass
from typing import Final

from detection_operator.scaling.memory import Memory
from detection_operator.scaling.rules.terms import Rule, Term

_DEMANDS: Final = frozenset(
    {
        Rule.KEEP_UP_WITH_ARRIVALS,
        Rule.MEET_TAIL_OBJECTIVE,
        Rule.CLEAR_BACKLOG_IN_TIME,
        Rule.COVER_RECENT_BURSTS,
        Rule.DIVIDE_BACKLOG,
        Rule.ONE_FOR_VISIBLE,
        Rule.EXPECT_DAILY,
    }
)
"""Only the largest of these is worth a sentence."""
_ALWAYS_SPOKEN: Final = frozenset(
    {
        Rule.LEAVE_OUT_POISON,
        Rule.WITHIN_BUDGET,
        Rule.CONFIRM_ACTIVATION,
        Rule.PAUSED,
        Rule.MANUAL,
        Rule.FALL_BACK,
    }
)
"""They are worth a sentence even when their number is what it was before."""
_NOTHING_TO_DO: Final = "nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What the decision believed; what status, conditions and metrics show.

    Attributes:
        fresh: The queue was read in time.
        age_s: Age of the oldest waiting message, at least; None while nothing waits.
        arrivals_per_s: Smoothed; None while unknown.
        service_s: Mean service time of a message.
        service_p90_s: Its 90th percentile, estimated.
        service_samples: Messages behind the mean; 0 means priors.
        cold_start_s: Measured or prior.
        work_s: Worker seconds that wait.
        poison_share: Share of the messages that is no demand: most die in the dead-letter queue.
        blocked_since_s: Since when the cluster has had no room; None when it has.
        over_budget: The plan wanted more than the budget pays.
        spent_today: Since midnight UTC in the budget's currency; 0 without a budget.
        received: First receives in the attainment window.
        received_late: Those of them that came too late.
        asleep: Nothing is there to do and nobody is there to do it.
        blocked_why: The resource that was missing last; empty when there is room.
        blocked_said: What the scheduler or an autoscaler last said of it.
        failing_since_s: Since when pods do not start; None when they do.
        failing_why: What the cluster last said of these.
        startable: Replicas that would run, and a probe; None: all, as far as known.
        unpooled: Replicas that the plan would have without its pool; None without a pool.
    """

    fresh: bool
    age_s: float | None
    arrivals_per_s: float | None
    service_s: float
    service_p90_s: float
    service_samples: int
    cold_start_s: float
    work_s: float
    poison_share: float
    blocked_since_s: float | None
    over_budget: bool
    spent_today: float
    received: int
    received_late: int
    asleep: bool
    blocked_why: str = ""
    blocked_said: str = ""
    failing_since_s: float | None = None
    failing_why: str = ""
    startable: int | None = None
    unpooled: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One decision.

    Attributes:
        desired: Replicas to have.
        binding: The rule that set the number.
        terms: The rules that spoke, in their order.
        apply: The number may be written; False when paused or in shadow mode.
        scale_in_candidates: Pods to drain, as many as are surplus, in the order in which they go.
        next_poll_s: Seconds until the queue should be read again.
        estimates: What the decision believed.
        memory: For the next decision.
    """

    desired: int
    binding: Rule
    terms: tuple[Term, ...]
    apply: bool
    scale_in_candidates: tuple[str, ...]
    next_poll_s: float
    estimates: Estimates
    memory: Memory

    @property
    def message(self) -> str:
        """The decision in a sentence: what the messages need, and what came of it."""
        spoken: list[Term] = []
        replicas = 0
        for term in self.terms:
            if term.replicas != replicas or term.rule in _ALWAYS_SPOKEN:
                if term.rule in _DEMANDS:
                    spoken = [earlier for earlier in spoken if earlier.rule not in _DEMANDS]
                spoken.append(term)
            replicas = term.replicas
        return "; ".join(term.sentence for term in spoken) or _NOTHING_TO_DO
