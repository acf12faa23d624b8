"""Merge a user's ``podTemplate`` into the pod template that the operator builds. Pure.

Objects are merged by member, lists of named things by name; any other value replaces
the operator's. Null removes a default. Values of a wrong type are rejected with the name of the
field, so that the status can show it.
"""

from collections.abc import Mapping
from typing import Any, Final

from detection_operator.spec.validation import InvalidSpec

FIELD: Final = "worker.template.podTemplate"
NEEDED: Final = frozenset(
    {"metadata", "metadata.labels", "metadata.annotations", "spec", "spec.containers"}
)
"""Without these there is no worker, or a busy one is moved: null adds nothing to them. Templates
also leave such keys empty by accident."""
NAMELESS: Final = "ports"
"""The only list whose items may go without the name that they are merged by."""


def overridden(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod template ``base`` with the user's ``over`` on top; both stay as they are.

    Raises:
        InvalidSpec: A value of ``over`` has another shape than what it is laid over.
    """
    return _object(base, over, "")


def _object(base: Mapping[str, Any], over: Any, path: str) -> dict[str, Any]:
    merged = dict(base)
    for name, value in _mapping(over, path).items():
        inner = f"{path}.{name}" if path else str(name)
        if value is not None:
            merged[name] = _value(base[name], value, inner) if name in base else _bare(value)
        elif inner not in NEEDED:
            merged.pop(name, None)
    return merged


def _value(base: Any, over: Any, path: str) -> Any:
    if isinstance(base, Mapping):
        return _object(base, over, path)
    if isinstance(base, list):
        return _list(base, over, path)
    if isinstance(over, Mapping | list):
        raise _wrong_type(path, over, "a single value")
    return over


def _list(base: list[Any], over: Any, path: str) -> list[Any]:
    if not isinstance(over, list):
        raise _wrong_type(path, over, "a list")
    if not all(isinstance(item, Mapping) for item in base):
        return over
    items = [_mapping(item, f"{path}[{index}]") for index, item in enumerate(over)]
    if not all("name" in item for item in base):
        return [_bare(item) for item in items]
    return _by_name(base, items, path)


def _by_name(
    base: list[Mapping[str, Any]], over: list[Mapping[str, Any]], path: str
) -> list[dict[str, Any]]:
    merged = {item["name"]: dict(item) for item in base}
    more: list[dict[str, Any]] = []
    for index, item in enumerate(over):
        inner = f"{path}[{index}]"
        name = item.get("name")
        if not isinstance(name, str) and not (name is None and path.endswith(NAMELESS)):
            raise _wrong_type(f"{inner}.name", name, "a string")
        if name in merged:
            merged[name] = _object(merged[name], item, inner)
        else:
            more.append(_bare(item))
    return [*merged.values(), *more]


def _bare(value: Any) -> Any:
    """Return a value without the members that are null."""
    if isinstance(value, Mapping):
        return {name: _bare(item) for name, item in value.items() if item is not None}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _mapping(raw: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise _wrong_type(path, raw, "an object")
    return raw


def _wrong_type(path: str, raw: Any, wanted: str) -> InvalidSpec:
    kind = "null" if raw is None else type(raw).__name__
    return InvalidSpec(f"{FIELD}.{path}" if path else FIELD, f"is {kind}, must be {wanted}")
