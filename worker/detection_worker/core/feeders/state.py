"""What several feeders say of themselves, as one worker says it.

Rules
-----
- Counts since the start add up, those of feeders that have died included: they never fall.
- A feeder counts the device as its share of it (one lane of N), and its own threads as its own. So
  N feeders that each need s seconds a message finish one every s / N: that is what a message costs
  the worker.
- The worker is busy, or not healthy, if one of its feeders is; drained or ready if all are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

State = Mapping[str, Any]
"""The state of one pipeline, as ``PipelineHealth.state`` returns it."""

_TOTALS: Final = ("received", "received_late")
_STATISTICS: Final = ("processed", "failed", "retried")
_SERVED: Final = ("messages", "seconds", "squares")
NO_COUNTS: Final[State] = dict.fromkeys(_TOTALS, 0) | {
    "statistics": dict.fromkeys(_STATISTICS, 0),
    "served": {},
}
"""The counts of a feeder that has not begun."""


def counts_of(states: Iterable[State]) -> dict[str, Any]:
    """Return the sums of what is counted since the start; a sum can be added up in turn."""
    found = list(states)
    kinds = dict.fromkeys(kind for state in found for kind in state["served"])
    return {
        **{name: sum(state[name] for state in found) for name in _TOTALS},
        "statistics": {
            name: sum(state["statistics"][name] for state in found) for name in _STATISTICS
        },
        "served": {
            kind: {
                name: sum(state["served"].get(kind, {}).get(name, 0) for state in found)
                for name in _SERVED
            }
            for kind in kinds
        },
    }


def ended(state: State, *, at: str) -> State:
    """Return the state of the place of a feeder that has died: nothing is held or counted there.

    Args:
        state: Its last one.
        at: When it was found dead, as ``since``.
    """
    return {
        **state,
        **NO_COUNTS,
        "busy": False,
        "since": at,
        "busy_expires_at": None,
        "in_flight": 0,
        "held_seconds": 0.0,
        "draining": True,
        "drained": True,
        "polling": 0,
        "service_seconds": {},
        "stages": {name: dict.fromkeys(found, 0) for name, found in state["stages"].items()},
        "last_error": None,
    }


def merged(
    states: Sequence[State], *, counts: State, feeders: int, age_s: float | None, runtime_s: float
) -> dict[str, object]:
    """Return the state of a worker.

    Args:
        states: The newest state of each feeder that has begun, ``ended`` ones included, at
            least one.
        counts: ``counts_of`` these and of those that have died.
        feeders: How many feeders the worker has, >= 1.
        age_s: How long the latest message had waited in the queue.
        runtime_s: Since the worker's start.
    """
    busy = [state for state in states if state["busy"]]
    service_s = service_seconds([state["service_seconds"] for state in states], feeders=feeders)
    return {
        "busy": bool(busy),
        "since": _since(states),
        "busy_expires_at": max((state["busy_expires_at"] for state in busy), default=None),
        "in_flight": sum(state["in_flight"] for state in states),
        "held_seconds": max(state["held_seconds"] for state in states),
        "draining": all(state["draining"] for state in states),
        "drained": all(state["drained"] for state in states),
        "polling": sum(state["polling"] for state in states),
        "service_seconds": {kind: round(s, 6) for kind, s in service_s.items()},
        "sustainable_messages_per_second": {
            kind: round(1 / max(s, 1e-6), 3) for kind, s in service_s.items()
        },
        "served": {kind: _shared(sums, feeders) for kind, sums in counts["served"].items()},
        "received": counts["received"],
        "received_late": counts["received_late"],
        "received_message_age_s": age_s,
        "stages": _stages(states),
        "statistics": {
            **counts["statistics"],
            "runtime_s": round(runtime_s, 1),
            "rate_per_s": round(counts["statistics"]["processed"] / max(runtime_s, 1e-6), 3),
        },
        "last_error": next((state["last_error"] for state in states if state["last_error"]), None),
    }


def service_seconds(found: Iterable[Mapping[str, float]], *, feeders: int) -> dict[str, float]:
    """Return what a message of each kind costs the worker, from what it costs each feeder.

    Rates add up; a feeder that has seen none of a kind is taken to be as fast as the others.
    """
    by_kind: dict[str, list[float]] = {}
    for service_s in found:
        for kind, seconds in service_s.items():
            by_kind.setdefault(kind, []).append(max(seconds, 1e-6))
    return {kind: len(s) / sum(1 / x for x in s) / feeders for kind, s in by_kind.items()}


def checks_of(found: Sequence[Mapping[str, bool | str]]) -> dict[str, bool | str]:
    """Return each check by name: the first answer that is not True, else True."""
    names = dict.fromkeys(name for checks in found for name in checks)
    return {
        name: next((c[name] for c in found if c.get(name, True) is not True), True)
        for name in names
    }


def _since(states: Sequence[State]) -> str:
    """Return when the worker became busy, or idle; the texts sort as the times do."""
    busy: list[str] = [state["since"] for state in states if state["busy"]]
    return min(busy) if busy else max(state["since"] for state in states)


def _shared(sums: Mapping[str, float], feeders: int) -> dict[str, float]:
    return {
        "messages": sums["messages"],
        "seconds": sums["seconds"] / feeders,
        "squares": sums["squares"] / feeders**2,
    }


def _stages(states: Sequence[State]) -> dict[str, dict[str, int]]:
    return {
        name: {what: sum(state["stages"][name][what] for state in states) for what in found}
        for name, found in states[0]["stages"].items()
    }
