"""The config file ``aws_config.json``: strict JSON with known keys only."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_contract.user_messages import NO_CONFIG_FILE
from detection_worker.config.table import CREDENTIALS, FILE_KEYS, Setting, setting
from detection_worker.config.values import Value, parse
from detection_worker.errors import UsageError

DEFAULT_NAME: Final = "aws_config.json"
PLACEHOLDER: Final = "YOUR_"
"""Start of the credentials in the template."""
MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A config file that was read.

    Attributes:
        path: Path of the file; None if there is none.
        values: Values that are set, by (section, key).
        warnings: Sentences for the user.
    """

    path: Path | None
    values: dict[tuple[str, str], Value]
    warnings: tuple[str, ...] = ()


def read_config_file(path: Path, *, required: bool) -> ConfigFile:
    """Return the checked content of ``path``.

    Args:
        path: An absolute path.
        required: Whether a missing file is an error.

    Raises:
        UsageError: It is missing though required, unreadable, not JSON, or has a wrong key or
            value.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if required:
            raise UsageError(NO_CONFIG_FILE.format(path=path)) from None
        return ConfigFile(path=None, values={})
    except OSError as exc:
        raise UsageError(
            f"Cannot read {path}: {exc.strerror}\nMake it a file that this user may read."
        ) from None
    return _checked(_decode(text, path), path)


def _decode(text: bytes, path: Path) -> dict[str, object]:
    try:
        if len(text) > MAX_BYTES:
            raise UsageError(f"{path} is over {MAX_BYTES} bytes\nIt is no config file.")
        document = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as exc:
        # Not exc.doc: it holds the credentials.
        raise UsageError(
            f"{path} is not valid JSON: {exc.msg} at line {exc.lineno} column {exc.colno}\n"
            "Compare it with aws_config_template.json."
        ) from None
    except (UnicodeDecodeError, RecursionError):
        raise UsageError(f"{path} is not JSON in UTF-8\nSave it as UTF-8 text.") from None
    except _DuplicateKeyError as exc:
        raise UsageError(f"{path} names {exc} twice\nRemove one of them.") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no JSON object\nCompare it with aws_config_template.json.")
    return document


class _DuplicateKeyError(Exception):
    pass


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKeyError(repr(next(key for key in keys if keys.count(key) > 1)))
    return found


def _checked(document: Mapping[str, object], path: Path) -> ConfigFile:
    _refuse_unknown(document, tuple(FILE_KEYS), prefix="", path=path)
    values: dict[tuple[str, str], Value] = {}
    for group, keys in FILE_KEYS.items():
        section = document.get(group, {})
        if not isinstance(section, dict):
            raise UsageError(f"{path}: {group} must be an object\nIts keys: {', '.join(keys)}.")
        _refuse_unknown(section, keys, prefix=f"{group}.", path=path)
        for row in (setting(group, key) for key in keys if key in section):
            values[group, row.name] = _value(section[row.name], row, path)
    values = {key: value for key, value in values.items() if value is not None}
    return ConfigFile(path=path, values=values, warnings=_drop_placeholders(values, path))


def _value(raw: object, row: Setting, path: Path) -> Value:
    where = f"{path}: {row.group}.{row.name}"
    if raw == "" and row.name in CREDENTIALS:
        return None
    if raw is None and row.default is None:
        return None
    if raw is None:
        raise UsageError(f"{where} is null\nAllowed: {row.allowed()}; or leave the key out.")
    # Strings are for the environment: a file has real booleans, and a quoted one is a slip.
    if row.type is bool and not isinstance(raw, bool):
        raise UsageError(f"{where} must be true or false without quotes\nCorrect the file.")
    return parse(raw, row, where=where)


def _refuse_unknown(
    found: Mapping[str, object], known: Sequence[str], *, prefix: str, path: Path
) -> None:
    unknown = [key for key in found if key not in known]
    if not unknown:
        return
    names = ", ".join(ascii(prefix + key) for key in unknown)
    near = difflib.get_close_matches(unknown[0].lower(), known, n=1)
    hint = f"Did you mean {prefix + near[0]!r}? " if near else ""
    plural = "keys" if len(unknown) > 1 else "key"
    raise UsageError(f"{path} has unknown {plural}: {names}\n{hint}Known: {', '.join(known)}.")


def _drop_placeholders(values: dict[tuple[str, str], Value], path: Path) -> tuple[str, ...]:
    left = [k for k, v in values.items() if isinstance(v, str) and v.startswith(PLACEHOLDER)]
    for key in left:
        del values[key]
    if not left:
        return ()
    names = ", ".join(".".join(key) for key in left)
    return (f"{path} still has the template's placeholder for {names}; it counts as not set",)
