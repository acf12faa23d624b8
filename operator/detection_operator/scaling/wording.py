"""What ``CapacityAvailable`` says to a person: what is waited for, since when. Pure."""

from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Estimates
from detection_operator.scaling.rules.terms import duration


def no_room(seen: Observation, estimates: Estimates, now_s: float) -> str:
    """Return the sentence for a cluster without room, with the last words of its scheduler."""
    since = duration(now_s - (estimates.blocked_since_s or now_s))
    why = f" ({estimates.blocked_why})" if estimates.blocked_why else ""
    text = f"no room{why} since {since}"
    if seen.unschedulable:
        text = f"{_pods(seen.unschedulable)} unschedulable{why}, no room since {since}"
    return _with(f"{text}{_launches(seen)}", estimates.blocked_said)


def waiting(seen: Observation, now_s: float) -> str:
    """Return the sentence for pods that wait for a node, but not for long so far."""
    since = duration(now_s - (seen.unschedulable_since_s or now_s))
    why = f" ({seen.unschedulable_why})" if seen.unschedulable_why else ""
    waits = "1 pod waits" if seen.unschedulable == 1 else f"{seen.unschedulable} pods wait"
    text = f"{waits} for a node{why} since {since}"
    return _with(f"{text}{_launches(seen)}", seen.unschedulable_said)


def not_starting(seen: Observation, estimates: Estimates, now_s: float) -> str:
    """Return the sentence for pods that have a node and do not start."""
    since_s = estimates.failing_since_s
    facts = [
        _unready(seen.unready) if seen.unready else "",
        f"{seen.rejected} failed before they were ready" if seen.rejected else "",
        "" if since_s is None else f"fewer are asked for since {duration(now_s - since_s)}",
    ]
    why = seen.not_starting_why or estimates.failing_why or "no reason given"
    return _with(", ".join(filter(None, facts)), why)


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _unready(count: int) -> str:
    if count == 1:
        return "1 pod has a node and does not get ready"
    return f"{count} pods have a node and do not get ready"


def _launches(seen: Observation) -> str:
    known = f", one took {duration(seen.launch_s)} of late" if seen.launch_s else ""
    return f", nodes are on their way for {seen.launching}{known}" if seen.launching else known


def _with(text: str, said: str) -> str:
    return f"{text}: {said}" if said else text
