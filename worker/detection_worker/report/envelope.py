"""Reads the values of an envelope whatever its version and its origin."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

Object = Mapping[str, Any]


def child(parent: Object, name: str) -> Object:
    """Return an object in an object; empty if there is none."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def objects(parent: Object, name: str) -> list[Object]:
    """Return the objects of a list in an object."""
    value = parent.get(name)
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def texts(parent: Object, name: str) -> list[str]:
    """Return the texts of a list in an object."""
    value = parent.get(name)
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def text(parent: Object, name: str) -> str:
    """Return a text in an object; empty if there is none."""
    value = parent.get(name)
    return value if isinstance(value, str) else ""


def number(parent: Object, name: str) -> float | None:
    """Return a finite number in an object; None if there is none."""
    return as_number(parent.get(name))


def as_number(value: object) -> float | None:
    """Return a finite number, not a truth value; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # An int of JSON can be too large for a float.
    return float(value) if abs(value) < 1e300 and isfinite(value) else None


def share(parent: Object, name: str) -> float | None:
    """Return a number in an object that is a share, 0 to 1."""
    value = number(parent, name)
    return value if value is not None and 0.0 <= value <= 1.0 else None


def numbers(value: object) -> list[float]:
    """Return a list of numbers; empty if it is none, or holds anything else."""
    if not isinstance(value, list):
        return []
    found = [as_number(v) for v in value]
    return [v for v in found if v is not None] if None not in found else []


def boxes(segment: Object) -> list[list[float]]:
    """Return left, top, right and bottom of the regions of a segment."""
    value = segment.get("regions")
    found = [numbers(region) for region in value] if isinstance(value, list) else []
    return found if all(len(box) == 4 for box in found) else []
