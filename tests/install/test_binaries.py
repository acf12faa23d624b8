"""`make tools` says what tests need, gets what it can, and fails for what is missing."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

NOWHERE = "no-such-program-anywhere"


@pytest.fixture
def binaries(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("binaries", root / "tools" / "binaries.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nothing_to_be_had(binaries: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(_: Sequence[str]) -> None:
        raise binaries.Unavailable("install it by hand")

    monkeypatch.setattr(binaries, "NEEDS", (binaries.Need(NOWHERE, get),))


def test_what_is_missing_fails_at_once_with_what_to_do(
    binaries: ModuleType, nothing_to_be_had: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert binaries.main([]) == 1

    said = capsys.readouterr().out
    assert f"{NOWHERE} MISSING: install it by hand" in " ".join(said.split())
    assert "ALLOW_SKIPS" in said


def test_what_may_be_missing_is_only_told(
    binaries: ModuleType,
    nothing_to_be_had: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ALLOW_SKIPS", "gpu no-such")

    assert binaries.main([]) == 0
    assert f"{NOWHERE} left out" in " ".join(capsys.readouterr().out.split())


def test_it_begins_with_how_long_the_tests_take_and_names_a_server_that_is_there(
    binaries: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "kube-apiserver").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setattr(binaries, "NEEDS", (binaries.Need("sh", pytest.fail),))

    assert binaries.main([]) == 0

    first, *table = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"`make test` takes about \d+ minutes on two cores, .+:", first)
    assert [line.split()[0] for line in table] == ["sh", "API", "GPU"]
    assert table[1].split()[-1] == str(tmp_path / "kube-apiserver")


def test_a_failed_command_ends_with_its_own_words(binaries: ModuleType) -> None:
    with pytest.raises(binaries.Unavailable, match=r"sh -c .* failed: told why"):
        binaries.run("sh", "-c", "echo told why >&2; exit 3")
    with pytest.raises(binaries.Unavailable, match=f"there is no {NOWHERE}"):
        binaries.run(NOWHERE)
