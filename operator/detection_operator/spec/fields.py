"""Bounds, patterns and the field constructors that carry them."""

import dataclasses
from typing import Any, Final

SQS_MAX_VISIBILITY_S: Final = 43_200
"""Longest that SQS keeps a message invisible, so the longest that a job may run (12 h)."""
MAX_REPLICAS: Final = 10_000
SELECTOR_MAX: Final = 4096
"""Of ``status.selector``: some dozen labels, whose names and values have up to 380 characters."""
FROM_REDRIVE_POLICY: Final = "FromRedrivePolicy"
NAME_PATTERN: Final = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
QUEUE_URL_PATTERN: Final = r"^https?://[^/?#\s]+(/[^?#\s]*)?/[A-Za-z0-9_-]{1,80}([.]fifo)?$"
ENDPOINT_PATTERN: Final = r"^https?://[^/?#\s]+/?$"
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PORT: Final = (
    "0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
ADDRESS_PATTERN: Final = (
    r"(?i)^https?://([^/?#\s]*@)?"
    rf"({_LABEL}([.]{_LABEL})*[.]?|\[[0-9a-f:.]+(%[^\]/?#\s]+)?\])"
    f"(:({_PORT})?)?/?$"
)
"""Endpoints whose host boto3 takes for a name or an address, which allows no underscores and no
asterisks, and whose port exists. For RE2 too, so without looking around."""
ADDRESS_RULE: Final = (
    "a host name without underscores or asterisks, or [IPv6], and a port up to 65535 are allowed"
)
DEAD_LETTER_PATTERN: Final = "^FromRedrivePolicy$|" + QUEUE_URL_PATTERN
REGION_PATTERN: Final = "^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"
CRON_PATTERN: Final = r"^\S+( \S+){4}$"
MONEY_PATTERN: Final = "^[0-9]{1,9}([.][0-9]{1,6})?$"
TIME_ZONE_PATTERN: Final = "^[A-Za-z0-9_+/-]+$"


def integer(minimum: int, maximum: int, *, default: Any = dataclasses.MISSING, doc: str) -> Any:
    """Return a field for a whole number between ``minimum`` and ``maximum``, both allowed."""
    metadata = {"minimum": minimum, "maximum": maximum, "doc": doc}
    return dataclasses.field(default=default, metadata=metadata)


def text(
    max_length: int,
    *,
    pattern: str | None = None,
    default: Any = dataclasses.MISSING,
    name: str | None = None,
    doc: str,
) -> Any:
    """Return a field for a string of 1 to ``max_length`` characters; ``name`` is its JSON name."""
    metadata = {"max_length": max_length, "pattern": pattern, "name": name, "doc": doc}
    return dataclasses.field(default=default, metadata=metadata)


def listing(max_items: int, *, default: Any, doc: str, key: str | None = None) -> Any:
    """Return a field for a list of at most ``max_items``, unique by ``key`` when one is given."""
    metadata = {"max_items": max_items, "key": key, "doc": doc}
    return dataclasses.field(default=default, metadata=metadata)


def plain(
    *, default: Any = dataclasses.MISSING, factory: Any = dataclasses.MISSING, doc: str
) -> Any:
    """Return a field for an enum, a boolean or an object."""
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata={"doc": doc})
    return dataclasses.field(default=default, metadata={"doc": doc})
