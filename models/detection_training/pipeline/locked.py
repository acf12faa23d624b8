"""Packages of which the very bytes are fixed, by a lock file that lies beside this module."""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from detection_training.pipeline import full_disk
from detection_training.pipeline.sources import (
    DOWNLOAD_TIMEOUT_S,
    Log,
    PackageKind,
    download_command,
    unpack,
)
from detection_worker.errors import UsageError

FOLDER: Final = "locked"
"""In the cache: one folder for each archive, named by its digest."""
SUFFIXES: Final = (".deb", ".whl", ".tgz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One package of a lock file.

    Attributes:
        name: Of the package.
        kind: Which program downloads it.
        version: Exactly.
        sha256: Of the archive, lower-case hex.
        holds: What it is used for: ``speech``, ``photos``, ``synthesiser`` …
        license: Of the used files.
    """

    name: str
    kind: PackageKind
    version: str
    sha256: str
    holds: str
    license: str


def read_lock(path: Path) -> tuple[Locked, ...]:
    """Return the packages of a lock file.

    Raises:
        UsageError: It is missing or broken.
    """
    try:
        return tuple(Locked(**entry) for entry in json.loads(path.read_text())["packages"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{path}: not a lock file: {exc}\nInstall the package anew.") from exc


def write_lock(path: Path, packages: Iterable[Locked]) -> None:
    """Write a lock file."""
    listed = [asdict(package) for package in packages]
    path.write_text(json.dumps({"packages": listed}, indent=1) + "\n")


def digest_of(packages: Sequence[Locked]) -> str:
    """Return one digest that stands for all their bytes."""
    return hashlib.sha256("\n".join(p.sha256 for p in packages).encode()).hexdigest()


def fetch_locked(packages: Iterable[Locked], cache: Path, *, log: Log) -> dict[str, Path]:
    """Download and unpack what is not there yet; return the folder of each package.

    Args:
        packages: What to fetch.
        cache: Directory for downloads; made if absent.
        log: Takes progress lines.

    Raises:
        UsageError: A package cannot be had, or is not the one that was locked.
    """
    found = {}
    for package in packages:
        folder = cache / FOLDER / f"{package.name.replace('/', '+')}-{package.sha256[:16]}"
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                archive = _download(package, Path(scratch))
                _check(package, archive)
                unpacked = Path(scratch) / "unpacked"
                unpack(archive, unpacked)
                # Last, so that an interrupted run leaves no half folder behind.
                unpacked.rename(folder)
            log(f"  {package.name} {package.version}: {package.license}")
        found[package.name] = folder
    return found


def relocked(package: Locked, *, version: str) -> Locked:
    """Return the package with the digest of ``version`` as it is offered now; for maintainers.

    Raises:
        UsageError: It cannot be had.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wanted = replace(package, version=version)
        archive = _download(wanted, Path(scratch))
        return replace(wanted, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())


def data_card(
    packages: Iterable[Locked], used: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the contents of ``DATA_CARD.json``: each package, its licence and what was used.

    Args:
        packages: All that were fetched.
        used: Counts and minutes by package.
    """
    return {"packages": [{**asdict(p), **used.get(p.name, {"clips": 0})} for p in packages]}


def _download(package: Locked, scratch: Path) -> Path:
    what = f"{package.name} {package.version}"
    command = download_command(package.kind, package.name, version=package.version)
    if command is None:
        needed = {"deb": "apt-get and dpkg-deb", "npm": "npm", "wheel": "pip"}[package.kind]
        raise UsageError(f"{what}: cannot be fetched\nInstall {needed}.")
    try:
        done = subprocess.run(  # noqa: S603 - names from the lock file, no shell
            command,
            cwd=scratch,
            check=False,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            env={**os.environ, **full_disk.ENGLISH},
        )
    except subprocess.TimeoutExpired as exc:
        raise UsageError(
            f"{what}: no answer within {DOWNLOAD_TIMEOUT_S:.0f} s\nTry again later."
        ) from exc
    archives = sorted(path for path in scratch.iterdir() if path.suffix in SUFFIXES)
    if done.returncode or not archives:
        full_disk.check_said(done.stderr, scratch.parent)
        reason = (done.stderr.strip().splitlines() or ["nothing downloaded"])[-1][:200]
        raise UsageError(
            f"{what}: cannot be fetched: {reason}\n"
            "Let this machine reach the package's registry (apt-get update), and check that it "
            "still offers this version."
        )
    return archives[0]


def _check(package: Locked, archive: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise UsageError(
            f"{package.name} {package.version}: sha256 is {digest}, but locked is "
            f"{package.sha256}\nThe package is not the one that the models were made from; "
            "it was not unpacked."
        )
