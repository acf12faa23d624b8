"""One value from a string or from JSON: its type, its range, and the sentence when it is wrong."""

import base64
import binascii
import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from detection_worker.errors import UsageError

Value = str | int | float | bool | Path | tuple[str, ...] | None
"""What a setting can hold."""

TRUE: Final = ("true", "1", "yes", "on")
FALSE: Final = ("false", "0", "no", "off")
SIGNING_PREFIX: Final = "whsec_"
SIGNING_BYTES: Final = (24, 64)
"""Least and most bytes of a signing secret (Standard Webhooks, "Signature scheme")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a value may be.

    Attributes:
        type: ``str``, ``int``, ``float``, ``bool``, ``Path`` or ``tuple`` (of strings).
        low: Least number allowed.
        high: Greatest number allowed.
        words: The only strings allowed; matched without regard to case. Empty allows any.
        url: The string must be an http or https URL with a host.
        network: Each string must be an address range such as 10.0.0.0/8.
        secret: Never repeat the value in a message.
    """

    type: type
    low: float = 0
    high: float = math.inf
    words: tuple[str, ...] = ()
    url: bool = False
    network: bool = False
    secret: bool = False

    def allowed(self) -> str:
        """Return what is allowed, for a person."""
        if self.type is bool:
            return "true or false"
        if self.words:
            return ", ".join(self.words[:-1]) + f" or {self.words[-1]}"
        if self.type in (int, float):
            kind = "a whole number" if self.type is int else "a number"
            return f"{kind} {_range(self.low, self.high)}"
        if self.url:
            return "an http or https URL"
        if self.type is tuple:
            return self._allowed_list()
        return "a path" if self.type is Path else "a string"

    def _allowed_list(self) -> str:
        if self.secret:
            return f"secrets like {SIGNING_PREFIX}<base64 of 24 to 64 bytes>, newest first"
        kind = "address ranges like 10.0.0.0/8" if self.network else "names"
        return f"{kind}, with commas between them"


def parse(raw: object, *, rule: Rule, where: str) -> Value:
    """Return ``raw`` as the type that ``rule`` asks for.

    Args:
        raw: A string (option, environment), or a decoded JSON value or Python value.
        rule: What is allowed.
        where: Names the setting as the user wrote it, as ``--max-messages`` or ``MAX_MESSAGES``.

    Raises:
        UsageError: If it is of another type or out of range; says what is allowed.
    """
    readers: dict[type, Callable[[object, Rule], Value]] = {
        bool: _bool,
        int: _int,
        float: _float,
        Path: _path,
        tuple: _secrets if rule.secret else _names,
    }
    read = readers.get(rule.type, _str)
    try:
        return read(raw, rule)
    except (TypeError, ValueError, OverflowError):
        shown = f"is {_show(raw)}" if _may_show(raw, rule) else "is wrong"
        raise UsageError(f"{where} {shown}\nAllowed: {rule.allowed()}.") from None


def _may_show(raw: object, rule: Rule) -> bool:
    # A URL can hold a password before its @ and a signature after its ?.
    return not rule.secret and not (rule.url and any(c in str(raw) for c in "@?"))


def _show(raw: object) -> str:
    if raw is None:
        return "null"
    text = ascii(raw) if isinstance(raw, str) else str(raw)
    return text if len(text) <= 200 else text[:200] + "…"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return f"of at least {_plain(low)}"
    return f"from {_plain(low)} to {_plain(high)}"


def _bool(raw: object, _: Rule) -> bool:
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if word not in TRUE + FALSE:
        raise ValueError
    return word in TRUE


def _int(raw: object, rule: Rule) -> int:
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise TypeError
    return int(_within(int(raw), rule))


def _float(raw: object, rule: Rule) -> float:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise TypeError
    return float(_within(float(raw), rule))


def _within(number: float, rule: Rule) -> float:
    if not rule.low <= number <= rule.high or math.isinf(number):
        raise ValueError
    return number


def _str(raw: object, rule: Rule) -> str:
    if not isinstance(raw, str) or not raw.strip() or "\0" in raw:
        raise ValueError
    text = raw.strip()
    if rule.url:
        _check_url(text)
    if not rule.words:
        return text
    for word in rule.words:
        if word.lower() == text.lower():
            return word
    raise ValueError


def _check_url(text: str) -> None:
    parts = urlsplit(text)
    # Asking for the port checks it.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError


def _path(raw: object, rule: Rule) -> Path:
    return raw if isinstance(raw, Path) else Path(_str(raw, rule)).expanduser()


def _names(raw: object, rule: Rule) -> tuple[str, ...]:
    if isinstance(raw, str):
        raw = raw.split(",")
    if not isinstance(raw, list | tuple):
        raise TypeError
    names = tuple(_str(name, rule) for name in raw)
    if rule.network:
        for name in names:
            ipaddress.ip_network(name)
    return names


def _secrets(raw: object, _: Rule) -> tuple[str, ...]:
    words = raw.replace(",", " ").split() if isinstance(raw, str) else raw
    if not isinstance(words, list | tuple):
        raise TypeError
    return tuple(_secret(word) for word in words)


def _secret(word: object) -> str:
    if not isinstance(word, str) or not word.startswith(SIGNING_PREFIX):
        raise ValueError
    try:
        key = base64.b64decode(word.removeprefix(SIGNING_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError from None
    if not SIGNING_BYTES[0] <= len(key) <= SIGNING_BYTES[1]:
        raise ValueError
    return word
