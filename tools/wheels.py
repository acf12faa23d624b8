"""Build the wheel that an image installs: the project's, with that image's packages alone.

What library users install has every package. An image gets what it runs:
``tool.detection-queue.images`` in ``pyproject.toml`` names its packages. Name, version and
dependencies are those of the project; scripts and entry points of other packages are left
out, and so are the models: an image has them in ``/app/models``.

Usage: ``python tools/wheels.py IMAGE FOLDER``.
"""

import argparse
import copy
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hatchling.builders.wheel import WheelBuilder

ROOT: Final = Path(__file__).parents[1]


def reduced(pyproject: Mapping[str, Any], image: str) -> dict[str, Any]:
    """Return the contents of ``pyproject.toml`` as if the project were the packages of an image.

    Args:
        pyproject: Its contents.
        image: A key of ``tool.detection-queue.images``.
    """
    result = copy.deepcopy(dict(pyproject))
    folders = result["tool"]["detection-queue"]["images"][image]
    names = {Path(folder).name for folder in folders}

    def inside(entries: Mapping[str, str]) -> dict[str, str]:
        return {k: v for k, v in entries.items() if v.partition(".")[0] in names}

    project = result["project"]
    project["scripts"] = inside(project["scripts"])
    groups = {group: inside(found) for group, found in project["entry-points"].items()}
    project["entry-points"] = {group: found for group, found in groups.items() if found}
    result["tool"]["hatch"]["build"]["targets"]["wheel"] = {"packages": folders}
    return result


def build(image: str, into: Path) -> Path:
    """Write the wheel of an image into a folder and return its path."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    builder = WheelBuilder(str(ROOT), config=reduced(pyproject, image))
    [path] = builder.build(directory=str(into), versions=["standard"])
    return Path(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", help="a key of tool.detection-queue.images")
    parser.add_argument("folder", type=Path, help="where the wheel goes")
    arguments = parser.parse_args()
    print(build(arguments.image, arguments.folder))
