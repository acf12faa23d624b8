"""Copies of objects as JSON has them, faster than ``copy.deepcopy``: simulations make millions."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

_T = TypeVar("_T")


def copied(value: _T) -> _T:
    """Return a copy that shares nothing that can be changed."""
    return cast("_T", _copied(value))


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value
