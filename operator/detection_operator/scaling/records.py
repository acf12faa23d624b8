"""Decision records: one decision with all that it was made from, as one line of JSON.

``replay`` reads them. Nothing is lost on the way: the same record gives the same plan.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)

from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Forecast
from detection_operator.spec.validation import manifest_value

VERSION: Final = 4
"""Raised whenever the format or the plan of old records changes; 0.1.0 wrote 1."""
READ: Final = (2, 3, VERSION)
"""Versions whose records can be read. The rules changed with 4: where the plans of older records
come out different, ``replay`` says how."""
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


class InvalidRecord(ValueError):  # noqa: N818 - says what it is
    """A line that is no decision record, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One decision with all that it was made from.

    Attributes:
        spec: The spec of the DetectionQueue, with defaults.
        observation: What was seen.
        memory: What earlier decisions left.
        now_s: Time of the decision, in s since the epoch.
        plan: The decision.
    """

    # For the values inside, too: a name that this version does not know is an error.
    __pydantic_config__ = ConfigDict(extra="forbid")

    spec: Annotated[QueueSpec, PlainValidator(parse_spec), PlainSerializer(manifest_value)]
    observation: Observation
    memory: Memory
    now_s: Annotated[float, Field(alias="now")]
    plan: Plan


_RECORD: Final = TypeAdapter(Record)
_PLAN: Final = TypeAdapter(Plan)


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON, with its sentences."""
    return _with_sentences(_PLAN.dump_python(plan, mode="json"), plan)


def to_line(record: Record) -> str:
    """Return the record as one line of JSON, keys sorted, without its newline."""
    data: dict[str, Any] = _RECORD.dump_python(record, mode="json", by_alias=True)
    data["version"] = VERSION
    data["plan"] = _with_sentences(data["plan"], record.plan)
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
    if not isinstance(data, dict) or "version" not in data:
        raise InvalidRecord("no decision record")
    version = data.pop("version")
    if version not in READ:
        *older, newest = READ
        raise InvalidRecord(
            f"a decision record of version {version}; this operator reads "
            f"{', '.join(map(str, older))} and {newest}: use the release that wrote it"
        )
    try:
        _without_forecast(data.get("spec"))
        return _RECORD.validate_python(_without_sentences(_upgraded(data, version)))
    except (AttributeError, KeyError, TypeError) as exc:
        raise InvalidRecord(f"missing or wrong: {exc}") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise InvalidRecord(f"missing or wrong: {path}: {first['msg']}") from exc


def redecide(record: Record) -> Plan:
    """Return what this version of the code decides from the record's inputs."""
    return decide(record.spec, record.observation, record.memory, record.now_s)


def _with_sentences(data: dict[str, Any], plan: Plan) -> dict[str, Any]:
    for term, value in zip(data["terms"], plan.terms, strict=True):
        term["sentence"] = value.sentence
    return {**data, "message": plan.message}


def _without_sentences(data: dict[str, Any]) -> dict[str, Any]:
    if "plan" not in data:
        return data
    plan = {name: value for name, value in data["plan"].items() if name != "message"}
    plan["terms"] = [{n: v for n, v in term.items() if n != "sentence"} for term in plan["terms"]]
    return {**data, "plan": plan}


def _upgraded(data: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a record of ``version`` with the names of this one."""
    if version < 3:
        data = _renamed_parts(data)
    if version < 4:
        for part in (data, data.get("plan", {})):
            known = part.get("memory", {}).get("estimators", {})
            known.pop("slo_feedback", None)
            (known.get("arrivals") or {}).pop("peaks", None)
    return data


def _renamed_parts(data: dict[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {
        name: _renamed(data[name]) for name in ("memory", "plan") if name in data
    }
    for term in renamed.get("plan", {}).get("terms", ()):
        del term["key"]
        # Facts had no names: the sentence stands as it was spoken.
        escaped = term["sentence"].replace("{", "{{").replace("}", "}}")
        term |= {"rule": term.pop("name"), "template": escaped, "facts": {}}
    return {**data, **renamed}


def _without_forecast(spec: Any) -> None:
    """Turn the forecast off in a spec from before there was one: nothing was counted for it."""
    if isinstance(spec, Mapping) and isinstance(spec.get("scaling"), dict):
        spec["scaling"].setdefault("forecast", Forecast.OFF.value)


def _renamed(data: Any) -> Any:
    if isinstance(data, list):
        return [_renamed(item) for item in data]
    if not isinstance(data, Mapping):
        return data
    return {_RENAMED_IN_3.get(name, name): _renamed(value) for name, value in data.items()}
