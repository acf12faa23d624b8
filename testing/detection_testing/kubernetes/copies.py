"""Copies of objects as JSON has them, faster than ``copy.deepcopy``: simulations make millions."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

_T = TypeVar("_T")


def copied(value: _T) -> _T:
    """Return a copy that shares nothing that can be changed."""
    return cast("_T", _copied(value))


def _copied(value: Any) -> Any:
    # Exact types first: most values are strings, and asking for a Mapping is slow.
    kind = type(value)
    if kind is str:
        return value
    if kind is dict:
        return {name: item if type(item) is str else _copied(item) for name, item in value.items()}
    if kind is list:
        return [_copied(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _copied(item) for name, item in value.items()}
    return value
