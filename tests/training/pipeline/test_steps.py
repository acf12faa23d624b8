import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detection_training.pipeline.steps import (
    RECORD_NAME,
    Stage,
    Workplace,
    run_stages,
    write_atomically,
)
from detection_worker.errors import UsageError


def stage(
    name: str,
    run: Callable[[Workplace], None] = lambda _: None,
    *,
    after: tuple[str, ...] = (),
    seed: int = 1,
) -> Stage:
    return Stage(name=name, after=after, inputs={"seed": seed}, run=run)


def silent(_: str) -> None:
    pass


def test_a_step_that_is_current_is_skipped_and_says_so(tmp_path: Path) -> None:
    runs: list[str] = []
    steps = [stage("a-build", lambda place: runs.append(place.folder.name))]
    said: list[str] = []

    run_stages(steps, tmp_path, log=silent)
    done = run_stages(steps, tmp_path, log=said.append)

    assert runs == ["a-build.partial"]
    assert said == ["a-build: nothing changed, skipped"]
    assert done == {"a-build": tmp_path / "a-build"}


def test_a_changed_input_runs_the_step_and_all_that_read_it_anew(tmp_path: Path) -> None:
    runs: list[str] = []

    def steps(seed: int) -> list[Stage]:
        return [
            stage("a-build", lambda _: runs.append("build"), seed=seed),
            stage("a-other", lambda _: runs.append("other")),
            stage("a-train", lambda _: runs.append("train"), after=("a-build",)),
        ]

    run_stages(steps(1), tmp_path, log=silent)
    run_stages(steps(2), tmp_path, log=silent)

    assert runs == ["build", "other", "train", "build", "train"]


def test_a_step_reads_what_the_steps_before_it_left(tmp_path: Path) -> None:
    def build(place: Workplace) -> None:
        (place.folder / "clips").write_text("12")

    def train(place: Workplace) -> None:
        text = (place.inputs["a-build"] / "clips").read_text()
        (place.folder / "seen").write_text(text)

    steps = [stage("a-build", build), stage("a-train", train, after=("a-build",))]

    done = run_stages(steps, tmp_path, log=silent)

    assert (done["a-train"] / "seen").read_text() == "12"


def test_an_interrupted_step_finds_its_work_again(tmp_path: Path) -> None:
    interrupted = [True]

    def train(place: Workplace) -> None:
        with (place.folder / "log").open("a") as file:
            file.write("x")
        if interrupted:
            interrupted.pop()
            raise KeyboardInterrupt

    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_stages([stage("a-train", train)], tmp_path, log=said.append)
    assert "run the same command again to resume" in said[-1]
    assert not (tmp_path / "a-train").exists()

    done = run_stages([stage("a-train", train)], tmp_path, log=said.append)

    assert (done["a-train"] / "log").read_text() == "xx"
    assert "a-train: resumed" in said


def test_work_of_other_inputs_is_not_gone_on_with(tmp_path: Path) -> None:
    def fail(place: Workplace) -> None:
        (place.folder / "old").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stages([stage("a-train", fail, seed=1)], tmp_path, log=silent)
    done = run_stages([stage("a-train", seed=2)], tmp_path, log=silent)

    assert not (done["a-train"] / "old").exists()


def test_a_full_disk_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    def fill(_: Workplace) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "clips.npy")

    steps = [stage("a-build"), stage("a-train", fill)]
    with pytest.raises(UsageError, match=r"No space left.*clips.npy!\n.*same command again"):
        run_stages(steps, tmp_path, log=silent)

    assert (tmp_path / "a-build" / RECORD_NAME).is_file()


def test_another_failure_is_not_called_a_full_disk(tmp_path: Path) -> None:
    def fail(_: Workplace) -> None:
        raise PermissionError(errno.EACCES, "denied")

    with pytest.raises(PermissionError):
        run_stages([stage("a-train", fail)], tmp_path, log=silent)


HOLD = """
import sys, time
from pathlib import Path
from detection_training.pipeline.steps import Stage, run_stages

def hold(place):
    print("ready", flush=True)
    sys.stdin.read()

run_stages([Stage(name="a-train", after=(), inputs={}, run=hold)], Path(sys.argv[1]), log=str)
"""


def test_two_trainings_never_mix_in_one_folder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"

        with pytest.raises(UsageError, match=rf"process {other.pid}\)!\n.*--work-dir"):
            run_stages([stage("a-train")], tmp_path, log=silent)
        other.communicate("")

    run_stages([stage("a-train")], tmp_path, log=silent)


def test_the_record_tells_what_a_step_was_made_from(tmp_path: Path) -> None:
    done = run_stages([stage("a-train", seed=7)], tmp_path, log=silent)

    record = json.loads((done["a-train"] / RECORD_NAME).read_text())
    assert record["inputs"] == {"seed": 7}
    assert record["seconds"] >= 0


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"old")

    write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]
