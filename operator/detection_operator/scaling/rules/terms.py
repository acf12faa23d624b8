"""What each rule of the decision says to a person. ``{replicas}`` is the number after the rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SENTENCES: Final[Mapping[str, str]] = {
    "empty": "nothing to do",
    "steady": "{replicas} needed for {0:.3g} messages/s of {1:.3g} s each",
    "drain": "{replicas} needed to clear {0} messages (work {1:.0f} s) before age {2} s",
    "recent": "{replicas} stay: bursts of late came at {0:.3g} messages/s",
    "tail": "{replicas} needed so that {0} % wait less than {1} s",
    "backlog": "{replicas} needed for {0} messages at {1} each",
    "present": "one replica for {0} messages",
    "poison": "most messages end in the dead-letter queue; {0:.0%} of them buy no replica",
    "activation": "waiting for {0} more reading(s) to confirm {1} message(s)",
    "below_activation": "{0} message(s) are fewer than activation.minMessages {1}",
    "headroom": "{0} spare while active",
    "occupied": "one replica stays: {0} in flight, {1} delayed, {2} busy, {3} silent worker(s)",
    "full": "{replicas} go on as long as messages wait ({0})",
    "idle_keep": "one replica stays warm for {0:.0f} s: cheaper than a cold start of {1:.0f} s",
    "idle_fixed": "one replica stays warm for {0:.0f} s",
    "idle_never": "one replica stays warm always",
    "schedule": "schedule {0} asks for {replicas}",
    "min": "minReplicas is {replicas}",
    "max": "maxReplicas is {replicas}",
    "hold": "held at {replicas}: surplus must last {0} s",
    "step_down": "down to {replicas} for now: at most {0} % leave in a minute",
    "step_up": "up to {replicas} for now: at most {0} join in a minute",
    "budget_hour": "capped to {replicas}: {0} an hour at {1} each",
    "budget_day": "capped to {replicas}: {0:.2f} of {1} left today",
    "budget_warn": "{0} would cost more than the budget ({1}); it only warns",
    "capacity": "capped to {replicas}: {0} pods unschedulable ({1}) since {2}",
    "capacity_backoff": "capped to {replicas}: no room ({0}), next try in {1}",
    "capacity_probe": "capped to {replicas}: trying {0} more after no room ({1})",
    "starts_backoff": "capped to {replicas}: pods do not start ({0}), next try in {1}",
    "starts_probe": "capped to {replicas}: trying {0} more after pods did not start ({1})",
    "busy": "{replicas} are kept: {0} busy, {1} messages in flight",
    "unread": "queue not read ({0}) for {1}: keeping {replicas}",
    "fallback_static": "queue not read ({0}) for {1}: fallback is {replicas}",
    "fallback_at_least": "queue not read ({0}) for {1}: at least {replicas}",
    "manual": "Manual: spec.replicas is {replicas}",
    "manual_capped": "Manual: spec.replicas is {0}, capped to {replicas} by maxReplicas",
    "paused": "paused at {replicas}",
}


@dataclass(frozen=True, slots=True)
class Term:
    """One step of a decision.

    Attributes:
        name: Of the rule.
        replicas: Replicas after the rule.
        key: Of its sentence in ``sentences``.
        facts: What the sentence is filled with. Filling waits until somebody reads it.
    """

    name: str
    replicas: int
    key: str
    facts: tuple[int | float | str, ...] = ()

    @property
    def sentence(self) -> str:
        """The step, for a person."""
        return SENTENCES[self.key].format(*self.facts, replicas=self.replicas)


def duration(seconds: float) -> str:
    """Return ``seconds`` as a person would say it: ``45s``, ``4m``, ``3h``."""
    if seconds < 90:
        return f"{max(0, round(seconds))}s"
    if seconds < 5400:
        return f"{round(seconds / 60)}m"
    return f"{round(seconds / 3600)}h"
