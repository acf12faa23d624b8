"""What the Python packages of the worker's image take on a node, and what a node pulls of them.

Sums the installed files of the packages that ``Dockerfile.worker`` installs, as they lie in the
environment that runs this: each package's own list of files, and the same compressed with gzip as
registries keep layers. The base image (Python on Debian) is not counted.

    python benchmarks/costs/image_size.py   # two to three minutes for a build with CUDA
    python benchmarks/costs/image_size.py --rows 20 --json
"""

import argparse
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

REQUIREMENTS: Final = Path(__file__).parents[2] / "requirements"
LOCKS: Final = ("torch.txt", "cuda.txt", "worker.txt")
"""What ``Dockerfile.worker`` installs."""
LEVEL: Final = 6
"""gzip's default, which builders use for layers."""
MB: Final = 1e6
BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one package, on disk and compressed."""

    name: str
    unpacked: int
    pulled: int


def locked() -> Iterator[str]:
    """Yield the names of the packages in the image's locks."""
    for lock in LOCKS:
        text = (REQUIREMENTS / lock).read_text(encoding="utf-8")
        yield from re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)


def installed() -> Iterator[Distribution]:
    """Yield those that are installed: a torch for CPUs needs none of NVIDIA's."""
    for name in dict.fromkeys(locked()):
        try:
            yield distribution(name)
        except PackageNotFoundError:
            continue


def size(package: Distribution) -> Size:
    """Return what a package takes; compiled Python is left out, as it is from the image."""
    paths = [Path(str(entry.locate())) for entry in package.files or () if entry.suffix != ".pyc"]
    unpacked = pulled = 0
    for path in filter(Path.is_file, paths):
        packer = zlib.compressobj(LEVEL)
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                unpacked += len(block)
                pulled += len(packer.compress(block))
        pulled += len(packer.flush())
    return Size(package.metadata["Name"], unpacked, pulled)


def main() -> int:
    """Print a row a package, the largest first."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=12, help="packages to show (default: 12)")
    parser.add_argument("--only", nargs="+", help="packages to measure (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    chosen = (
        package
        for package in installed()
        if arguments.only is None or package.metadata["Name"] in arguments.only
    )
    sizes = sorted(map(size, chosen), key=lambda found: -found.unpacked)
    total = Size("all", sum(s.unpacked for s in sizes), sum(s.pulled for s in sizes))
    if arguments.json:
        print(json.dumps([asdict(found) for found in (total, *sizes)]))
        return 0
    print(f"{len(sizes)} packages{'MB on disk':>32}{'MB pulled':>14}")
    for found in (*sizes[: arguments.rows], total):
        print(f"{found.name:<28}{found.unpacked / MB:14.1f}{found.pulled / MB:14.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
