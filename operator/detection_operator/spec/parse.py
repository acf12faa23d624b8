"""From the ``spec`` of a manifest to a ``QueueSpec``, or a refusal that names the field.

The API server applies the same defaults and bounds (``crd``); they are applied again here because
the offline commands see no API server, and an old CRD may lag behind a new operator.
"""

import dataclasses
import datetime
import ipaddress
import re
import typing
import urllib.parse
import zoneinfo
from collections.abc import Iterable, Mapping
from enum import EnumType
from types import UnionType
from typing import Any, Final

from cronsim import CronSim, CronSimError

from detection_contract.aws.sqs_urls import region_of_queue
from detection_operator.spec.fields import ADDRESS_PATTERN, ADDRESS_RULE
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import FallbackBehavior, Mode, Policy, Scaling, Schedule

_ANY_TIME: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""Cron expressions are checked against some time; which one does not matter."""


class InvalidSpec(ValueError):  # noqa: N818 - says what it is, as the condition does
    """A spec that cannot be followed.

    Attributes:
        field: Path of the field below ``spec``, such as ``scaling.maxReplicas``.
        why: What is wrong with it and what is allowed.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"spec.{field}: {why}" if field else f"spec: {why}")
        self.field = field
        self.why = why


def json_name(field: "dataclasses.Field[Any]") -> str:
    """Return the manifest's name of a spec field: ``hold_s`` is ``holdSeconds``."""
    explicit = field.metadata.get("name")
    if explicit:
        return str(explicit)
    whole = re.sub("_s$", "_seconds", field.name)
    head, *rest = whole.split("_")
    return head + "".join(word.capitalize() for word in rest)


def enum_words(kind: EnumType) -> list[str]:
    """Return the words of an enum in their order."""
    members: Iterable[object] = kind.__members__.values()
    return [str(member) for member in members]


def parse_spec(spec: Mapping[str, Any]) -> QueueSpec:
    """Return ``spec`` as a value, with defaults applied and every rule checked.

    Raises:
        InvalidSpec: A field is missing, unknown, of a wrong type, out of bounds or contradictory.
    """
    parsed: QueueSpec = _object(QueueSpec, spec, "")
    _check_endpoint(parsed.queue.endpoint_url)
    _check_scaling(parsed.scaling)
    _check_budget(parsed)
    if parsed.scaling.mode is Mode.MANUAL and parsed.replicas is None:
        raise InvalidSpec("replicas", "is required when scaling.mode is Manual")
    if (parsed.worker.template is None) == (parsed.worker.deployment_ref is None):
        raise InvalidSpec("worker", "needs exactly one of template and deploymentRef")
    if parsed.queue.dead_letter_queue == parsed.queue.url:
        raise InvalidSpec("queue.deadLetterQueue", "must differ from queue.url")
    region = parsed.queue.region or region_of_queue(parsed.queue.url)
    if region is None:
        raise InvalidSpec("queue.region", "is required because queue.url does not name a region")
    return dataclasses.replace(parsed, queue=dataclasses.replace(parsed.queue, region=region))


def known_part(spec: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return ``spec`` without the fields that this version does not know, and their paths.

    The API server refuses or prunes what its CRD does not know, so in a cluster such a field comes
    from a newer CRD than this operator's. The rest of the object is still worth following.
    """
    strange: list[str] = []
    known: dict[str, Any] = _known(QueueSpec, spec, "", strange)
    return known, tuple(strange)


def _known(kind: Any, raw: Any, path: str, strange: list[str]) -> Any:
    if isinstance(kind, UnionType):
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    if typing.get_origin(kind) is tuple and isinstance(raw, list):
        item_kind = typing.get_args(kind)[0]
        return [_known(item_kind, v, f"{path}[{n}]", strange) for n, v in enumerate(raw)]
    # What has the wrong shape is for ``parse_spec`` to refuse.
    if not dataclasses.is_dataclass(kind) or not isinstance(raw, Mapping):
        return raw
    hints = typing.get_type_hints(kind)
    names = {json_name(field): field.name for field in dataclasses.fields(kind)}
    strange += [_join(path, str(name)) for name in raw if name not in names]
    return {
        name: _known(hints[names[name]], value, _join(path, name), strange)
        for name, value in raw.items()
        if name in names
    }


def manifest_value(value: Any) -> Any:
    """Return a spec value as it would stand in a manifest."""
    if dataclasses.is_dataclass(value):
        pairs = ((json_name(f), getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: manifest_value(item) for name, item in pairs if item is not None}
    if isinstance(value, tuple):
        return [manifest_value(item) for item in value]
    if isinstance(value, (bool, int, dict)):
        return value
    return str(value)


def _check_endpoint(url: str | None) -> None:
    """Refuse what no client can connect to."""
    if url is None:
        return
    if not re.search(ADDRESS_PATTERN, url):
        raise InvalidSpec("queue.endpointURL", f"{url!r} is no address: {ADDRESS_RULE}")
    try:
        # Whether the groups of an IPv6 address add up is more than a pattern should say.
        host = urllib.parse.urlsplit(url).hostname or ""
        if ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError as exc:
        raise InvalidSpec("queue.endpointURL", f"{url!r} is no address: {exc}") from exc


def _check_scaling(scaling: Scaling) -> None:
    low, high = scaling.min_replicas, scaling.max_replicas
    if low > high:
        raise InvalidSpec("scaling.minReplicas", f"{low} is above maxReplicas {high}")
    if scaling.headroom_replicas > high:
        raise InvalidSpec(
            "scaling.headroomReplicas", f"{scaling.headroom_replicas} is above maxReplicas {high}"
        )
    if scaling.policy is Policy.BACKLOG and scaling.backlog_per_replica is None:
        raise InvalidSpec("scaling.backlogPerReplica", "is required when policy is Backlog")
    fallback = scaling.fallback
    if fallback.behavior is not FallbackBehavior.HOLD and fallback.replicas is None:
        raise InvalidSpec("scaling.fallback.replicas", f"is required by {fallback.behavior}")
    if (fallback.replicas or 0) > high:
        raise InvalidSpec(
            "scaling.fallback.replicas", f"{fallback.replicas} is above maxReplicas {high}"
        )
    for index, schedule in enumerate(scaling.schedules):
        _check_schedule(schedule, f"scaling.schedules[{index}]", high=high)


def _check_schedule(schedule: Schedule, path: str, *, high: int) -> None:
    if schedule.min_replicas > high:
        raise InvalidSpec(
            f"{path}.minReplicas", f"{schedule.min_replicas} is above maxReplicas {high}"
        )
    try:
        zone = zoneinfo.ZoneInfo(schedule.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidSpec(
            f"{path}.timeZone", f"{schedule.time_zone!r} is no IANA time zone"
        ) from exc
    try:
        CronSim(schedule.cron, _ANY_TIME.replace(tzinfo=zone))
    except CronSimError as exc:
        raise InvalidSpec(f"{path}.cron", f"{schedule.cron!r}: {exc}") from exc


def _check_budget(spec: QueueSpec) -> None:
    budget = spec.budget
    if budget is None:
        return
    if not budget.replica_hour_cost:
        raise InvalidSpec("budget.replicaHourCost", "must be above 0")
    if budget.max_per_hour is None and budget.max_per_day is None:
        raise InvalidSpec("budget", "needs maxPerHour, maxPerDay or both")
    least = budget.replica_hour_cost * spec.scaling.min_replicas
    if budget.max_per_hour is not None and budget.max_per_hour < least:
        raise InvalidSpec(
            "budget.maxPerHour", f"{budget.max_per_hour} does not pay minReplicas, {least} an hour"
        )


def _value(kind: Any, raw: Any, meta: Mapping[str, Any], path: str) -> Any:
    if isinstance(kind, UnionType):
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _list(typing.get_args(kind)[0], raw, meta, path)
    if origin is not None:
        return dict(_mapping(raw, path))
    if dataclasses.is_dataclass(kind):
        return _object(kind, raw, path)
    return _scalar(kind, raw, meta, path)


def _scalar(kind: Any, raw: Any, meta: Mapping[str, Any], path: str) -> Any:
    if kind is bool:
        return _typed(bool, raw, path, wanted="true or false")
    if kind is int:
        return _integer(raw, meta, path)
    if isinstance(kind, EnumType):
        return _enum(kind, raw, path)
    return kind(_text(raw, meta, path))


def _object(kind: Any, raw: Any, path: str) -> Any:
    mapping = _mapping(raw, path)
    hints = typing.get_type_hints(kind)
    fields = {json_name(field): field for field in dataclasses.fields(kind)}
    for name in mapping:
        if name not in fields:
            raise InvalidSpec(_join(path, str(name)), f"unknown; known: {', '.join(fields)}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        raw_value = mapping.get(name)
        if raw_value is not None:
            values[field.name] = _value(
                hints[field.name], raw_value, field.metadata, _join(path, name)
            )
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InvalidSpec(_join(path, name), "is required")
    return kind(**values)


def _list(kind: Any, raw: Any, meta: Mapping[str, Any], path: str) -> tuple[Any, ...]:
    items = _typed(list, raw, path, wanted="a list")
    if len(items) > meta["max_items"]:
        raise InvalidSpec(path, f"has {len(items)} items, at most {meta['max_items']} are allowed")
    values = tuple(_value(kind, item, {}, f"{path}[{index}]") for index, item in enumerate(items))
    key = meta["key"]
    keys = [item.get(key) for item in items if key]
    repeated = next((k for k in keys if keys.count(k) > 1), None)
    if repeated is not None:
        raise InvalidSpec(path, f"{key} {repeated!r} appears twice")
    return values


def _integer(raw: Any, meta: Mapping[str, Any], path: str) -> int:
    low, high = meta["minimum"], meta["maximum"]
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise InvalidSpec(path, f"{raw!r} is no whole number")
    if not low <= raw <= high:
        raise InvalidSpec(path, f"{raw} is not between {low} and {high}")
    return raw


def _enum(kind: EnumType, raw: Any, path: str) -> Any:
    words = enum_words(kind)
    if raw not in words:
        raise InvalidSpec(path, f"{raw!r} is none of {', '.join(words)}")
    return kind(raw)


def _text(raw: Any, meta: Mapping[str, Any], path: str) -> str:
    value: str = _typed(str, raw, path, wanted="a string")
    if not 1 <= len(value) <= meta["max_length"]:
        raise InvalidSpec(path, f"has {len(value)} characters, 1 to {meta['max_length']} fit")
    pattern = meta["pattern"]
    # The API server's $ matches at the end only, Python's also before a last newline.
    if pattern and not re.search(pattern.replace("$", r"\Z"), value):
        raise InvalidSpec(path, f"{value!r} does not match {pattern}")
    return value


def _mapping(raw: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise InvalidSpec(path, f"is {type(raw).__name__}, must be an object")
    return raw


def _typed(kind: type, raw: Any, path: str, *, wanted: str) -> Any:
    if not isinstance(raw, kind):
        raise InvalidSpec(path, f"{raw!r} is not {wanted}")
    return raw


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
