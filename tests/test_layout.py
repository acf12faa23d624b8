"""The repository layout itself: what would break Python, or the house, if it changed."""

import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
SOURCES = ("operator", "worker", "models", "testing")
MAX_MODULE_LINES = 350
MAX_MODULES = 14


def tracked() -> list[Path]:
    """Files that git tracks or would track."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return [Path(n) for n in names if (REPO / n).is_file()]


def python(code: str, *options: str, cwd: str | Path = REPO) -> str:
    """Output of ``code`` in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_no_folder_named_operator_is_a_package() -> None:
    """An ``__init__.py`` there would shadow the standard library's ``operator``."""
    assert [f for f in tracked() if f.parts[-2:] == ("operator", "__init__.py")] == []


@pytest.mark.parametrize("folder", SOURCES)
def test_folders_of_packages_are_none_themselves(folder: str) -> None:
    """Only what lies in them is importable, and that under the project's own prefix."""
    packages = {f.parts[1] for f in tracked() if f.parts[0] == folder and f.name == "__init__.py"}
    found = python(f"import importlib.util; print(importlib.util.find_spec({folder!r}))", cwd="/")

    assert packages
    assert all(name.startswith("detection_") for name in packages)
    assert found == "None" or sysconfig.get_path("stdlib") in found


def test_tests_are_no_packages() -> None:
    """``tests/operator/__init__.py`` would replace the standard library's module in pytest."""
    assert [f for f in tracked() if f.parts[0] == "tests" and f.name == "__init__.py"] == []


def test_fresh_python_at_the_root_gets_the_stdlib_operator() -> None:
    """-S: nothing has imported operator yet; '' (the root) is first on sys.path."""
    found = python("import operator, collections; print(operator.__file__)", "-S")

    assert Path(found).parent == Path(sysconfig.get_path("stdlib"))


def test_the_operator_process_does_not_load_torch_or_the_worker() -> None:
    code = """
import sys
import detection_operator.__main__
heavy = ("torch", "numpy", "av", "cv2", "PIL",
         "detection_worker", "detection_training", "detection_testing")
print([m for m in heavy if m in sys.modules])
"""
    assert python(code) == "[]"


def test_the_help_of_the_worker_does_not_load_torch() -> None:
    code = """
import sys
from detection_worker.__main__ import main
try:
    main(["consume", "--help"])
except SystemExit:
    pass
print([m for m in ("torch", "numpy", "av") if m in sys.modules])
"""
    assert python(code).splitlines()[-1] == "[]"


def test_the_decoding_child_loads_neither_torch_nor_aws() -> None:
    code = """
import sys
import detection_worker.media.jail.child
print([m for m in ("torch", "boto3", "botocore", "urllib3", "requests") if m in sys.modules])
"""
    assert python(code) == "[]"


def test_a_process_that_feeds_the_device_does_not_load_torch() -> None:
    """Everything but scoring runs without it: torch takes a second and 300 MB."""
    code = """
import sys
import detection_worker.pipeline.service.consumer
import detection_worker.pipeline.service.pipeline
import detection_worker.pipeline.stages.file_pipeline
print([m for m in ("torch", "torchaudio", "torchvision", "safetensors") if m in sys.modules])
"""
    assert python(code) == "[]"


def test_modules_stay_small() -> None:
    too_long = {
        str(f): lines
        for f in tracked()
        if f.suffix == ".py"
        and f.parts[0] in SOURCES
        and (lines := len((REPO / f).read_text().splitlines())) > MAX_MODULE_LINES
    }

    assert too_long == {}


def test_folders_stay_small() -> None:
    folders = Counter(str(f.parent) for f in tracked() if f.suffix == ".py")

    assert {f: count for f, count in folders.items() if count > MAX_MODULES} == {}


def test_every_package_says_that_it_is_typed() -> None:
    packages = (
        "operator/detection_operator",
        "worker/detection_contract",
        "worker/detection_worker",
        "models/detection_training",
        "testing/detection_testing",
    )

    assert [p for p in packages if not (REPO / p / "py.typed").exists()] == []


def test_no_credentials_file_is_tracked() -> None:
    assert [f for f in tracked() if f.name.endswith("aws_config.json")] == []
