"""Strict reading of untrusted JSON: what it accepts means the same to every JSON reader."""

import json
import math
from typing import Final, NoReturn

MAX_BYTES: Final = 1024 * 1024
"""Largest SQS message, 1 MiB since August 2025."""
MAX_DEPTH: Final = 64
"""Nesting far beyond any real message, far below what exhausts a reader's stack."""


class BadJson(ValueError):  # noqa: N818 - reads as what it says
    """A text is not acceptable JSON; the message says why and quotes no value."""


def read_object(text: str) -> dict[str, object]:
    """Return the JSON object that ``text`` holds.

    Raises:
        BadJson: It is too large, not JSON (RFC 8259) or no object, is nested deeper than
            ``MAX_DEPTH``, repeats a name, or holds a number beyond a double or half a surrogate
            pair: readers differ on these, so they could not be passed on faithfully.
    """
    try:
        value = _loaded(text)
    except UnicodeEncodeError:
        raise BadJson("half a surrogate pair is not text") from None
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error}") from None
    except RecursionError:
        raise BadJson(f"nested deeper than {MAX_DEPTH} levels") from None
    if not isinstance(value, dict):
        raise BadJson("not a JSON object")
    if _deeper_than(value, levels=MAX_DEPTH):
        raise BadJson(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _loaded(text: str) -> object:
    size = len(text.encode("utf-8"))
    if size > MAX_BYTES:
        raise BadJson(f"the text has {size} bytes, more than {MAX_BYTES}")
    value = json.loads(
        text,
        object_pairs_hook=_object_of_pairs,
        parse_constant=_refuse_constant,
        parse_float=_finite,
        parse_int=_integer,
    )
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _object_of_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadJson("a name occurs twice in one object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadJson("a number is beyond the range of a double")
    return number


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        # The interpreter refuses more than 4300 digits: conversion takes quadratic time.
        raise BadJson("an integer has too many digits") from None


def _deeper_than(value: object, *, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, dict | list) for inner in layer)
