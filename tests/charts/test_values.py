"""values.yaml, its schema, its README and its comments say the same."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

FREE_FORM = {
    "monitoring.dashboard.labels",
    "networkPolicy.prometheusNamespaceLabels",
    "operator.resources",
    "deliver.resources",
}
"""Values with a default that is an object of the user's own making."""
OUTBOX = "https://sqs.eu-west-1.amazonaws.com/123456789012/outbox"
REFUSED = [
    pytest.param({"operators": {}}, "operators", id="misspelt group"),
    pytest.param({"operator": {"replica": 3}}, "replica", id="misspelt value"),
    pytest.param({"operator": {"replicas": "two"}}, "replicas", id="words for a number"),
    pytest.param({"operator": {"logLevel": "TRACE"}}, "logLevel", id="unknown log level"),
    pytest.param({"operator": {"env": [{"value": "x"}]}}, "env", id="variable without a name"),
    pytest.param(
        {"serviceAccounts": {"worker": {"roleArn": "worker"}}}, "roleArn", id="role by name"
    ),
    pytest.param({"image": {"digest": "sha256:12"}}, "digest", id="short digest"),
    pytest.param({"watchNamespaces": ["a", "a"]}, "watchNamespaces", id="namespace twice"),
    pytest.param({"watchNamespaces": ["A_b"]}, "watchNamespaces", id="no namespace's name"),
    pytest.param({"deliver": {"outboxes": [{"name": "a"}]}}, "queueURL", id="outbox without URL"),
    pytest.param(
        {"deliver": {"outboxes": [{"name": "a", "queueURL": f"{OUTBOX}.fifo"}]}},
        "queueURL",
        id="FIFO outbox",
    ),
    pytest.param(
        {"deliver": {"outboxes": [{"name": "A_b", "queueURL": OUTBOX}]}},
        "name",
        id="outbox's name",
    ),
    pytest.param(
        {"deliver": {"outboxes": [{"name": "a", "queueURL": OUTBOX, "url": "x"}]}},
        "url",
        id="misspelt value of an outbox",
    ),
    pytest.param({"monitoring": {"enabled": True}}, "enabled", id="switch of another chart"),
]


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        full = f"{path}.{name}" if path else name
        if isinstance(value, dict) and value and full not in FREE_FORM:
            yield from leaves(value, full)
        else:
            yield full, value


@pytest.fixture(scope="module")
def values(chart: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return parsed


@pytest.fixture(scope="module")
def schema(chart: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    return parsed


def test_the_readme_lists_every_value_with_its_default(
    chart: Path, values: dict[str, Any]
) -> None:
    table = (chart / "README.md").read_text().partition("| value | default | meaning |")[2]
    listed = re.findall(r"^\| `([^`]+)` \| `([^`]*)` \| (.+) \|$", table, re.MULTILINE)

    assert [(name, json.loads(default)) for name, default, _ in listed] == list(leaves(values))


def test_every_value_has_a_comment_that_the_readme_repeats(
    chart: Path, values: dict[str, Any]
) -> None:
    readme = (chart / "README.md").read_text()
    lines = (chart / "values.yaml").read_text().splitlines()
    comments: dict[str, str] = {}
    path: list[str] = []
    above: list[str] = []
    for line in lines:
        key = re.match(r"^( *)([A-Za-z]+):", line)
        if key:
            path = [*path[: len(key[1]) // 2], key[2]]
            comments[".".join(path)] = " ".join(above)
        above = [*above, line.strip("# ")] if line.strip().startswith("#") else []

    for name, _ in leaves(values):
        assert comments[name], name
        assert f"| `{name}` | " in readme
        assert f" | {comments[name]} |" in readme


def test_the_schema_is_closed_everywhere(schema: dict[str, Any]) -> None:
    def check(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                assert node.get("additionalProperties") is False, path
            for name, child in node.items():
                check(child, f"{path}.{name}")
        elif isinstance(node, list):
            for child in node:
                check(child, path)

    check(schema, "")


def test_the_schema_knows_every_value_and_no_other(
    values: dict[str, Any], schema: dict[str, Any]
) -> None:
    def names(node: dict[str, Any], like: Any, path: str) -> Iterator[str]:
        for name, part in node["properties"].items():
            child = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            full = f"{path}.{name}" if path else name
            inner = like.get(name) if isinstance(like, dict) else None
            if "properties" in child and full not in FREE_FORM and inner != {}:
                yield from names(child, inner, full)
            else:
                yield full

    # Helm hands every chart its parent's `global`.
    assert set(names(schema, values, "")) - {"global"} == {name for name, _ in leaves(values)}


def test_the_defaults_fit_the_schema(values: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values, schema)


@pytest.mark.parametrize(("changes", "named"), REFUSED)
def test_a_wrong_value_is_refused_by_name(
    schema: dict[str, Any], changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate(changes, schema)

    assert named in f"{list(caught.value.absolute_path)} {caught.value.message}"


def test_helm_itself_refuses_a_wrong_value(run_helm: Callable[..., Any], chart: Path) -> None:
    done = run_helm("template", "x", str(chart), "--set", "operator.replica=3", check=False)

    assert done.returncode != 0
    assert "additional properties 'replica' not allowed" in done.stderr
