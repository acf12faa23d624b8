"""Scored files and the CSV that keeps them, so that tables can be made again without scoring."""

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar

from detection_contract.media_types import MediaKind
from detection_training.evaluation.features import FEATURES
from detection_training.evaluation.items import Item
from detection_worker.errors import UsageError

K = TypeVar("K")
AS_IS: Final = "as is"
"""Name of the treatment that leaves a file alone."""
FEATURE_COLUMNS: Final = tuple(dict.fromkeys(name for of in FEATURES.values() for name in of))
NOT_APPLICABLE: Final = "not applicable"
"""Start of the problem of a file that can be read but that the detector is not for."""
COLUMNS: Final = (
    "path",
    "label",
    "kind",
    "treatment",
    "score",
    "problem",
    "family",
    "source",
    "group",
    "codec",
    "seen",
    "found_codec",
    *FEATURE_COLUMNS,
    "model",
    "version",
    "sha256",
    "grade",
)
SEEN_WORDS: Final = {True: "yes", False: "no", None: ""}
LABEL_WORDS: Final = {True: "fake", False: "real"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Who gave a score.

    Attributes:
        name: Folder name.
        version: Version of the weights.
        sha256: Digest of the weights, lower-case hex.
        grade: As in the manifest.
    """

    name: str
    version: str
    sha256: str
    grade: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file under one treatment.

    Attributes:
        item: The file and its truth.
        treatment: What was done to it before scoring; ``AS_IS`` for nothing.
        kind: By content; None if that is not known.
        score: Calibrated P(fake), 0 to 1; None if there is none.
        problem: Why there is no score; empty if there is one.
        found_codec: Container and codec, by content.
        features: See ``evaluation_features``; empty if unknown.
        model: Model that scored; None if none did.
        icon: A small picture as JPEG, of a misjudged file that was scored just now.
    """

    item: Item
    treatment: str = AS_IS
    kind: MediaKind | None = None
    score: float | None = None
    problem: str = ""
    found_codec: str = ""
    features: Mapping[str, float]
    model: Model | None = None
    icon: bytes | None = None

    def misjudged(self, threshold: float) -> bool:
        """Return whether the label at this threshold is wrong."""
        return self.score is not None and (self.score >= threshold) != self.item.fake


class RowWriter:
    """Writes rows as they come, so that an interrupted run keeps what it has.

    Args:
        file: Replaced if it exists.
    """

    def __init__(self, file: Path) -> None:
        self._path = file

    def __enter__(self) -> Self:
        """Open the file and write the header.

        Raises:
            UsageError: It cannot be written.
        """
        try:
            # Names that are not UTF-8 come back as they were.
            self._file: IO[str] = self._path.open(
                "w", newline="", encoding="utf-8", errors="surrogateescape"
            )
        except OSError as exc:
            raise _cannot("write", self._path, exc) from exc
        self._csv = csv.DictWriter(self._file, COLUMNS)
        self._csv.writeheader()
        return self

    def write(self, row: Row) -> None:
        """Add a row; it is in the file when this returns.

        Raises:
            UsageError: The disk is full.
        """
        try:
            self._csv.writerow(_as_words(row))
            self._file.flush()
        except OSError as exc:
            raise _cannot("write", self._path, exc) from exc

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file; every row is in it already."""
        with suppress(OSError):
            self._file.close()


def _as_words(row: Row) -> dict[str, object]:
    item, model = row.item, row.model
    return {
        "path": item.name,
        "label": LABEL_WORDS[item.fake],
        "kind": row.kind or "",
        "treatment": row.treatment,
        "score": "" if row.score is None else repr(row.score),
        "problem": row.problem,
        "family": item.family,
        "source": item.source,
        "group": item.group,
        "codec": item.codec,
        "seen": SEEN_WORDS[item.seen],
        "found_codec": row.found_codec,
        **{name: f"{value:.6g}" for name, value in row.features.items()},
        "model": model.name if model else "",
        "version": model.version if model else "",
        "sha256": model.sha256 if model else "",
        "grade": model.grade if model else "",
    }


def read_rows(file: Path) -> list[Row]:
    """Return the rows that ``RowWriter`` wrote.

    Raises:
        UsageError: It cannot be read or a row is wrong.
    """
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = list(_parsed(csv.DictReader(stream), file))
    except (OSError, csv.Error) as exc:
        raise _cannot("read", file, exc) from exc
    if not rows:
        raise UsageError(f"No scores in {file}\nScore files first: evaluate --report DIR …")
    return rows


def _parsed(reader: "csv.DictReader[str]", file: Path) -> Iterator[Row]:
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            f"{file} has no column {missing[0]!r}\nGive a scores.csv that evaluate wrote."
        )
    for words in reader:
        try:
            yield _row({name: words[name] or "" for name in COLUMNS}, file)
        except (ValueError, KeyError) as exc:
            raise UsageError(
                f"{file}, line {reader.line_num}: {exc}\nGive a scores.csv that evaluate wrote."
            ) from exc


def _row(words: Mapping[str, str], file: Path) -> Row:
    score, problem = _score(words)
    named = words["model"]
    return Row(
        item=Item(
            path=file.parent / words["path"],
            name=words["path"],
            fake=_key_of(LABEL_WORDS, words["label"]),
            family=words["family"],
            source=words["source"],
            group=words["group"],
            codec=words["codec"],
            seen=_key_of(SEEN_WORDS, words["seen"]),
        ),
        treatment=words["treatment"],
        kind=MediaKind(words["kind"]) if words["kind"] else None,
        score=score,
        problem=problem,
        found_codec=words["found_codec"],
        features={n: float(words[n]) for n in FEATURE_COLUMNS if words[n]},
        model=Model(**{"name": named, **{n: words[n] for n in ("version", "sha256", "grade")}})
        if named
        else None,
    )


def _score(words: Mapping[str, str]) -> tuple[float | None, str]:
    if not words["score"]:
        return None, words["problem"] or "no score"
    score = float(words["score"])
    if not math.isfinite(score):
        return None, "the score is not finite"
    if not 0 <= score <= 1:
        raise ValueError(f"score {score} is not in 0 to 1")
    return score, ""


def _key_of(words: Mapping[K, str], word: str) -> K:
    for key, known in words.items():
        if known == word:
            return key
    raise ValueError(f"{word!r} is none of {', '.join(map(repr, words.values()))}")


def _cannot(what: str, file: Path, exc: Exception) -> UsageError:
    reason = exc.strerror if isinstance(exc, OSError) else exc
    return UsageError(f"Cannot {what} {file}: {reason}\nChoose a file that you may {what}.")
