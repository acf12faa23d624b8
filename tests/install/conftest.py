"""The lock and the project file, as tests read them."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
Slice = Mapping[str, Requirement]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def locked() -> Callable[[str], Slice]:
    """Requirements of one file of the lock by canonical name, those of other platforms too."""

    def read(name: str) -> Slice:
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        found = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
        return {canonicalize_name(item.name): item for item in found}

    return read
