"""Event buses with their rules. Pure but for the queues that rules send to."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from detection_testing.aws.eventbridge.pattern import BadPatternError, check, matches
from detection_testing.aws.journal import RecordedEvent
from detection_testing.aws.sqs.delivery import QueueDelivery
from detection_testing.aws.sqs.registry import ACCOUNT_ID, REGION

DEFAULT_BUS: Final = "default"
_PATH: Final = re.compile(r"\$(\.[\w-]+)*")
_ARN: Final = f"arn:aws:events:{REGION}:{ACCOUNT_ID}:"


class EventsError(Exception):
    """A request that EventBridge refuses.

    Attributes:
        code: As EventBridge names it.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A queue that a rule sends to.

    Attributes:
        arn: The queue's.
        path: Names of the fields that lead to the part of the event that it gets.
        group_id: Message group, for a FIFO queue.
    """

    arn: str
    path: tuple[str, ...]
    group_id: str | None


@dataclass(slots=True, kw_only=True)
class Rule:
    """Sends events that fit a pattern to targets, which have ids."""

    pattern: Mapping[str, Any]
    targets: dict[str, Target] = field(default_factory=dict)


@dataclass(slots=True)
class Bus:
    """An event bus, with rules by name."""

    name: str
    rules: dict[str, Rule] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"{_ARN}event-bus/{self.name}"


class EventBuses:
    """The buses of the local account; there is always one called ``default``.

    Args:
        queues: Where rules send to.
        recorded: Gets every event.
    """

    def __init__(self, *, queues: QueueDelivery, recorded: list[RecordedEvent]) -> None:
        self._queues = queues
        self._recorded = recorded
        self._buses = {DEFAULT_BUS: Bus(DEFAULT_BUS)}

    def create(self, name: str) -> Bus:
        """Make a bus.

        Raises:
            EventsError: There is one already.
        """
        if name in self._buses:
            text = f"Event bus {name} already exists."
            raise EventsError("ResourceAlreadyExistsException", text)
        self._buses[name] = Bus(name)
        return self._buses[name]

    def delete(self, name: str) -> None:
        """Delete a bus, if there is such a one."""
        self._buses.pop(_name(name), None)

    def get(self, name: str) -> Bus:
        """Return the bus with this name or ARN.

        Raises:
            EventsError: There is none.
        """
        found = self._find(name)
        if found is None:
            text = f"Event bus {_name(name)} does not exist."
            raise EventsError("ResourceNotFoundException", text)
        return found

    def names(self) -> list[str]:
        """Return the names of all buses."""
        return sorted(self._buses)

    def put_rule(self, bus: str, name: str, pattern_text: str) -> str:
        """Make or replace a rule; return its ARN.

        Raises:
            EventsError: The pattern is none.
        """
        try:
            pattern = json.loads(pattern_text)
            check(pattern)
        except (ValueError, BadPatternError) as exc:
            text = f"Event pattern is not valid. Reason: {exc}"
            raise EventsError("InvalidEventPatternException", text) from None
        found = self.get(bus)
        known = found.rules.get(name)
        found.rules[name] = Rule(pattern=pattern, targets=known.targets if known else {})
        path = name if found.name == DEFAULT_BUS else f"{found.name}/{name}"
        return f"{_ARN}rule/{path}"

    def put_target(self, bus: str, rule: str, target: Mapping[str, Any]) -> None:
        """Let a rule send to a queue.

        Raises:
            EventsError: No such rule, or a target that is not just a queue.
        """
        found = self.get(bus).rules.get(rule)
        if found is None:
            text = f"Rule {rule} does not exist on EventBus {_name(bus)}."
            raise EventsError("ResourceNotFoundException", text)
        found.targets[str(target.get("Id"))] = _target(target)

    def put(self, entry: Mapping[str, Any], *, now_s: float) -> str:
        """Take an event; return its id.

        EventBridge takes an event for a bus that does not exist too, and nobody ever sees it.
        """
        bus = self._find(str(entry.get("EventBusName") or DEFAULT_BUS))
        event = _event(entry, now_s=now_s)
        rules = bus.rules.values() if bus else ()
        targets = [t for r in rules if matches(r.pattern, event) for t in r.targets.values()]
        sent = [
            target.arn.rpartition(":")[2]
            for target in targets
            if self._queues.send(
                target.arn,
                _part(event, target.path),
                group_id=target.group_id,
                deduplication_id=event["id"],
            )
        ]
        self._recorded.append(
            RecordedEvent(
                at_s=now_s,
                bus=bus.name if bus else "",
                event_id=event["id"],
                source=event["source"],
                detail_type=event["detail-type"],
                detail=str(entry["Detail"]),
                resources=event["resources"],
                queues=sent,
                trace_header=str(entry.get("TraceHeader") or ""),
            )
        )
        return str(event["id"])

    def _find(self, name: str) -> Bus | None:
        if name.startswith("arn:") and not name.startswith(f"{_ARN}event-bus/"):
            return None
        return self._buses.get(_name(name))


def _name(name: str) -> str:
    return name.removeprefix(f"{_ARN}event-bus/")


def _target(target: Mapping[str, Any]) -> Target:
    path = str(target.get("InputPath", "$"))
    known = {"Id", "Arn", "SqsParameters", "InputPath"}
    if set(target) - known or ":sqs:" not in str(target.get("Arn")) or not _PATH.fullmatch(path):
        text = "Only SQS queues that get an event or a field of it are targets here."
        raise EventsError("ValidationException", text)
    return Target(
        arn=str(target["Arn"]),
        path=tuple(path.split(".")[1:]),
        group_id=(target.get("SqsParameters") or {}).get("MessageGroupId"),
    )


def _part(event: Any, path: tuple[str, ...]) -> str:
    for name in path:
        event = event.get(name) if isinstance(event, dict) else None
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def _event(entry: Mapping[str, Any], *, now_s: float) -> dict[str, Any]:
    # EventBridge user guide, "Events in Amazon EventBridge".
    at_s = entry.get("Time", now_s)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": ACCOUNT_ID,
        "time": datetime.fromtimestamp(float(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": list(entry.get("Resources") or []),
        "detail": json.loads(entry["Detail"]),
    }
