"""Checks one value as a user wrote it: pydantic parses it, and errors say what is allowed."""

from pathlib import Path
from typing import Any, Final, cast

from detection_worker.config.table import Setting
from detection_worker.errors import UsageError

Value = str | int | float | bool | Path | tuple[str, ...] | None
"""What a setting can hold."""

_MAX_SHOWN: Final = 200
"""Characters of a wrong value that an error repeats."""


def parse(raw: object, row: Setting, *, where: str) -> Value:
    """Return ``raw`` as the type of a setting.

    Args:
        raw: A string (option, environment), or a decoded JSON value or Python value.
        row: The setting.
        where: Names the setting as the user wrote it, as ``--max-messages`` or ``MAX_MESSAGES``.

    Raises:
        UsageError: It is of another type or out of range; the text says what is allowed.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - slow; --help checks nothing

    adapter: TypeAdapter[Any] = TypeAdapter(row.hint, config={"allow_inf_nan": False})
    try:
        value = adapter.validate_python(_prepared(raw, row))
    except ValidationError:
        value = None
    if value is None:
        shown = f"is {_show(raw)}" if _may_show(raw, row) else "is wrong"
        raise UsageError(f"{where} {shown}\nAllowed: {row.allowed()}.")
    return cast("Value", value)


def _prepared(raw: object, row: Setting) -> object:
    """Return text as pydantic takes it: without blanks around it, lists split, words as spelled.

    None stands for a value that no setting takes: blanks only, a zero byte, True for a number.
    """
    if isinstance(raw, bool):
        return raw if row.type is bool else None
    if row.type is tuple:
        return _items(raw, row)
    if not isinstance(raw, str):
        return raw
    text = _text(raw)
    if text and row.type is Path:
        return Path(text).expanduser()
    return next((w for w in row.words if text and w.lower() == text.lower()), text)


def _items(raw: object, row: Setting) -> object:
    if isinstance(raw, str):
        raw = raw.replace(",", " ").split() if row.secret else raw.split(",")
    if not isinstance(raw, list | tuple):
        return None
    # A repeated option gives a list whose items may hold commas in turn.
    parts = (p for item in raw for p in (item.split(",") if isinstance(item, str) else [item]))
    return tuple(_text(item) if isinstance(item, str) else item for item in parts)


def _text(raw: str) -> str | None:
    return None if "\0" in raw else raw.strip() or None


def _may_show(raw: object, row: Setting) -> bool:
    # A URL can hold a password before its @ and a signature after its ?.
    return not row.secret and not (row.is_url and any(c in str(raw) for c in "@?"))


def _show(raw: object) -> str:
    if raw is None:
        return "null"
    text = ascii(raw) if isinstance(raw, str) else str(raw)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
