"""A run ends with its skips counted by reason, and fails for those that nobody listed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SUITE = """
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("n", range(3))
def test_needs_a_server(n):
    pytest.skip("NO REAL API SERVER: etcd not found in /nowhere; set KUBEBUILDER_ASSETS")

@pytest.mark.xfail(reason="known", strict=True)
def test_fails():
    assert False
"""
UNLISTED = """
@pytest.mark.skipif(True, reason="NOT TESTED: the chart, because there is no helm (PATH or HELM)")
def test_of_the_chart():
    pass
"""
MODULE = 'import pytest\n\npytest.importorskip("no_such_module_anywhere")\n'
FAILED = 1
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Run:
    """Run pytest on a suite of its own that has the conftest of this one."""
    shutil.copy(root / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").touch()

    def call(*options: str, allow: str = "", **files: str) -> "subprocess.CompletedProcess[str]":
        for name, text in files.items():
            (tmp_path / f"test_{name}.py").write_text(text)
        command = [
            sys.executable,
            "-m",
            "pytest",
            *options,
            "-p",
            "no:cacheprovider",
            "-p",
            "no:kmock",
        ]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        return subprocess.run(
            command, cwd=tmp_path, env={**environ, "ALLOW_SKIPS": allow},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return call


def test_listed_skips_are_counted_and_pass(run: Run) -> None:
    done = run("--strict-skips", listed=SUITE)

    assert done.returncode == 0, done.stdout
    assert "    3 NO REAL API SERVER: etcd not found in /nowhere" in done.stdout
    assert "NOT ALLOWED" not in done.stdout
    assert "known" not in done.stdout, "an expected failure is no skip"


def test_an_unlisted_skip_fails_the_run_and_is_named(run: Run) -> None:
    done = run("--strict-skips", mixed=SUITE + UNLISTED)

    assert done.returncode == FAILED
    assert "    1 NOT ALLOWED NOT TESTED: the chart, because there is no helm" in done.stdout
    assert "The run fails for skips that are not allowed" in done.stdout


@pytest.mark.parametrize("options", [[], ["--numprocesses", "2"]], ids=["one", "several"])
def test_a_whole_module_without_its_package_is_a_skip_too(run: Run, options: list[str]) -> None:
    done = run("--strict-skips", *options, listed=SUITE, module=MODULE)

    assert done.returncode == FAILED
    assert "    1 NOT ALLOWED could not import 'no_such_module_anywhere'" in done.stdout


def test_more_reasons_can_be_allowed(run: Run) -> None:
    done = run("--strict-skips", allow="gpu no.helm", mixed=SUITE + UNLISTED)

    assert done.returncode == 0, done.stdout


def test_without_the_option_skips_are_only_counted(run: Run) -> None:
    done = run(mixed=SUITE + UNLISTED)

    assert done.returncode == 0
    assert "    1 NOT ALLOWED NOT TESTED: the chart" in done.stdout


def test_a_run_that_failed_keeps_its_status(run: Run) -> None:
    interrupted = "def test_ends():\n    raise KeyboardInterrupt\n"

    done = run("--strict-skips", a=SUITE + UNLISTED, b=interrupted)

    assert done.returncode == int(pytest.ExitCode.INTERRUPTED)


CHILD = """
import subprocess, sys

def test_of_a_child():
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\\n"
"""


def test_ctrl_c_reaches_the_children_of_a_run_in_the_background(run: Run) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does after `&`
    try:
        done = run(child=CHILD)
    finally:
        signal.signal(signal.SIGINT, before)

    assert done.returncode == 0, done.stdout


def test_files_with_the_longest_limits_come_first(run: Run) -> None:
    one = "def test_1():\n    pass\n"
    slow = f"import pytest\n\n{one}\n@pytest.mark.timeout({{}})\ndef test_2():\n    pass\n"

    done = run("-v", a=one, b=slow.format(300), c=slow.format(600))

    assert re.findall(r"test_(\w)\.py::test_(\d) PASSED", done.stdout) == [
        *(("c", "1"), ("c", "2"), ("b", "1"), ("b", "2"), ("a", "1")),
    ]


def test_ci_and_make_fail_for_unlisted_skips(root: Path) -> None:
    makefile = (root / "Makefile").read_text()

    assert "-m pytest --strict-skips --numprocesses auto" in makefile
    assert "-m coverage run -m pytest --strict-skips $(PURE)" in makefile
    assert "make test" in (root / ".ci" / "run").read_text()


def test_programs_beside_python_come_first() -> None:
    assert os.environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
