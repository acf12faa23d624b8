"""Inputs of ``predict``: files, folders and lists, and the files that are skipped."""

import codecs
import os
import stat
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from detection_contract.media_types import kind_of_name
from detection_contract.user_messages import counted
from detection_worker.cli.terminal import shown
from detection_worker.errors import JobError, UsageError

STDIN: Final = "-"
SHOWN_SKIPPED: Final = 5
_NO_FILES: Final = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(slots=True)
class Found:
    """Inputs to analyse, and files that are skipped.

    Attributes:
        names: Paths, S3 URLs and S3 prefixes, in order.
        skipped: Skipped files in folders, each with the reason.
        below: Media objects of the prefixes; they are listed again when they are analysed.
        skipped_objects: Other objects of the prefixes, by reason.
    """

    names: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    below: dict[str, int] = field(default_factory=dict)
    skipped_objects: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Number of files and objects."""
        return sum(self.below.get(name, 1) for name in self.names)


def listed(source: str) -> list[str]:
    """Return the paths and URLs that a file names, one on each line.

    Args:
        source: Path of the list, ``-`` for standard input. Names end with a zero byte instead of
            a line feed where there is one, as ``find -print0`` writes them.

    Raises:
        UsageError: The list cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except OSError as exc:
        raise UsageError(
            f"Cannot read {shown(source)}: {exc.strerror}\nName a list of paths and URLs, or -."
        ) from exc
    data = data.removeprefix(codecs.BOM_UTF8)  # Windows editors write it
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(name) for name in names if name.strip()]


def expand(named: Sequence[str], *, leave_out: Collection[Path] = ()) -> Found:
    """Return the files that are named, and in place of a folder the media files below it.

    A file of a folder counts as media by its extension or, where that is unknown, by its first
    bytes. Links to folders are not followed, so that no loop is endless.

    Args:
        named: Paths and URLs as the user wrote them; only folders are expanded.
        leave_out: Files to ignore silently: those that this run writes.

    Raises:
        UsageError: A folder has no media file.
    """
    found = Found()
    ours = {os.path.realpath(path) for path in leave_out}
    for text in named:
        path = os.path.expanduser(text)  # noqa: PTH111 - leaves an unknown ~name as it is
        if "://" in text or not os.path.isdir(path):  # noqa: PTH112 - no error for long names
            found.names.append(text)
            continue
        below = _below(path, ours)
        if not below.names:
            others = f" ({counted(len(below.skipped), 'file')} skipped)" if below.skipped else ""
            raise UsageError(f"No media files in {shown(path)}{others}\nName another folder.")
        found.names += below.names
        found.skipped += below.skipped
    return found


def skipped_line(skipped: Sequence[tuple[str, str]], *, all_of_them: bool) -> str:
    """Return the skipped files with their reasons: the first few, or all."""
    first = skipped if all_of_them else skipped[:SHOWN_SKIPPED]
    lines = [
        f"Skipped {counted(len(skipped), 'file')}:",
        *(f"  {shown(n)}: {why}" for n, why in first),
    ]
    if len(first) < len(skipped):
        lines.append(f"  and {len(skipped) - len(first)} more; --verbose lists all")
    return "\n".join(lines)


def _below(folder: str, ours: Collection[str]) -> Found:
    found = Found()

    def unreadable(exc: OSError) -> None:
        found.skipped.append((str(exc.filename), str(exc.strerror)))

    for where, folders, files in os.walk(folder, onerror=unreadable):
        links = [n for n in folders if os.path.islink(os.path.join(where, n))]  # noqa: PTH114, PTH118
        found.skipped += [(os.path.join(where, n), "a link to a folder") for n in links]  # noqa: PTH118
        for name in files:
            _sort(os.path.join(where, name), found, ours)  # noqa: PTH118 - keeps a leading ./
    found.names.sort()
    found.skipped.sort()
    return found


def _sort(path: str, found: Found, ours: Collection[str]) -> None:
    if ours and os.path.realpath(path) in ours:
        return
    if why := _why_not(path):
        found.skipped.append((path, why))
    else:
        found.names.append(path)


def _why_not(path: str) -> str:
    """Return why a file of a folder is not analysed; empty if it is."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - ten thousand files are looked at
    except OSError as exc:
        return f"cannot be opened ({exc.strerror})"
    if not stat.S_ISREG(mode):
        return _NO_FILES.get(stat.S_IFMT(mode), "no regular file")
    return "" if kind_of_name(path) else _by_content(path)


def _by_content(path: str) -> str:
    from detection_worker.media.containers.sniff import sniff  # noqa: PLC0415 - out of --help

    try:
        with open(path, "rb") as file:  # noqa: PTH123 - no error for long names
            sniff(file)
    except JobError as exc:
        return exc.message.removeprefix("the content is ").partition(",")[0]
    except OSError as exc:
        return f"cannot be opened ({exc.strerror})"
    return ""
