"""``docs/detectionqueue.md`` says what the operator says: terms, conditions, reasons, commands."""

import argparse
import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from detection_operator.reconcile.pools import report as pool_report
from detection_operator.reconcile.report import conditions
from detection_operator.scaling.observation import ReadError
from detection_operator.scaling.pools.share import PoolProblem
from detection_operator.scaling.rules.terms import Rule
from detection_operator.spec.conditions import CONDITIONS, POOL_CONDITIONS
from detection_operator.spec.parse import parse_spec

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "detectionqueue.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def strings_at(package: Path, call: str, argument: int) -> set[str]:
    """Return the literal strings that calls of a name have at a place, truth values left out."""
    found: set[str] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) <= argument:
                continue
            if getattr(node.func, "id", "") == call:
                found |= {
                    item.value
                    for item in ast.walk(node.args[argument])
                    if isinstance(item, ast.Constant) and isinstance(item.value, str)
                }
    return found - {"True", "False"}


def test_every_term_of_a_plan_is_explained() -> None:
    terms = {rule.value for rule in Rule}

    assert len(terms) > 15
    assert {term for term in terms if f"`{term}`" not in GUIDE} == set()


def test_every_reason_of_a_condition_is_explained() -> None:
    reasons = strings_at(Path(conditions.__file__).parent, "_condition", 2)
    reasons |= {str(error) for error in (*ReadError, *PoolProblem)}

    assert len(reasons) > 15
    assert {reason for reason in reasons if f"`{reason}`" not in GUIDE} == set()
    declared = {reason.name for known in CONDITIONS.values() for reason in known}
    assert declared - reasons == {"InvalidSpec", "TemplateRejected", "Forbidden"}
    assert reasons <= declared


def test_every_reason_of_a_pool_s_condition_is_explained() -> None:
    reasons = strings_at(Path(pool_report.__file__).parent, "_condition", 2)
    reasons |= {reason.name for reason in POOL_CONDITIONS["CapacityKnown"]}

    assert reasons == {reason.name for known in POOL_CONDITIONS.values() for reason in known}
    guide = (ROOT / "docs" / "pools.md").read_text(encoding="utf-8")
    assert {reason for reason in reasons if f"`{reason}`" not in guide} == set()
    assert {name for name in POOL_CONDITIONS if f"| `{name}` |" not in guide} == set()


def test_every_condition_is_explained() -> None:
    source = ast.parse(Path(conditions.__file__).read_text(encoding="utf-8"))
    named = {
        str(node.value.value)
        for node in ast.walk(source)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and [getattr(target, "id", "") for target in node.targets] == ["name"]
    }

    assert len(named) > 4
    assert {name for name in named if f"| `{name}` |" not in GUIDE} == set()
    assert named <= set(CONDITIONS)


def test_the_first_manifest_is_a_valid_one() -> None:
    manifest = next(yaml.safe_load(text) for kind, text in BLOCK.findall(GUIDE) if kind == "yaml")

    assert parse_spec(manifest["spec"]).slo.queue_wait_s == 120


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=line.split()[1])
        for kind, text in BLOCK.findall(GUIDE)
        for line in text.splitlines()
        if line.startswith("detection-operator ")
    ],
)
def test_every_command_exists(line: str) -> None:
    command, *options = shlex.split(line, comments=True)[1:]
    parser = argparse.ArgumentParser(exit_on_error=False)
    commands = parser.add_subparsers(dest="command")
    importlib.import_module(f"detection_operator.cli.{command}").add(commands)

    assert parser.parse_args([command, *options]).command == command
