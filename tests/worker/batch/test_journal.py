"""The state file of a submission: it survives any kill, and belongs to one submission."""

from pathlib import Path

import pytest

from detection_worker.batch.journal import Journal
from detection_worker.errors import UsageError


def test_a_rerun_knows_the_last_confirmed_batch(tmp_path: Path) -> None:
    path = tmp_path / "made" / "state"
    with Journal(path, "id") as journal:
        assert (journal.position, journal.sent) == (None, 0)
        journal.record("a/10.mp4", sent=10, refused=0)
        journal.record("a/ünï\n.mp4", sent=8, refused=2)
    with Journal(path, "id") as journal:
        assert (journal.position, journal.sent, journal.refused) == ("a/ünï\n.mp4", 18, 2)
        assert not journal.finished
        journal.finish()
    with Journal(path, "id") as journal:
        assert (journal.finished, journal.sent) == (True, 18)


def test_every_torn_end_leaves_the_batch_before_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with Journal(path, "id") as journal:
        journal.record(1, sent=10, refused=0)
        before = path.read_bytes()
        journal.record(2, sent=10, refused=0)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path, "id") as journal:
            assert journal.position == (1 if length >= len(before) else None), length
            journal.record(3, sent=1, refused=0)
        with Journal(path, "id") as journal:
            assert journal.position == 3


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with Journal(path, "id") as journal:
        for number in range(1500):
            journal.record(f"{number:0100}", sent=10, refused=0)
    assert path.stat().st_size > 2 * 64 * 1024
    with Journal(path, "id") as journal:
        assert (journal.position, journal.sent) == (f"{1499:0100}", 15_000)


@pytest.mark.parametrize(
    "other", [b'{"version": 1, "submission": "b"}\n', b"my notes", b"x" * 10_000]
)
def test_another_file_is_refused_and_kept(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(other)

    with pytest.raises(UsageError, match="belongs to another submission\nName another"):
        Journal(path, "id")
    assert path.read_bytes() == other


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with Journal(path, "id"):
        pass
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(UsageError, match="is damaged\nRemove it"):
        Journal(path, "id")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "state", "id"),
        pytest.raises(UsageError, match="Another process uses the state file"),
    ):
        Journal(tmp_path / "state", "id")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UsageError, match=r"Cannot write the state file .*\nName another with --state"
    ):
        Journal(tmp_path / "file" / "state", "id")
