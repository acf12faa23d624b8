"""Downloads: private folders, bounded in bytes, swept after a crash."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from detection_worker.errors import Cancelled
from detection_worker.pipeline.files.downloads import (
    DiskBudget,
    file_name,
    job_folder,
    remove_folder,
    sweep,
)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        pytest.param("a/b/photo.JPG", "photo.JPG", id="the last part"),
        pytest.param("../../etc/passwd", "passwd", id="no way up"),
        pytest.param("..", "object", id="only dots"),
        pytest.param("a/", "object", id="a folder"),
        pytest.param("ünï cödé ♥.png", "_n_c_d_.png", id="only harmless characters"),
        pytest.param("x" * 300 + ".mp4", "x" * 96 + ".mp4", id="bounded, extension kept"),
        pytest.param("-rf.png", "-rf.png", id="a dash stays"),
        pytest.param(".hidden", "hidden", id="not hidden"),
    ],
)
def test_object_keys_become_harmless_file_names(key: str, name: str) -> None:
    assert file_name(key) == name


def test_job_folders_are_private(tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "cache")

    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_job_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = job_folder(tmp_path)
    (folder / "a.jpg").write_bytes(b"x")
    (folder / "below").mkdir()
    (folder / "below" / "b").write_bytes(b"x")

    remove_folder(folder)
    remove_folder(folder)

    assert list(tmp_path.iterdir()) == []


def test_the_sweep_removes_only_what_dead_processes_left(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (tmp_path / f"job-{dead}-abc").mkdir()
    (tmp_path / f"job-{dead}-abc" / "file.png").write_bytes(b"x")
    (tmp_path / f"job-{os.getppid()}-abc").mkdir()
    (tmp_path / "something-else").mkdir()

    assert sweep(tmp_path) == 1

    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f"job-{os.getppid()}-abc", "something-else"]
    )


def test_a_restarted_container_sweeps_what_its_own_process_id_left(tmp_path: Path) -> None:
    left = tmp_path / f"job-{os.getpid()}-00000000-abc"
    left.mkdir()
    ours = job_folder(tmp_path)

    assert sweep(tmp_path) == 1

    assert not left.exists()
    assert ours.exists()


def test_a_download_waits_until_the_disk_has_room() -> None:
    disk = DiskBudget(100)
    disk.use(100)
    threading.Timer(0.05, lambda: disk.free(60)).start()

    disk.wait(cancelled=lambda: False)

    disk.use(60)
    with pytest.raises(Cancelled):
        disk.wait(cancelled=lambda: True)


def test_a_sweep_of_nothing_is_no_error(tmp_path: Path) -> None:
    assert sweep(tmp_path / "absent") == 0
