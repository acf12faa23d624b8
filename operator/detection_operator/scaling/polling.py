"""When a queue is read again.

SQS does not announce new messages: a burst waits for the next read, at the expense of the
objective. Reads are cheap (GetQueueAttributes every 5 s is some 0.2 USD a month at 0.40 USD a
million), but an account has an API rate that its queues share.
"""

from typing import Final

from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.estimates import learning
from detection_operator.scaling.observation import ReadError

CALLS_PER_S: Final = 50.0
"""For one account and region; SQS allows far more, but the account has other users."""
IDLE_RATE_SHARE: Final = 0.5
"""Share of an account's rate for idle queues; the rest is for those with work."""
IDLE_POLLS: Final = 6
"""An empty queue without replicas is read up to this many times less often."""
IDLE_POLL_SHARE: Final = 1 / 60
"""Poll interval as a fraction of how long the queue has been empty: recently active queues are
polled often; after 30 min idle a few seconds of latency buy fewer API calls."""
LONGEST_IDLE_S: Final = 30.0
SLACK_SHARE: Final = 1 / 40
"""Share of the time that the objective leaves after a cold start that a read may cost."""
STALE_MARGIN_S: Final = 45.0
"""Readings are fresh for 60 s (``learning.STALE_S``): even an idle queue is read before that."""
CONFIRM_S: Final = 1.0
"""Messages that need confirmation are read again soon: a cold start is long enough."""
DENIED_RETRY_S: Final = 300.0
"""Permanent errors (access denied, no such queue, bad endpoint) need a human, so retry slowly."""
THROTTLED_POLLS: Final = 4


def next_read_s(inputs: DecisionInput, desired: int) -> float:
    """Return the seconds until the queue should be read again; > 0.

    Args:
        inputs: What the decision is made from.
        desired: Replicas of the plan.
    """
    poll_s = float(inputs.spec.queue.poll_interval_s)
    error = inputs.seen.error
    if inputs.seen.error_why or error in {ReadError.ACCESS_DENIED, ReadError.NO_SUCH_QUEUE}:
        return max(DENIED_RETRY_S, poll_s)
    if error is ReadError.THROTTLED:
        return THROTTLED_POLLS * poll_s
    if error is not None:
        return poll_s
    # A ReplicaSet replaces pods that fail at start without end.
    failing = inputs.estimators.pod_starts.since_s is not None and inputs.seen.unadmitted
    if failing or (inputs.estimators.confirmed and not (desired or inputs.seen.existing)):
        return min(CONFIRM_S, poll_s)
    since_s = inputs.estimators.idle_since_s
    resting = (
        inputs.fresh and learning.is_empty(inputs.seen) and not (desired or inputs.seen.existing)
    )
    if not resting or since_s is None:
        return poll_s
    return max(poll_s, _idle_s(inputs, inputs.now_s - since_s), _fair_s(inputs.seen.neighbours))


def _idle_s(inputs: DecisionInput, idle_s: float) -> float:
    """Return the poll interval of a queue that has been empty for ``idle_s``."""
    poll_s = float(inputs.spec.queue.poll_interval_s)
    slack_s = max(0.0, inputs.spec.slo.queue_wait_s - inputs.cold_start_s)
    return min(
        idle_s * IDLE_POLL_SHARE, IDLE_POLLS * poll_s, LONGEST_IDLE_S, slack_s * SLACK_SHARE
    )


def _fair_s(neighbours: int) -> float:
    return min(STALE_MARGIN_S, neighbours / (CALLS_PER_S * IDLE_RATE_SHARE))
