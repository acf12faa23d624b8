"""Results written as they come, so that an interrupted run keeps those that are done."""

import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from detection_contract.results import encode_result
from detection_contract.user_messages import counted
from detection_worker.cli.files import PUBLIC
from detection_worker.errors import UsageError
from detection_worker.report.envelope import child
from detection_worker.report.texts import printable

FORMATS: Final = ("json", "jsonl", "csv")
STDOUT: Final = "-"
_BY_SUFFIX: Final = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_FORMULA_STARTS: Final = ("=", "+", "-", "@")
"""Spreadsheets read a cell that begins with one of these as a formula."""
CSV_COLUMNS: Final = (
    "file_path",
    "file_type",
    "verdict",
    "reason",
    "label",
    "confidence",
    "prediction_score",
    "threshold",
    "model",
    "model_version",
    "model_grade",
    "duration_s",
    "width",
    "height",
    "sha256",
    "status",
    "error_code",
    "error",
    "request_id",
    "processed_at",
    "declares",
    "declared_signed",
    "generator",
    "c2pa",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The bytes around results in a file.

    Attributes:
        head: Bytes before the first result.
        between: Bytes between two results.
        tail: Bytes after the last result, which complete the file.
        empty: The whole file if there is no result.
        record: Encodes one result.
    """

    head: bytes
    between: bytes
    tail: bytes
    empty: bytes
    record: Callable[[Mapping[str, object]], bytes]


def format_of(chosen: str | None, output: str | None) -> str:
    """Return the chosen format, or the one of the output's extension.

    Raises:
        UsageError: Its extension is that of Parquet, which only stored results are written to.
    """
    suffix = Path(output).suffix.lower() if output else ""
    if chosen is None and suffix == ".parquet":
        raise UsageError(
            f"predict writes no Parquet: {output}\n"
            "Name a file that ends with .csv, .jsonl or .json. The command results writes stored "
            "results to Parquet."
        )
    return chosen or _BY_SUFFIX.get(suffix, "json")


def layout(form: str, *, several: bool) -> Layout:
    """Return the layout of a format of ``FORMATS``.

    Args:
        form: ``json`` is one object, or a list if there are ``several`` inputs; ``jsonl`` one
            object on each line; ``csv`` a line of ``CSV_COLUMNS``, then one for each result.
        several: Whether there are several inputs.
    """
    if form == "csv":
        head = _csv_line(CSV_COLUMNS)
        return Layout(head=head, between=b"", tail=b"", empty=head, record=csv_record)
    if form == "jsonl":
        return Layout(head=b"", between=b"\n", tail=b"\n", empty=b"", record=encode_result)
    if several:
        return Layout(head=b"[\n", between=b",\n", tail=b"\n]\n", empty=b"[]\n", record=_json_item)
    return Layout(head=b"", between=b"", tail=b"\n", empty=b"", record=_json)


class Sink(Protocol):
    """A destination of results."""

    @property
    def written(self) -> int:
        """Number of results written."""
        ...

    def write(self, result: Mapping[str, object]) -> None:
        """Write one result.

        Raises:
            UsageError: It cannot be written; the results before it are kept.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Nowhere:
    """Discards results, because no output was requested."""

    written = 0

    def write(self, result: Mapping[str, object]) -> None:
        """Write nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class StreamSink:
    """Results to standard output, a pipe or a device, which cannot be rewritten."""

    def __init__(self, how: Layout, *, path: Path | None = None) -> None:
        """Open it; None is standard output."""
        self._how = how
        self._path = path
        self._file = None if path is None else path.open("wb", buffering=0)
        self.written = 0

    def write(self, result: Mapping[str, object]) -> None:
        """Write one result."""
        lead = self._how.between if self.written else self._how.head
        self._put(lead + self._how.record(result))
        self.written += 1

    def _put(self, data: bytes) -> None:
        try:
            # UTF-8 in any locale: JSON allows no other encoding.
            file = self._file or sys.stdout.buffer
            file.write(data)
            file.flush()
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise cannot_write(self._path or "standard output", exc, self.written) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not isinstance(exc, BrokenPipeError | UsageError):
                self._put(self._how.tail if self.written else self._how.empty)
        finally:
            if self._file is not None:
                self._file.close()


class FileSink:
    """Results to a file that is complete after each of them, even if the process is killed.

    The first result replaces the file of an earlier run; until then that file stays.

    Args:
        path: File to write, in a folder that exists.
        how: Layout of the file.
    """

    def __init__(self, path: Path, how: Layout) -> None:
        self._path = path.resolve()  # a link stays a link
        self._how = how
        self._end = 0
        self._temporary: Path | None = None
        self.written = 0
        try:
            self._handle, name = tempfile.mkstemp(
                prefix=f".{self._path.name[:100]}.", dir=self._path.parent
            )
            self._temporary = Path(name)
            os.fchmod(self._handle, PUBLIC)
        except OSError as exc:
            raise cannot_write(self._path, exc) from exc

    def write(self, result: Mapping[str, object]) -> None:
        """Append one result."""
        lead = self._how.between if self.written else self._how.head
        record = lead + self._how.record(result)
        try:
            _write_at(self._handle, record + self._how.tail, self._end)
            if self._temporary is not None:
                self._temporary.replace(self._path)
                self._temporary = None
        except OSError as exc:
            self._undo()
            raise cannot_write(self._path, exc, self.written) from exc
        self._end += len(record)
        self.written += 1

    def _undo(self) -> None:
        """Remove a partial result, so that the file is complete again."""
        with suppress(OSError):
            if self.written:
                _write_at(self._handle, self._how.tail, self._end)
            os.ftruncate(self._handle, self._end + len(self._how.tail))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            os.fsync(self._handle)
        os.close(self._handle)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


def open_sink(output: str | None, how: Layout) -> Sink:
    """Return the destination of results.

    Args:
        output: A path, ``-`` for standard output, or None for no output.
        how: Layout of the file.

    Raises:
        UsageError: The file cannot be written there.
    """
    if output is None:
        return Nowhere()
    if output == STDOUT:
        return StreamSink(how)
    path = Path(output)
    if path.exists() and not path.is_file():
        return StreamSink(how, path=path)
    return FileSink(path, how)


def csv_record(result: Mapping[str, object]) -> bytes:
    """Return a result as a line of ``CSV_COLUMNS``.

    Text is printable, and a ``'`` precedes text that a spreadsheet would read as a formula.
    """
    return _csv_line(list(column_values(result).values()))


def column_values(result: Mapping[str, object]) -> dict[str, object]:
    """Return the values of ``CSV_COLUMNS``, by name and in their order."""
    model, media = child(result, "model"), child(result, "media")
    error, reason = child(result, "error"), child(result, "verdict_reason")
    provenance = child(result, "provenance")  # results of old versions have none
    other = {
        "reason": reason.get("code"),
        "model": model.get("name"),
        "model_version": model.get("version"),
        "model_grade": model.get("grade"),
        "error_code": error.get("code"),
        "error": error.get("message"),
        "declares": provenance.get("declares"),
        "declared_signed": provenance.get("signed") if provenance.get("declares") else None,
        "generator": provenance.get("generator"),
        "c2pa": child(provenance, "c2pa").get("state"),
        **{name: media.get(name) for name in ("duration_s", "width", "height", "sha256")},
    }
    return {name: other[name] if name in other else result[name] for name in CSV_COLUMNS}


def _csv_line(values: object) -> bytes:
    assert isinstance(values, list | tuple)  # noqa: S101 - a row
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([_cell(value) for value in values])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text


def _json(result: Mapping[str, object]) -> bytes:
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    # File names that are not UTF-8 contain lone surrogates; JSON can escape them.
    return text.encode("utf-8", "backslashreplace")


def _json_item(result: Mapping[str, object]) -> bytes:
    return b"  " + _json(result).replace(b"\n", b"\n  ")


def _write_at(handle: int, data: bytes, offset: int) -> None:
    while data:
        count = os.pwrite(handle, data, offset)
        data, offset = data[count:], offset + count


def cannot_write(where: Path | str, exc: OSError, written: int = 0) -> UsageError:
    """Return the error of an output that takes nothing; ``written`` results are kept there."""
    kept = counted(written, "result before it is", "results before it are") + " kept there"
    kept = f"The {kept}. " if written else ""
    return UsageError(
        f"Cannot write {printable(str(where))}: {exc.strerror or exc}\n{kept}"
        "Choose a place with room that you may write to."
    )
