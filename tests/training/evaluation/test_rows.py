import os
from dataclasses import replace
from pathlib import Path

import pytest

from detection_contract.media_types import MediaKind
from detection_training.evaluation.items import Item
from detection_training.evaluation.rows import COLUMNS, Model, Row, RowWriter, read_rows
from detection_worker.errors import UsageError

ITEM = Item(
    path=Path("a.wav"),
    name="a.wav",
    fake=True,
    family="vocoder",
    source="asterisk",
    group="speaker:ann",
    codec="g722",
    seen=False,
)
ROW = Row(
    item=ITEM,
    treatment="8 kHz",
    kind=MediaKind.AUDIO,
    score=0.1 + 0.2,
    found_codec="wav/pcm_s16le",
    features={"duration_s": 1.5, "silence_share": 0.25},
    model=Model(name="m", version="1.0.0", sha256="0" * 64, grade="demo"),
)
FAILED = Row(item=replace(ITEM, seen=None, fake=False), problem="the file is empty", features={})


def written(file: Path, *rows: Row) -> Path:
    with RowWriter(file) as writer:
        for row in rows:
            writer.write(row)
    return file


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    one, two = read_rows(written(tmp_path / "scores.csv", ROW, FAILED))

    assert one == replace(ROW, item=replace(ITEM, path=tmp_path / "a.wav"))
    assert two == replace(FAILED, item=replace(FAILED.item, path=tmp_path / "a.wav"))


@pytest.mark.parametrize("name", ['a,"b".wav', "a\nb.wav", "=1+1.wav", os.fsdecode(b"\xff.wav")])
def test_any_file_name_comes_back(tmp_path: Path, name: str) -> None:
    file = written(tmp_path / "scores.csv", replace(ROW, item=replace(ITEM, name=name)))

    assert read_rows(file)[0].item.name == name


def test_a_row_is_in_the_file_before_the_run_ends(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "scores.csv") as writer:
        writer.write(ROW)

        assert len(read_rows(tmp_path / "scores.csv")) == 1


@pytest.mark.parametrize("word", ["nan", "inf", "-inf"])
def test_a_score_that_is_not_finite_counts_as_not_scored(tmp_path: Path, word: str) -> None:
    file = written(tmp_path / "scores.csv", ROW)
    file.write_text(file.read_text().replace(repr(0.1 + 0.2), word))

    (row,) = read_rows(file)

    assert (row.score, row.problem) == (None, "the score is not finite")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("treatment", "other", r"no column 'treatment'\nGive", id="column"),
        pytest.param(repr(0.1 + 0.2), "1.5", r"line 2: score 1\.5", id="out of range"),
        pytest.param(repr(0.1 + 0.2), "high", r"line 2: could not convert", id="no number"),
        pytest.param(",fake,", ",maybe,", r"line 2: 'maybe' is none of", id="label"),
        pytest.param(",audio,", ",smell,", r"line 2: 'smell'", id="kind"),
    ],
)
def test_scores_with_a_mistake_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = written(tmp_path / "scores.csv", ROW)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))

    with pytest.raises(UsageError, match=message):
        read_rows(file)


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text(",".join(COLUMNS) + "\n")

    with pytest.raises(UsageError, match=r"Cannot read .*absent"):
        read_rows(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match=r"No scores in"):
        read_rows(empty)
    with pytest.raises(UsageError, match=r"Cannot write"), RowWriter(tmp_path / "no" / "x.csv"):
        pass


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full on this machine")

    with pytest.raises(UsageError, match=r"Cannot write /dev/full: No space left"):
        written(full, ROW)
