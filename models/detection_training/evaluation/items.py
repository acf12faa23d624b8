"""What is measured: labelled media files from two folders or from a manifest."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_contract.media_types import kind_of_name
from detection_worker.errors import UsageError

LABELS: Final = {
    **dict.fromkeys(("real", "bonafide", "bona-fide", "genuine", "0"), False),
    **dict.fromkeys(("fake", "spoof", "synthetic", "1"), True),
}
"""Words for the classes in the usual data sets, and whether they mean fake."""
SEEN: Final = {
    **dict.fromkeys(("yes", "true", "1", "seen"), True),
    **dict.fromkeys(("no", "false", "0", "unseen"), False),
    "": None,
}
GROUP_COLUMNS: Final = ("group", "speaker", "photo", "video")
"""The first that is not empty tells which files are drawn together."""
COLUMNS: Final = ("path", "label", "family", "source", "codec", "split", "seen", *GROUP_COLUMNS)
MAX_MANIFEST_FIELD: Final = 4096
"""Longest path of Linux, PATH_MAX."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One labelled file.

    Attributes:
        path: Path of the file.
        name: How reports call it: its path below the folder or as in the manifest.
        fake: Truth.
        family: What made it (engine, vocoder, decoder); ``fake`` or ``real`` if not given.
        source: Where it comes from (package, camera, speaker set); ``fake`` or
            ``real`` if not given.
        group: Speaker, photograph or video; the name if not given.
        codec: As the manifest says; empty if it does not.
        seen: Whether the detector was trained on this family or source; None if not given.
    """

    path: Path
    name: str
    fake: bool
    family: str
    source: str
    group: str
    codec: str = ""
    seen: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Everything that is to be measured.

    Attributes:
        items: At least one; no path twice.
        origin: Where they come from, human-readable.
        grouped: Whether groups were given; else each file is its own.
    """

    items: tuple[Item, ...]
    origin: str
    grouped: bool


def from_folders(real: Path, fake: Path, *, group_by_folder: bool = False) -> Collection:
    """Return the media files below two folders.

    The first folder below ``real`` names the source, below ``fake`` the family.

    Args:
        real: Folder of real files.
        fake: Folder of fake files.
        group_by_folder: The folder that a file lies in is its speaker, photograph or video.

    Raises:
        UsageError: A folder is absent, holds no media, or both are the same or overlap.
    """
    sides = {real: False, fake: True}
    for folder in sides:
        if not folder.is_dir():
            raise UsageError(f"No such folder: {folder}\nGive a folder of media files.")
    one, other = real.resolve(), fake.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise UsageError(
            f"The folders overlap: {real} and {fake}\n"
            "Real and fake files must lie in folders of their own."
        )
    items = [
        _of_folder(path, folder, fake=is_fake, group_by_folder=group_by_folder)
        for folder, is_fake in sides.items()
        for path in _media_below(folder)
    ]
    return Collection(
        items=tuple(items), origin=f"folders {real} and {fake}", grouped=group_by_folder
    )


def _media_below(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    media = [p for p in files if kind_of_name(p.name)]
    if media:
        return media
    found = Counter(p.suffix.lower() or "(no extension)" for p in files)
    what = ", ".join(f"{n} {suffix}" for suffix, n in found.most_common(5)) or "it is empty"
    raise UsageError(
        f"No media files in {folder} ({what})\nGive a folder of images, videos or sounds."
    )


def _of_folder(path: Path, folder: Path, *, fake: bool, group_by_folder: bool) -> Item:
    below = path.relative_to(folder)
    side = "fake" if fake else "real"
    first = below.parts[0] if len(below.parts) > 1 else side
    name = f"{side}/{below}"
    return Item(
        path=path,
        name=name,
        fake=fake,
        family=first if fake else "real",
        source=side if fake else first,
        group=str(Path(name).parent) if group_by_folder else name,
    )


def from_manifest(file: Path, *, split: str | None = None) -> Collection:
    """Return the files that a CSV names.

    Columns: ``path`` (relative to the manifest) and ``label`` (real or fake); ``family``,
    ``source``, one of ``group``, ``speaker``, ``photo``, ``video``, ``codec``, ``split`` and
    ``seen`` (yes or no) may be absent or empty; others are ignored.

    Args:
        file: UTF-8, with a header line.
        split: Only rows of this split; None takes all.

    Raises:
        UsageError: It cannot be read, a row is wrong, or no row is left.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(_rows(csv.DictReader(stream), file))
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(
            f"Cannot read the manifest {file}: {reason}\nGive a CSV in UTF-8 with a header line."
        ) from exc
    splits = sorted({row["split"] for _, row in rows if row["split"]})
    chosen = [(line, row) for line, row in rows if split is None or row["split"] == split]
    if not chosen:
        known = f"Its splits are: {', '.join(splits)}." if splits else "It has no rows."
        raise UsageError(f"Nothing to measure in {file}\n{known}")
    items = [_of_row(row, file, line) for line, row in chosen]
    _refuse_twice(items, file)
    grouped = any(row[column] for _, row in chosen for column in GROUP_COLUMNS)
    origin = f"manifest {file}" + (f", split {split}" if split else "")
    return Collection(items=tuple(items), origin=origin, grouped=grouped)


def _rows(reader: "csv.DictReader[str]", file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    columns = [name.strip().lower() for name in reader.fieldnames or ()]
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise UsageError(
            f"The manifest {file} has no column {' and no column '.join(missing)}\n"
            f"Its first line must name the columns: {', '.join(COLUMNS)}."
        )
    reader.fieldnames = columns
    for row in reader:
        yield reader.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS}


def _of_row(row: Mapping[str, str], file: Path, line: int) -> Item:
    where = f"{file}, line {line}"
    label, seen = LABELS.get(row["label"].lower()), row["seen"].lower()
    if not row["path"] or len(row["path"]) > MAX_MANIFEST_FIELD:
        raise UsageError(f"{where}: no usable path\nEvery row needs the path of a media file.")
    if label is None:
        raise UsageError(f"{where}: label {row['label']!r}\nUse one of: {', '.join(LABELS)}.")
    if seen not in SEEN:
        raise UsageError(f"{where}: seen {row['seen']!r}\nUse yes or no, or leave it empty.")
    side = "fake" if label else "real"
    return Item(
        path=file.parent / row["path"],
        name=row["path"],
        fake=label,
        family=row["family"] or side,
        source=row["source"] or side,
        group=next((f"{c}:{row[c]}" for c in GROUP_COLUMNS if row[c]), row["path"]),
        codec=row["codec"],
        seen=SEEN[seen],
    )


def _refuse_twice(items: Iterable[Item], file: Path) -> None:
    labels: dict[Path, bool] = {}
    for item in items:
        if item.path in labels:
            how = "once" if labels[item.path] == item.fake else "as real and as fake"
            raise UsageError(
                f"{file} names {item.name} {'twice' if how == 'once' else how}\n"
                "Each file may be in the manifest once."
            )
        labels[item.path] = item.fake
