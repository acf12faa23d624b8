"""Steps of a long training: each runs once, leaves a folder, and is skipped while it is current.

A step's folder appears under its name only when the step has finished; until then the work lies
in a folder named ``….partial``, which a step that was interrupted finds again. Nothing here knows
what a step does.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detection_training.pipeline import full_disk
from detection_training.pipeline.sources import Log
from detection_worker.errors import UsageError

RECORD_NAME: Final = "step.json"
"""In a step's folder: what it was made from and how long that took."""
LOCK_NAME: Final = ".lock"
PARTIAL: Final = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a step is given.

    Attributes:
        folder: The step's own; may hold what an interrupted run of the same inputs left.
        inputs: Folders of the steps that it comes after, by name.
        log: Takes progress lines.
    """

    folder: Path
    inputs: Mapping[str, Path]
    log: Log


def nothing(_: Path) -> Iterable[Path]:
    """Return no path: the step leaves its folder and nothing else."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step.

    Attributes:
        name: Unique in its pipeline; names the folder. ``audio-train`` is the step ``train``.
        after: Steps whose folders it reads.
        inputs: Whatever else the outcome depends on, as JSON values: settings, seeds, digests.
        run: Does the work and leaves its outcome in ``Workplace.folder``. It may be called again
            with the same folder after an interruption.
        leaves: Takes the step's folder and returns what the step left outside of it; a step of
            which some of that is gone runs again.
    """

    name: str
    after: tuple[str, ...]
    inputs: Mapping[str, Any]
    run: Callable[[Workplace], None]
    leaves: Callable[[Path], Iterable[Path]] = nothing

    @property
    def step(self) -> str:
        """The part of the name that ``--until`` names."""
        return self.name.rpartition("-")[2]


def run_stages(stages: Sequence[Stage], work_dir: Path, *, log: Log) -> dict[str, Path]:
    """Run every step that is not current; return the folders by name.

    Args:
        stages: In an order in which each comes after those that it reads.
        work_dir: Holds the folders; made if absent.
        log: Takes progress lines.

    Raises:
        UsageError: Another process works there, or the disk is full; what is finished stays.
        KeyboardInterrupt: Passed on after a line that says how to resume.
    """
    done: dict[str, Path] = {}
    digests: dict[str, str] = {}
    with _resumable(work_dir, log=log):
        work_dir.mkdir(parents=True, exist_ok=True)
        with _alone(work_dir):
            for stage in stages:
                digest = _digest(stage, digests)
                folder = work_dir / stage.name
                if _current(stage, folder, digest=digest):
                    log(f"{stage.name}: nothing changed, skipped")
                else:
                    _run(stage, folder, digest=digest, inputs=done, log=log)
                done[stage.name], digests[stage.name] = folder, digest
    return done


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, for what a step can resume from."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def _current(stage: Stage, folder: Path, *, digest: str) -> bool:
    return _recorded(folder) == digest and all(path.exists() for path in stage.leaves(folder))


def _run(stage: Stage, folder: Path, *, digest: str, inputs: Mapping[str, Path], log: Log) -> None:
    started = time.monotonic()
    partial = folder.with_name(folder.name + PARTIAL)
    mark = partial / RECORD_NAME
    if partial.exists() and _recorded(partial) != digest:
        shutil.rmtree(partial)
    log(f"{stage.name}: {'resumed' if partial.exists() else 'started'}")
    partial.mkdir(exist_ok=True)
    record = {"digest": digest, "inputs": dict(stage.inputs)}
    write_atomically(mark, _json(record))
    stage.run(
        Workplace(folder=partial, inputs={name: inputs[name] for name in stage.after}, log=log)
    )
    seconds = time.monotonic() - started
    write_atomically(mark, _json({**record, "seconds": round(seconds, 1)}))
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    log(f"{stage.name}: done in {seconds:.0f} s")


def _digest(stage: Stage, digests: Mapping[str, str]) -> str:
    before = {name: digests[name] for name in stage.after}
    return hashlib.sha256(
        _json({"name": stage.name, "after": before, "inputs": stage.inputs})
    ).hexdigest()


def _recorded(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / RECORD_NAME).read_bytes())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


@contextmanager
def _alone(work_dir: Path) -> Iterator[None]:
    with (work_dir / LOCK_NAME).open("a+") as file:
        try:
            # Freed by the kernel when the process ends, however it ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            raise UsageError(
                f"Another training works in {work_dir} (process {file.read().strip() or '?'})!\n"
                "Wait until it ends, or choose another --work-dir."
            ) from exc
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _resumable(work_dir: Path, *, log: Log) -> Iterator[None]:
    try:
        with full_disk.worded(work_dir, kept="finished steps are kept"):
            yield
    except KeyboardInterrupt:
        log("Interrupted: finished steps are kept; run the same command again to resume.")
        raise
