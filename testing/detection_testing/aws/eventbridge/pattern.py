"""Event patterns of EventBridge and filter policies of SNS. Pure.

EventBridge user guide, "Comparison operators for use in event patterns"; SNS developer guide,
"Amazon SNS subscription filter policies". ``_OPERATORS`` names the operators that are here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

MISSING: Final = object()
"""Stands for a field that the event does not have."""


class BadPatternError(ValueError):
    """No pattern, or one with an operator that is not known here."""


def check(pattern: object) -> None:
    """Check a pattern.

    Raises:
        BadPatternError: It is none.
    """
    if not isinstance(pattern, dict) or not pattern:
        raise BadPatternError("a pattern is an object with at least one field")
    for name, allowed in pattern.items():
        if isinstance(allowed, dict):
            check(allowed)
        elif not isinstance(allowed, list) or not allowed:
            raise BadPatternError(f"{name} is neither a list of values nor an object")
        else:
            for rule in allowed:
                _check_rule(name, rule)


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Say whether an event has every field of a pattern, each with one of the allowed values."""
    for name, allowed in pattern.items():
        value = event.get(name, MISSING)
        if isinstance(allowed, dict):
            if not matches(allowed, value if isinstance(value, dict) else {}):
                return False
        elif not any(_fits(rule, value) for rule in allowed):
            return False
    return True


def _fits(rule: object, value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    if not isinstance(rule, dict):
        return any(_same(rule, each) for each in values)
    [(operator, operand)] = rule.items()
    return any(_OPERATORS[operator](operand, each) for each in values)


def _same(one: object, other: object) -> bool:
    # True is not 1 here.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _anything_but(operand: object, value: object) -> bool:
    if value is MISSING:
        return False
    refused = operand if isinstance(operand, list) else [operand]
    return not any(_fits(rule, value) for rule in refused)


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "prefix": lambda text, value: isinstance(value, str) and value.startswith(text),
    "suffix": lambda text, value: isinstance(value, str) and value.endswith(text),
    "equals-ignore-case": lambda text, value: (
        isinstance(value, str) and value.lower() == text.lower()
    ),
    "exists": lambda wanted, value: (value is not MISSING) == wanted,
    "anything-but": _anything_but,
}


def _check_rule(name: str, rule: object) -> None:
    if isinstance(rule, list):
        raise BadPatternError(f"{name} has a list in its list")
    if isinstance(rule, dict) and (len(rule) != 1 or not rule.keys() <= _OPERATORS.keys()):
        raise BadPatternError(f"{name} has the unknown operator {', '.join(rule)}")
