"""Atomic writing of small files."""

import json
import os
import tempfile
from pathlib import Path
from typing import Final

from detection_worker.errors import UsageError

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


def write_json(path: Path, document: object, *, mode: int) -> None:
    """Write ``document`` to ``path`` atomically: a crash leaves the old file or the new one.

    Args:
        path: File to write; replaced if it exists.
        document: Any value that JSON can represent.
        mode: Permission bits, set before the first byte is written.

    Raises:
        UsageError: The file cannot be written there.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text, mode=mode)


def write_text(path: Path, text: str, *, mode: int) -> None:
    """Write ``text`` to ``path`` atomically, as ``write_json`` does.

    Args:
        path: File to write; replaced if it exists.
        text: Its content.
        mode: Permission bits.

    Raises:
        UsageError: The file cannot be written there.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            # File names that are not UTF-8 contain lone surrogates; JSON can escape them.
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise UsageError(
            f"Cannot write {path}: {exc.strerror}\nChoose a folder that you may write to."
        ) from exc


def check_writable(path: Path) -> None:
    """Check before the work starts that ``write_json`` will be able to write.

    Raises:
        UsageError: ``path`` is a folder, or its folder does not exist or may not be written to.
    """
    if path.is_dir():
        raise UsageError(f"Cannot write {path}: it is a folder\nName a file in it.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"Cannot write {path}: no such folder, or no permission\nMake the folder first."
        )
