"""Values as JSON and back without a loss, and the decision record that ``replay`` reads.

One record is one line: what was asked, what was seen, what was remembered, when, and the plan.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeVar

from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.rules.terms import Term
from detection_operator.spec.parse import InvalidSpec, manifest_value, parse_spec
from detection_operator.spec.queue_spec import QueueSpec

VERSION: Final = 3
"""Raised whenever the format or the plan of old records changes; 0.1.0 wrote 1."""
REPLAYED: Final = (2, VERSION)
"""Versions whose records still give the same plan."""
_RENAMED_IN_3: Final = {
    "outlook": "estimates",
    "victims": "scale_in_candidates",
    "learned": "estimators",
    "marks": "history",
    "caution": "slo_feedback",
    "waiting": "queue_age",
    "room": "capacity",
    "starts": "pod_starts",
}
"""Names of version 2 and what they are called since."""
T = TypeVar("T")


class InvalidRecord(ValueError):  # noqa: N818 - says what it is
    """A line that is no decision record, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One decision with all that it was made from."""

    spec: QueueSpec
    observation: Observation
    memory: Memory
    now_s: float
    plan: Plan


def to_json(value: Any) -> Any:
    """Return ``value`` (dataclasses, tuples, enums, numbers, strings) as JSON would hold it."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value


def from_json(kind: type[T], data: Any) -> T:
    """Return the value of type ``kind`` that ``to_json`` wrote as ``data``.

    Raises:
        InvalidRecord: ``data`` has another shape.
    """
    try:
        return typing.cast(T, _decode(kind, data))
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise InvalidRecord(f"{kind.__name__}: {exc}") from exc


def _decode(kind: Any, data: Any) -> Any:
    arms = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin in {types.UnionType, typing.Union}:
        return _union(arms, data)
    if origin is tuple:
        return _tuple(arms, data)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{name: _decode(hints[name], data[name]) for name in data})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if kind is float:
        return float(data)
    if not isinstance(data, kind):
        raise TypeError(f"{data!r} is no {kind.__name__}")
    return data


def _union(arms: tuple[Any, ...], data: Any) -> Any:
    if data is None:
        return None
    for arm in arms:
        # Exactly: 5 and 5.0 are different facts to a sentence.
        if arm is type(data):
            return data
    return _decode(next(arm for arm in arms if arm is not type(None)), data)


def _tuple(arms: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    if len(arms) == 2 and arms[1] is Ellipsis:
        return tuple(_decode(arms[0], item) for item in data)
    return tuple(_decode(arm, item) for arm, item in zip(arms, data, strict=True))


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON, with its sentences for people."""
    data: dict[str, Any] = to_json(plan)
    for term, value in zip(data["terms"], plan.terms, strict=True):
        term["sentence"] = value.sentence
    data["message"] = plan.message
    return data


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """Return the plan that ``plan_json`` wrote.

    Raises:
        InvalidRecord: ``data`` has another shape.
    """
    names = {field.name for field in dataclasses.fields(Plan)}
    members = {field.name for field in dataclasses.fields(Term)}
    bare = {name: value for name, value in data.items() if name in names}
    try:
        bare["terms"] = [
            {name: term[name] for name in term if name in members} for term in data["terms"]
        ]
    except (TypeError, KeyError) as exc:
        raise InvalidRecord(f"terms: {exc}") from exc
    return from_json(Plan, bare)


def to_line(record: Record) -> str:
    """Return the record as one line of JSON, keys sorted, without its newline."""
    data = {
        "version": VERSION,
        "now": record.now_s,
        "spec": manifest_value(record.spec),
        "observation": to_json(record.observation),
        "memory": to_json(record.memory),
        "plan": plan_json(record.plan),
    }
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def from_line(line: str) -> Record:
    """Return the record of a line.

    Raises:
        InvalidRecord: It is none, or of another version.
    """
    try:
        data = json.loads(line)
    except ValueError as exc:
        raise InvalidRecord(f"no JSON: {exc}") from exc
    if not isinstance(data, Mapping) or "version" not in data:
        raise InvalidRecord("no decision record")
    if data["version"] not in REPLAYED:
        raise InvalidRecord(
            f"a decision record of version {data['version']}; this operator replays "
            f"{' and '.join(map(str, REPLAYED))}: use the release that wrote it"
        )
    if data["version"] == 2:
        renamed = {name: _upgraded(data.get(name)) for name in ("memory", "plan")}
        data = {**data, **renamed}
    try:
        return Record(
            spec=parse_spec(data["spec"]),
            observation=from_json(Observation, data["observation"]),
            memory=from_json(Memory, data["memory"]),
            now_s=float(data["now"]),
            plan=plan_from_json(data["plan"]),
        )
    except (KeyError, TypeError) as exc:
        raise InvalidRecord(f"missing or wrong: {exc}") from exc
    except InvalidSpec as exc:
        raise InvalidRecord(str(exc)) from exc


def _upgraded(data: Any) -> Any:
    """Return a part of a record of version 2 with the names of version 3."""
    if isinstance(data, list):
        return [_upgraded(item) for item in data]
    if not isinstance(data, Mapping):
        return data
    return {_RENAMED_IN_3.get(name, name): _upgraded(value) for name, value in data.items()}


def redecide(record: Record) -> Plan:
    """Return what this version of the code decides from the record's now."""
    return decide(record.spec, record.observation, record.memory, record.now_s)
