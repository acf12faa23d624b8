"""Messages of the condition ``CapacityAvailable``: what pods wait for, and for how long. Pure."""

from detection_contract.user_messages import counted
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Estimates, Plan
from detection_operator.scaling.rules.terms import Rule, duration


def cluster_full(seen: Observation, estimates: Estimates, now_s: float) -> str:
    """Return the message for a full cluster, with the last words of its scheduler."""
    blocked = duration(now_s - (estimates.blocked_since_s or now_s))
    why = f" ({estimates.blocked_why})" if estimates.blocked_why else ""
    text = f"no capacity for more pods{why} for {blocked}"
    if seen.unschedulable:
        text = (
            f"{counted(seen.unschedulable, 'pod')} unschedulable{why}, no capacity for {blocked}"
        )
    return _with(f"{text}{_launches(seen)}", estimates.blocked_said)


def waiting(seen: Observation, now_s: float) -> str:
    """Return the message for pods that are unschedulable, but not for long yet."""
    waited = duration(now_s - (seen.unschedulable_since_s or now_s))
    why = f" ({seen.unschedulable_why})" if seen.unschedulable_why else ""
    waits = counted(seen.unschedulable, "pod waits", "pods wait")
    text = f"{waits} for a node{why}, for {waited} so far"
    return _with(f"{text}{_launches(seen)}", seen.unschedulable_said)


def not_starting(seen: Observation, estimates: Estimates, now_s: float) -> str:
    """Return the message for pods that have a node and do not start."""
    since_s = estimates.failing_since_s
    facts = [
        f"{counted(seen.unready, 'pod')} scheduled but not ready" if seen.unready else "",
        f"{seen.rejected} failed before they were ready" if seen.rejected else "",
        "" if since_s is None else f"scale-out limited for {duration(now_s - since_s)}",
    ]
    why = seen.not_starting_why or estimates.failing_why or "no reason given"
    return _with(", ".join(filter(None, facts)), why)


def leaving(seen: Observation, plan: Plan, *, applied: bool) -> str:
    """Return the message for pods whose nodes are going.

    Args:
        seen: What was seen.
        plan: What was decided; it counts none of them.
        applied: The plan is followed.
    """
    text = counted(seen.departing, "pod leaves with its node", "pods leave with their nodes")
    if applied:
        text += f", {plan.desired} besides are requested{_later(seen, plan)}"
    return _with(text, seen.departing_why)


def _later(seen: Observation, plan: Plan) -> str:
    share = seen.pool
    if share is None or plan.binding is not Rule.SHARE_OF_POOL or share.share <= plan.desired:
        return ""
    return f" and {share.share - plan.desired} more when pool {share.name} has room"


def _launches(seen: Observation) -> str:
    known = f", the slowest recent launch took {duration(seen.launch_s)}" if seen.launch_s else ""
    return f", nodes are being launched for {seen.launching}{known}" if seen.launching else known


def _with(text: str, said: str) -> str:
    return f"{text}: {said}" if said else text
