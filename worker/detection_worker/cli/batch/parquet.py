"""Results as a Parquet file; imported when one is asked for."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, Final, Self

from detection_worker.cli.files import PUBLIC
from detection_worker.cli.predict.results_file import CSV_COLUMNS, cannot_write, column_values
from detection_worker.errors import UsageError

ROWS: Final = 10_000
"""Rows of a row group; some megabytes in memory."""
_NUMBERS: Final = ("confidence", "prediction_score", "threshold", "duration_s")
_WHOLE: Final = ("width", "height")
_TIMES: Final = ("processed_at",)
_FLAGS: Final = ("declared_signed",)


class ParquetSink:
    """Results to a Parquet file, which is there once the last is written.

    Args:
        path: File to write; replaced at the end.

    Raises:
        UsageError: pyarrow is not installed, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - optional
            import pyarrow.parquet as pq  # noqa: PLC0415 - optional
        except ModuleNotFoundError as exc:
            raise UsageError(
                "Parquet needs the package pyarrow, which is not installed\n"
                "Install it with: pip install 'detection-queue[parquet]'"
            ) from exc
        self._pa: Any = pa
        self._path = path.resolve()
        self._rows: list[dict[str, object]] = []
        self._schema = pa.schema([(name, _type(pa, name)) for name in CSV_COLUMNS])
        self.written = 0
        try:
            with NamedTemporaryFile(
                prefix=f".{path.name[:100]}.", dir=self._path.parent, delete=False
            ) as file:
                self._temporary = Path(file.name)
            self._writer: Any = pq.ParquetWriter(self._temporary, self._schema)
        except OSError as exc:
            raise cannot_write(self._path, exc) from exc

    def write(self, result: Mapping[str, object]) -> None:
        """Add one result.

        Raises:
            UsageError: The file cannot be written.
        """
        self._rows.append({name: _value(name, v) for name, v in column_values(result).items()})
        self.written += 1
        if len(self._rows) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        try:
            self._writer.write_table(self._pa.Table.from_pylist(rows, schema=self._schema))
        except OSError as exc:
            raise cannot_write(self._path, exc) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if exc is None and self._rows:
                self._flush()
            self._writer.close()
            if exc is None:
                self._temporary.chmod(PUBLIC)
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _type(pa: Any, name: str) -> Any:
    if name in _NUMBERS:
        return pa.float64()
    if name in _WHOLE:
        return pa.int32()
    if name in _FLAGS:
        return pa.bool_()
    return pa.timestamp("ms", tz="UTC") if name in _TIMES else pa.string()


def _value(name: str, value: object) -> object:
    """Return a value of the column's type; one of another type is null."""
    if name in _NUMBERS or name in _WHOLE:
        return value if isinstance(value, int | float) else None
    if name in _FLAGS:
        return value if isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    if name in _TIMES:
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    # File names that are not UTF-8 have lone surrogates, which Arrow's text cannot hold.
    return value.encode("utf-8", "backslashreplace").decode()
