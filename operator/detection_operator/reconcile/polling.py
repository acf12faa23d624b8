"""When a queue is read again. Pure.

Nothing tells of messages that arrive: a burst waits for the next read, and an idle queue's wait
is what its objective pays for. Reads are cheap (GetQueueAttributes each 5 s is some 0.2 USD a
month at 0.40 USD a million), but an account has a rate that its queues share.
"""

from collections.abc import Iterable
from typing import Final

from detection_operator.observe.rate_limit import CALLS_PER_S
from detection_operator.scaling.decision import Plan
from detection_operator.spec.queue_spec import QueueSpec

LONGEST_IDLE_S: Final = 30.0
SLACK_SHARE: Final = 1 / 40
"""Of the time that an objective leaves after a cold start, a read may cost so much."""
IDLE_RATE_SHARE: Final = 0.5
"""Of the rate of an account goes to idle queues; the rest is for those with work."""
STALE_MARGIN_S: Final = 45.0
"""Readings count for 60 s (``learning.STALE_S``): even the idlest queue is read before that."""


def account_of(spec: QueueSpec) -> tuple[str, str]:
    """Return the region and account whose rate limit a queue shares."""
    return spec.queue.region or "", spec.queue.url.rsplit("/", 2)[-2]


def next_read_s(spec: QueueSpec, plan: Plan, accounts: Iterable[tuple[str, str]]) -> float:
    """Return the seconds until a queue should be read again.

    The plan says when it wants to look; an empty queue is read more often where the objective is
    tight, and less often where many queues share an account.

    Args:
        spec: Of the DetectionQueue.
        plan: Its newest plan.
        accounts: ``account_of`` each DetectionQueue, this one too.
    """
    poll_s = float(spec.queue.poll_interval_s)
    if not plan.outlook.asleep or plan.desired:
        return plan.next_poll_s
    slack_s = max(0.0, spec.slo.queue_wait_s - plan.outlook.cold_start_s)
    ours = account_of(spec)
    neighbours = sum(account == ours for account in accounts)
    fair_s = min(STALE_MARGIN_S, neighbours / (CALLS_PER_S * IDLE_RATE_SHARE))
    idle_s = min(plan.next_poll_s, LONGEST_IDLE_S, slack_s * SLACK_SHARE)
    return max(poll_s, idle_s, fair_s)
