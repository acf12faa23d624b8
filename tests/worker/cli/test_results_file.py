"""Results that are kept as they come: whole after each one, whatever happens next."""

import csv
import io
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.results import failed_result
from detection_worker.cli.predict.results_file import (
    CSV_COLUMNS,
    FORMATS,
    FileSink,
    Nowhere,
    StreamSink,
    format_of,
    layout,
    open_sink,
)
from detection_worker.errors import UsageError


def result(name: str, message: str = "no") -> dict[str, object]:
    made = failed_result(
        request_id="r",
        processed_at=datetime(2026, 1, 1, tzinfo=UTC),
        code=ErrorCode.UNDECODABLE,
        message=message,
        file_path=name,
        is_s3_file=False,
    )
    return dict(made)


def read(path: Path, form: str) -> list[Any]:
    """Return the results in a file, which must be complete for any reader."""
    text = path.read_bytes().decode()
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    if form == "jsonl":
        assert text.endswith("\n")
        return [json.loads(line) for line in text.split("\n")[:-1]]
    loaded = json.loads(text)
    assert isinstance(loaded, list)
    return loaded


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_whole_after_every_result(tmp_path: Path, form: str) -> None:
    path = tmp_path / "out"
    names = ["a.png", "b" * 5000 + ".png", "c.png"]

    with FileSink(path, layout(form, several=True)) as sink:
        for number, name in enumerate(names, 1):
            sink.write(result(name))
            assert [r["file_path"] for r in read(path, form)] == names[:number]

    assert [r["file_path"] for r in read(path, form)] == names
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_one_input_gives_one_object(tmp_path: Path) -> None:
    with FileSink(tmp_path / "out", layout("json", several=False)) as sink:
        sink.write(result("a.png"))

    assert json.loads((tmp_path / "out").read_text()) == result("a.png")


@pytest.mark.parametrize("form", FORMATS)
def test_an_earlier_file_stays_until_there_is_a_result(tmp_path: Path, form: str) -> None:
    path = tmp_path / "out"
    path.write_text("earlier")

    with FileSink(path, layout(form, several=True)) as sink:
        assert path.read_text() == "earlier"
    assert path.read_text() == "earlier"
    with FileSink(path, layout(form, several=True)) as sink:
        sink.write(result("a.png"))

    assert len(read(path, form)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real").write_text("old")

    with FileSink(tmp_path / "link", layout("jsonl", several=True)) as sink:
        sink.write(result("a.png"))

    assert (tmp_path / "link").is_symlink()
    assert len(read(tmp_path / "real", "jsonl")) == 1


def write_many(sink: FileSink) -> None:
    for number in range(100):
        sink.write(result(f"{number}.png", "x" * 300))


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 4 KiB, as on a disk that is full.

    Only while a test writes: the limit holds for every file of this process, pytest's log too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_keeps_what_was_whole(tmp_path: Path, form: str) -> None:
    path = tmp_path / "out"

    sink = FileSink(path, layout(form, several=True))
    told = r"Cannot write .*\nThe [1-9][0-9]* results before it are kept"

    with full_disk(), sink, pytest.raises(UsageError, match=told):
        write_many(sink)

    kept = read(path, form)
    assert [r["file_path"] for r in kept] == [f"{n}.png" for n in range(len(kept))]
    assert len(kept) == sink.written > 0


def test_a_disk_that_takes_no_result_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("earlier")

    with (
        full_disk(),
        pytest.raises(UsageError, match="Cannot write"),
        FileSink(path, layout("json", several=True)) as sink,
    ):
        sink.write(result("a.png", "x" * 9000))

    assert path.read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_device_is_written_to_and_not_replaced() -> None:
    sink = open_sink("/dev/null", layout("json", several=True))

    with sink:
        sink.write(result("a.png"))

    assert isinstance(sink, StreamSink)
    assert Path("/dev/null").is_char_device()
    with (
        pytest.raises(UsageError, match="Cannot write /dev/full: No space left"),
        open_sink("/dev/full", layout("json", several=True)) as full,
    ):
        full.write(result("a.png"))


def test_without_an_output_nothing_is_written() -> None:
    assert isinstance(open_sink(None, layout("json", several=True)), Nowhere)


@pytest.mark.parametrize(
    ("form", "several", "text"),
    [
        ("json", True, "[]\n"),
        ("jsonl", True, ""),
        ("csv", True, ",".join(CSV_COLUMNS) + "\n"),
    ],
)
def test_standard_output_is_whole_without_a_result_too(
    capsysbinary: pytest.CaptureFixture[bytes],
    form: str,
    several: bool,  # noqa: FBT001 - a column of the table
    text: str,
) -> None:
    with StreamSink(layout(form, several=several)):
        pass

    assert capsysbinary.readouterr().out.decode() == text


@pytest.mark.parametrize(
    ("chosen", "output", "form"),
    [
        (None, None, "json"),
        (None, "a.json", "json"),
        (None, "a.JSONL", "jsonl"),
        (None, "a.ndjson", "jsonl"),
        (None, "a.csv", "csv"),
        (None, "csv", "json"),
        ("csv", "a.json", "csv"),
    ],
)
def test_the_format_is_the_chosen_one_or_that_of_the_name(
    chosen: str | None, output: str | None, form: str
) -> None:
    assert format_of(chosen, output) == form


def test_parquet_is_not_written_as_json() -> None:
    with pytest.raises(UsageError, match="predict writes no Parquet"):
        format_of(None, "out.PARQUET")
    assert format_of("json", "out.parquet") == "json"


@pytest.mark.parametrize(
    "name",
    ["=cmd|' /C calc'!A0.png", "+1.png", "-1.png", "@a.png", " =1.png", "\t=1.png", "\n=1.png"],
)
def test_no_name_is_a_formula_of_a_spreadsheet(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out.csv"
    with FileSink(path, layout("csv", several=True)) as sink:
        sink.write(result(name, message=name))

    [row] = read(path, "csv")
    for cell in (row["file_path"], row["error"]):
        assert cell[0] == "'" or cell[0] == "\\"
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name", ['a"b,c;d.png', "a\nb\r\n.png", "a\u2028\x85b.png", "\x1b[31m.png", "\udcff写.png"]
)
def test_no_name_breaks_a_file(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / "out"
    with FileSink(path, layout(form, several=True)) as sink:
        sink.write(result(name))
        sink.write(result("after.png"))

    first, second = read(path, form)
    assert second["file_path"] == "after.png"
    if form == "csv":
        assert "\n" not in first["file_path"]
        assert len(path.read_bytes().split(b"\n")) == 4
    else:
        assert first["file_path"] == name
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
