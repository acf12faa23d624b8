"""Sources of objects: a prefix, a CSV or JSON Lines manifest, an S3 Inventory."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final, Protocol

from detection_contract.aws.s3_urls import InvalidS3Url, object_location, s3_uri
from detection_worker.batch.files import Files, Listing, unpacked
from detection_worker.batch.rows import BadRow, RowReader, column, columns_of, positional
from detection_worker.core.batch.objects import StoredObject
from detection_worker.errors import UsageError

Position = str | int
"""Where an object stands in its source: its key in a prefix, its row in a manifest."""
KINDS: Final = ".csv, .jsonl, .ndjson (each also .gz) and manifest.json of S3 Inventory"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that names no object.

    Attributes:
        where: File and row.
        why: What is wrong with it.
    """

    where: str
    why: str


class Source(Protocol):
    """Objects in an order that stays the same."""

    @property
    def identity(self) -> str:
        """The same only for the same objects in the same order, as far as can be said."""
        ...

    def items(
        self, after: Position | None
    ) -> Iterator[tuple[Position, StoredObject | Unreadable]]:
        """Yield the objects behind a position, each with its own; None is the start.

        Raises:
            UsageError: The manifest cannot be read.
            JobError: S3 failed.
        """
        ...


class PrefixSource:
    """The objects below a prefix.

    Args:
        listing: S3 client.
        bucket: Bucket name.
        prefix: What every key begins with.
    """

    def __init__(self, listing: Listing, bucket: str, prefix: str) -> None:
        self._listing, self._bucket, self._prefix = listing, bucket, prefix
        self.identity = f"s3://{bucket}/{prefix}"

    def items(
        self, after: Position | None
    ) -> Iterator[tuple[Position, StoredObject | Unreadable]]:
        """Yield objects in the order of their keys."""
        start = None if after is None else str(after)
        for item in self._listing().objects(self._bucket, self._prefix, after=start):
            yield item.key, item


class ManifestSource:
    """The objects that a file lists.

    Args:
        files: Opens it.
        name: Path or ``s3://`` URL; its ending tells the format.
        reader: Makes objects of rows.

    Raises:
        UsageError: The ending is none of ``KINDS``, or the file cannot be read.
    """

    def __init__(self, files: Files, name: str, reader: RowReader) -> None:
        self._files, self._name, self._reader = files, name, reader
        self._suffix = Path(name.lower().removesuffix(".gz")).suffix
        if self._suffix not in (".csv", ".jsonl", ".ndjson", ".json"):
            raise UsageError(f"Not a manifest by its name: {name}\nKnown are {KINDS}.")
        self.identity = f"{files.digest(name)} {reader.bucket} {reader.encoded}"

    def items(
        self, after: Position | None
    ) -> Iterator[tuple[Position, StoredObject | Unreadable]]:
        """Yield objects in the order of the rows."""
        done = 0 if after is None else int(after)
        reader = RowReader(
            bucket=self._reader.bucket,
            encoded=self._reader.encoded or self._suffix == ".json",
            endpoint_hosts=self._reader.endpoint_hosts,
        )
        for number, (where, row) in enumerate(self._rows(), start=1):
            if number <= done:
                continue
            yield number, _item(reader, where, row)

    def _rows(self) -> Iterator[tuple[str, Mapping[str, str] | BadRow]]:
        with self._files.opened(self._name) as file:
            if self._suffix == ".json":
                inventory = read_inventory(file, self._name)
                yield from _inventory_rows(self._files, inventory)
                return
            with unpacked(file, self._name) as content:
                yield from (csv_rows if self._suffix == ".csv" else jsonl_rows)(
                    content, self._name
                )


def _item(
    reader: RowReader, where: str, row: Mapping[str, str] | BadRow
) -> StoredObject | Unreadable:
    try:
        if isinstance(row, BadRow):
            raise row
        return reader.object_of(row)
    except BadRow as bad:
        return Unreadable(where, str(bad))


def csv_rows(
    content: BufferedReader, name: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, Mapping[str, str] | BadRow]]:
    """Yield each row of CSV by its columns' names, with its place; empty lines are none.

    Args:
        content: UTF-8 text.
        name: File name, for places.
        columns: Names of the columns; None takes them from the first row, or bucket, key and
            version where that is no header.
    """
    text = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _csv_rows(text, name, columns)
    finally:
        text.detach()  # the caller closes the file


def _csv_rows(
    text: io.TextIOWrapper, name: str, columns: Sequence[str] | None
) -> Iterator[tuple[str, Mapping[str, str] | BadRow]]:
    rows, first = csv.reader(text, strict=True), columns is None  # an open quote is damage
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as exc:
            yield f"{name}, line {rows.line_num}", BadRow(str(exc))
            continue
        if first and cells:
            first, columns = False, columns_of(cells)
            if columns is not None:
                continue
        if cells:
            row = positional(cells) if columns is None else dict(zip(columns, cells, strict=False))
            yield f"{name}, line {rows.line_num}", row


def jsonl_rows(
    content: BufferedReader, name: str
) -> Iterator[tuple[str, Mapping[str, str] | BadRow]]:
    """Yield each line of JSON Lines as for ``csv_rows``: an object, or a URL as a string."""
    for number, line in enumerate(content, start=1):
        if line.strip():
            yield f"{name}, line {number}", _json_row(line)


def _json_row(line: bytes) -> Mapping[str, str] | BadRow:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return BadRow("it is not JSON")
    if isinstance(value, str):
        return {"url": value}
    if not isinstance(value, dict):
        return BadRow("it is no object")
    return {column(n): _text(v) for n, v in value.items() if v is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """An S3 Inventory.

    Attributes:
        folder: Folder of a local manifest.json; None if it lies in S3.
        bucket: Bucket of its files.
        columns: Names of the columns.
        files: Key and MD5 (hex, may be empty) of each file.
    """

    folder: Path | None
    bucket: str
    columns: Sequence[str]
    files: Sequence[tuple[str, str]]

    def path_of(self, key: str) -> str:
        """Return where one of its files is: beside a local manifest.json, else in S3."""
        name = key.rpartition("/")[2]
        if self.folder is not None:
            for folder in (self.folder, self.folder / "data", self.folder.parent / "data"):
                if (folder / name).is_file():
                    return str(folder / name)
        return s3_uri(object_location(bucket=self.bucket, key=key))


def read_inventory(file: BufferedReader, name: str) -> Inventory:
    """Return what a manifest.json of S3 Inventory says.

    Raises:
        UsageError: It is none, or its files are not CSV.
    """
    try:
        document = json.load(file)
        if document["fileFormat"] != "CSV":
            raise UsageError(
                f"The inventory {name} has the format {document['fileFormat']}\n"
                "Configure the inventory with the format CSV."
            )
        found = Inventory(
            folder=None if "://" in name else Path(name).resolve().parent,
            bucket=str(document["destinationBucket"]).rpartition(":")[2],
            columns=[column(part) for part in str(document["fileSchema"]).split(",")],
            files=[(str(f["key"]), str(f.get("MD5checksum", ""))) for f in document["files"]],
        )
        for key, _ in found.files:
            found.path_of(key)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidS3Url) as exc:
        raise UsageError(
            f"Not a manifest.json of S3 Inventory: {name}\nKnown are {KINDS}."
        ) from exc
    return found


def _inventory_rows(
    files: Files, inventory: Inventory
) -> Iterator[tuple[str, Mapping[str, str] | BadRow]]:
    for key, md5 in inventory.files:
        path = inventory.path_of(key)
        with files.opened(path) as file:
            if md5 and hashlib.file_digest(file, _md5).hexdigest() != md5.lower():
                raise UsageError(
                    f"The file {path} is not the one that the inventory lists (MD5)\n"
                    "Download it again."
                )
            file.seek(0)
            with unpacked(file, path) as content:
                yield from csv_rows(content, path, inventory.columns)


def _md5() -> "hashlib._Hash":
    # What S3 Inventory gives; it guards against damage, not against forgery.
    return hashlib.md5(usedforsecurity=False)
