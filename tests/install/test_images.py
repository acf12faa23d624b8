"""The wheel of each image has what that image runs, and runs without the rest."""

import configparser
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

IMAGES: Mapping[str, set[str]] = {
    "operator": {"detection_contract", "detection_tracing", "detection_operator"},
    "worker": {"detection_contract", "detection_tracing", "detection_worker"},
}
"""Top-level packages by image."""
PACKAGES = {
    "detection_contract",
    "detection_tracing",
    "detection_operator",
    "detection_worker",
    "detection_training",
    "detection_testing",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each image, as its Dockerfile builds it."""
    folder = tmp_path_factory.mktemp("wheels")
    for image in IMAGES:
        subprocess.run(
            [sys.executable, "tools/wheels.py", image, str(folder / image)],
            cwd=root, check=True, capture_output=True,
        )  # fmt: skip
    return {image: next((folder / image).glob("*.whl")) for image in IMAGES}


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that library users install."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=root, check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def packages(wheel: Path) -> set[str]:
    return {name.partition("/")[0] for name in names(wheel) if ".dist-info/" not in name}


def read(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        [member] = [n for n in archive.namelist() if n.endswith(f".dist-info/{name}")]
        return archive.read(member).decode()


def entry_points(wheel: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser()
    parser.read_string(read(wheel, "entry_points.txt"))
    return {group: dict(parser[group]) for group in parser.sections()}


@pytest.mark.parametrize("image", IMAGES)
def test_a_wheel_has_the_packages_of_its_image_and_no_others(
    image: str, wheels: Mapping[str, Path], root: Path
) -> None:
    assert packages(wheels[image]) == IMAGES[image]
    assert not any(
        "bundled_models" in name or "/samples/" in name for name in names(wheels[image])
    )
    for folder in IMAGES[image]:
        [source] = [p for p in root.glob(f"*/{folder}") if p.is_dir()]
        modules = {str(p.relative_to(source.parent)) for p in source.rglob("*.py")}
        assert modules == {
            n for n in names(wheels[image]) if n.startswith(f"{folder}/") and n.endswith(".py")
        }


@pytest.mark.parametrize("image", IMAGES)
def test_a_wheel_has_the_program_of_its_image_and_no_command_of_another_package(
    image: str, wheels: Mapping[str, Path]
) -> None:
    program = f"detection-{image}"

    assert entry_points(wheels[image]) == {
        "console_scripts": {program: f"detection_{image}.__main__:main"}
    }


def test_library_users_get_every_package_and_command(whole: Path) -> None:
    found = entry_points(whole)

    assert packages(whole) == PACKAGES
    assert found["console_scripts"].keys() == {"detection-operator", "detection-worker"}
    assert found["detection_operator.commands"].keys() == {"demo"}
    assert found["detection_worker.commands"].keys() == {"demo", "evaluate", "train"}


@pytest.mark.parametrize("image", IMAGES)
def test_a_wheel_says_the_same_of_the_project_as_the_whole_one(
    image: str, wheels: Mapping[str, Path], whole: Path
) -> None:
    fields: list[list[tuple[str, Any]]] = [
        Parser().parsestr(read(wheel, "METADATA")).items() for wheel in (wheels[image], whole)
    ]

    assert fields[0] == fields[1]


@pytest.fixture(scope="module", params=IMAGES)
def installed(
    request: pytest.FixtureRequest,
    wheels: Mapping[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    """An image's name and an environment with its wheel, and of ours only that.

    Third-party packages come from the environment that runs the tests.
    """
    image: str = request.param
    venv = tmp_path_factory.mktemp(image) / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "--isolated",
         "install", "--quiet", "--no-deps", "--no-index", str(wheels[image])],
        check=True,
    )  # fmt: skip
    [site] = venv.glob("lib/python3*/site-packages")
    [others] = Path(sys.prefix).glob("lib/python3*/site-packages")
    # A path in a .pth file is appended as it is: .pth files there, that of our own editable
    # install among them, are not read.
    (site / "others.pth").write_text(f"{others}\n")
    return image, venv


def run(venv: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(venv / "bin" / command[0]), *command[1:]],
        cwd=venv, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_image_runs_its_program_without_the_other_packages(installed: tuple[str, Path]) -> None:
    image, venv = installed
    # An editable install leaves a folder of models behind, which is found too, but without code.
    code = f"""
import importlib.util
specs = {{name: importlib.util.find_spec(name) for name in {sorted(PACKAGES)}}}
print([name for name, spec in specs.items() if spec is not None and spec.origin])
"""
    found = run(venv, "python", "-c", code)
    helped = run(venv, f"detection-{image}", "--help")

    assert found.stdout.strip() == str(sorted(IMAGES[image]))
    assert helped.returncode == 0, helped.stderr
    assert f"usage: detection-{image}" in helped.stdout
    assert " demo" not in helped.stdout


def test_an_image_says_where_the_demo_is(installed: tuple[str, Path]) -> None:
    image, venv = installed

    done = run(venv, f"detection-{image}", "demo", "--messages", "3")

    assert done.returncode == 2
    assert (
        "the command 'demo' is not installed; container images leave it out" in done.stderr.lower()
    )
    [extras] = re.findall(r"pip install 'detection-queue\[(.+)\]'", done.stderr)
    assert {image, "testing", "worker"} == set(extras.split(","))
    assert "Traceback" not in done.stderr


def test_an_image_has_every_module_that_it_imports(installed: tuple[str, Path]) -> None:
    """Every module, also those that only some command loads."""
    image, venv = installed
    code = f"""
import importlib, pkgutil, detection_{image} as package
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""
    done = run(venv, "python", "-c", code)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_the_worker_s_image_detects_without_the_compiler_of_torch(
    installed: tuple[str, Path], root: Path
) -> None:
    """It has none of ``triton.txt``, which ``torch.compile`` needs and no worker uses."""
    image, venv = installed
    dockerfile = (root / f"Dockerfile.{image}").read_text()
    copied = re.findall(r"-r (requirements/\S+?)(?=;|\s)", dockerfile)
    assert copied
    assert "requirements/triton.txt" not in copied
    if image == "operator":
        return
    code = f"""
import sys
from pathlib import Path
sys.modules["triton"] = None
from detection_worker.detectors.device.golden import golden_units
from detection_worker.detectors.registry import load_detectors
found = load_detectors(Path({str(root / "models")!r}), device="cpu").by_kind
for detector in found.values():
    assert len(detector.logits(golden_units(detector.card.sampling)))
print(*sorted(found))
"""
    done = run(venv, "python", "-c", code)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["audio", "image", "video"]
