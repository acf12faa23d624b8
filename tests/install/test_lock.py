"""What is installed is what is locked, and the lock is complete."""

import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Container, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

Locked = Callable[[str], Mapping[str, Requirement]]
PROJECT = "detection-queue"
# The lock says what is installed by pip, not which pip came with the virtual environment.
NOT_LOCKED = {PROJECT, "pip"}
HASHED = ("build", "worker", "operator", "dev", "cuda", "triton", "compiled", "bench", "binaries")
SLICES = (*HASHED, "torch")


def here(requirements: Mapping[str, Requirement]) -> dict[str, Version]:
    """Versions by name of what a slice installs on this platform."""
    return {
        name: Version(str(item.specifier).removeprefix("=="))
        for name, item in requirements.items()
        if item.marker is None or item.marker.evaluate()
    }


def installed() -> dict[str, Version]:
    """Public versions by name: 2.14.1+cpu is a build of 2.14.1."""
    # Not sys.path: setuptools puts the packages that it carries within itself there.
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    return {
        canonicalize_name(d.metadata["Name"]): Version(Version(d.version).public)
        for d in metadata.distributions(path=folders)
    }


def is_cuda_build(name: str) -> bool:
    return any(r.startswith(("nvidia", "cuda")) for r in metadata.requires(name) or ())


def closure(wanted: Iterable[Requirement], leaves: Container[str]) -> set[NormalizedName]:
    """Names of requirements and of all that they need, by the metadata of what is installed.

    Args:
        wanted: Where it begins.
        leaves: Names whose needs are not followed: they may be missing.
    """
    found: set[NormalizedName] = set()
    todo = [(item, {""}) for item in wanted]
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        item, extras = todo.pop()
        if item.marker and not any(item.marker.evaluate({"extra": e}) for e in extras):
            continue
        name = canonicalize_name(item.name)
        found.add(name)
        key = (name, frozenset(item.extras))
        if key not in done and name not in leaves:
            done.add(key)
            needs = [Requirement(text) for text in metadata.requires(name) or ()]
            todo += [(need, {"", *item.extras}) for need in needs]
    return found


def test_the_environment_is_the_lock(locked: Locked) -> None:
    """Run `make setup` if it is not: an older environment lacks what the lock has won since."""
    expected = here(locked("dev")) | here(locked("torch"))
    if is_cuda_build("torch"):
        expected |= here(locked("cuda")) | here(locked("triton"))
    optional = here(locked("compiled")) | here(locked("bench"))

    found = {name: v for name, v in installed().items() if name not in NOT_LOCKED}

    different = {n: (v, found[n]) for n, v in expected.items() if n in found and found[n] != v}
    assert sorted(expected.keys() - found.keys()) == [], "locked, not installed"
    assert sorted(found.keys() - expected.keys() - optional.keys()) == [], "installed, not locked"
    assert different == {}, "locked and installed versions"


def test_torch_torchvision_and_torchaudio_load_together() -> None:
    """In a fresh interpreter, and each runs code of its own library."""
    code = """
import torch, torchvision.ops, torchaudio.functional
boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
print(torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist())
a, b = torch.tensor([1.0, -0.5]), torch.tensor([1.0, 0.0])
print(torchaudio.functional.lfilter(torch.ones(1, 3), a, b, clamp=False)[0].tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert done.stdout.splitlines() == ["[0, 2]", "[1.0, 1.5, 1.75]"], done.stderr


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """Write an empty wheel that pip installs."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {text}\n" for text in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize("builds", [["cuda", "cpu"], ["cuda"]], ids=["CPU index too", "PyPI"])
def test_a_cpu_build_is_preferred_and_asks_for_no_cuda_libraries(
    builds: list[str], locked: Locked, root: Path, tmp_path: Path
) -> None:
    """README's PIP_ARGS: the same torch.txt, with an index of CPU wheels beside PyPI."""
    for name, item in locked("torch").items():
        number = str(item.specifier).removeprefix("==")
        wheel(tmp_path, name, number, "nvidia-nccl-cu13==2.30.7; platform_system == 'Linux'")
        if "cpu" in builds:
            wheel(tmp_path, name, f"{number}+cpu", "numpy")
    venv = tmp_path / "venv"
    packages = venv / "lib" / "python3.11" / "site-packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--isolated", "--no-deps", "--no-index",
         "--find-links", str(tmp_path), "--target", str(packages),
         "-r", str(root / "requirements" / "torch.txt")],
        check=True, capture_output=True,
    )  # fmt: skip

    [question] = re.findall(r"! (grep .+METADATA)", (root / "Makefile").read_text())
    asked = subprocess.run(["sh", "-c", question.replace("$(VENV)", str(venv))], check=False)

    found = {d.version for d in metadata.distributions(path=[str(packages)])}
    assert all(v.endswith("+cpu") for v in found) == ("cpu" in builds)
    assert (asked.returncode == 0) == ("cpu" not in builds)


def test_the_slices_agree(locked: Locked) -> None:
    versions: dict[str, set[str]] = {}
    for name in SLICES:
        for package, item in locked(name).items():
            versions.setdefault(package, set()).add(f"{item.specifier}; {item.marker}")

    assert {p: sorted(v) for p, v in versions.items() if len(v) > 1} == {}
    assert {str(i.specifier)[:2] for n in SLICES for i in locked(n).values()} == {"=="}


@pytest.mark.parametrize("name", HASHED)
def test_every_package_has_a_hash(name: str, root: Path) -> None:
    text = (root / "requirements" / f"{name}.txt").read_text()
    blocks = re.findall(r"^[\w.-]+==[^\\\n]*(?:\\\n[^\\\n]*)*", text, re.MULTILINE)

    assert len(blocks) == len(re.findall(r"^\w", text, re.MULTILINE)) > 0
    assert [b for b in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", b)] == []


def test_only_the_torch_set_has_none_and_the_file_says_why(locked: Locked, root: Path) -> None:
    text = (root / "requirements" / "torch.txt").read_text()

    assert set(locked("torch")) == {"torch", "torchaudio", "torchvision"}
    assert "# No hashes: PyPI and PyTorch's indexes" in text


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_names_no_server(name: str, root: Path) -> None:
    """Where packages come from is the choice of who installs; the hashes hold anywhere."""
    text = (root / "requirements" / f"{name}.txt").read_text()

    assert re.findall(r"://|^ *--(?!hash=)|@ ", text, re.MULTILINE) == []


@pytest.mark.parametrize("image", ["worker", "operator", "dev"])
def test_a_slice_holds_the_closure_of_its_extra(image: str, locked: Locked) -> None:
    """By the metadata of what is installed, for this Python and platform."""
    elsewhere = {name for part in ("torch", "cuda", "triton", "compiled") for name in locked(part)}
    every = sorted({*(metadata.metadata(PROJECT).get_all("Provides-Extra") or ())})
    extras = ",".join(every) if image == "dev" else f"{image},otel"
    wanted = [Requirement(f"{PROJECT}[{extras}]")]
    if image == "dev":
        wanted += [Requirement(name) for name in locked("build")]

    needed = closure(wanted, leaves=locked("compiled")) - {PROJECT} - elsewhere

    assert needed == set(here(locked(image)))


def test_the_lock_is_within_the_ranges_of_the_project(locked: Locked, project: Any) -> None:
    """If it is not, `make lock` was forgotten."""
    extras = project["project"]["optional-dependencies"]
    declared = [project["project"]["dependencies"], *extras.values()]
    declared += project["dependency-groups"].values()
    versions = {n: v for s in SLICES for n, v in here(locked(s)).items()}
    outside = []
    for item in (Requirement(text) for group in declared for text in group):
        name = canonicalize_name(item.name)
        if name != PROJECT and (name not in versions or versions[name] not in item.specifier):
            outside.append(f"{item}: {versions.get(name)}")

    assert outside == []


def pip_calls(text: str) -> list[str]:
    """Every call of pip that installs, with its continued lines."""
    joined = text.replace("\\\n", " ")
    joined = joined.replace("$(PIP_INSTALL)", "pip install --no-deps")
    return re.findall(r"pip (?:install|wheel|download) [^&|\n]*", joined)


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile.worker", "Dockerfile.operator"])
def test_nothing_is_installed_but_from_the_lock(name: str, root: Path) -> None:
    """No dependency is resolved, and all but the torch set and the project itself has a hash."""
    calls = [c for c in pip_calls((root / name).read_text()) if not c.endswith("(PIP_ARGS)")]

    assert len(calls) >= 3
    for call in calls:
        assert "--no-deps" in call or "--no-index" in call, call
        if "-r " in call and "torch.txt" not in call:
            assert "--require-hashes" in call, call
        elif "-r " not in call and "--no-index" not in call:
            assert "--no-build-isolation" in call, call
