"""Kubernetes events for what changed from one status to the next. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detection_contract.user_messages import counted
from detection_operator.spec.status import MESSAGE_MAX

EVENT_TYPES: Final = {"True": "Normal", "False": "Warning", "Unknown": "Normal"}
SUMMARY: Final = "Ready"
"""The condition that summarises the others."""
NAMES_MAX: Final = 5
"""Names of pods in one sentence."""
_Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A Kubernetes event to post.

    Attributes:
        type: ``Normal`` or ``Warning``.
        reason: One word.
        message: The sentence.
    """

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """A change of replicas that was written.

    Attributes:
        deployment: Name of the Deployment.
        before: Replicas before.
        after: Replicas after.
        pods: Names of the pods that are removed.
    """

    deployment: str
    before: int
    after: int
    pods: Sequence[str] = ()

    def __str__(self) -> str:
        names = ", ".join(self.pods[:NAMES_MAX])
        if len(self.pods) > NAMES_MAX:
            names += f" and {len(self.pods) - NAMES_MAX} more"
        going = f", without {names}" if names else ""
        return f"{self.before} to {counted(self.after, 'replica')} of {self.deployment}{going}"

    def event(self, why: str) -> Event:
        """Return the event; ``why`` is the plan's sentence."""
        message = f"{self}: {why}"[:MESSAGE_MAX]
        return Event(type="Normal", reason="Scaled", message=message)


def transitions(previous: Mapping[str, Any], current: Mapping[str, Any]) -> list[Event]:
    """Return an event for each condition that changed.

    The summary changes with the condition that it repeats: that is one transition, not two.
    """
    old = {item["type"]: item for item in previous.get("conditions", ())}
    changed = [
        (old.get(item["type"]), item)
        for item in current.get("conditions", ())
        if _is_news(old.get(item["type"]), item)
    ]
    return [
        Event(type=EVENT_TYPES[item["status"]], reason=item["reason"], message=item["message"])
        for before, item in changed
        if item["type"] != SUMMARY or not _is_repeated(before, item, changed)
    ]


def _is_news(before: _Item | None, item: _Item) -> bool:
    # The first status of a healthy resource needs no events.
    if before is None:
        return bool(item["status"] == "False")
    return bool(before["status"] != item["status"])


def _is_repeated(
    before: _Item | None, summary: _Item, changed: list[tuple[_Item | None, _Item]]
) -> bool:
    """Say whether another condition reports the same, by its reason now or before."""
    others = [(was, item) for was, item in changed if item["type"] != SUMMARY]
    if any(item["reason"] == summary["reason"] for _, item in others):
        return True
    ended = before["reason"] if before else None
    return any(was is not None and was["reason"] == ended for was, _ in others)
