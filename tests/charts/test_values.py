"""values.yaml, its schema, its README and its comments say the same."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

TABLE = Path(__file__).parents[2] / "tools" / "values_table.py"
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


@pytest.fixture(scope="module")
def table() -> ModuleType:
    """tools/values_table.py as a module."""
    spec = importlib.util.spec_from_file_location(TABLE.stem, TABLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def names(chart: Path, table: ModuleType) -> list[str]:
    """Every value of the chart."""
    return [one.path for one in table.values((chart / "values.yaml").read_text())]


@pytest.fixture(scope="module")
def values(chart: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text())
    return parsed


@pytest.fixture(scope="module")
def schema(chart: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    return parsed


def test_the_readme_s_table_of_values_is_up_to_date(chart: Path, table: ModuleType) -> None:
    readme, values = ((chart / name).read_text() for name in ("README.md", "values.yaml"))

    assert readme == table.updated(readme, values), "run: python tools/values_table.py"


def test_the_table_has_a_row_for_each_value_and_none_for_groups(table: ModuleType) -> None:
    text = """\
# On every pod.
labels: {a: b}
operator:
  # How many
  # there are.
  replicas: 2
  # More.
  resources:
    limits: {}
"""

    assert table.table(text).splitlines()[2:] == [
        '| `labels` | `{"a": "b"}` | On every pod. |',
        "| `operator.replicas` | `2` | How many there are. |",
        '| `operator.resources` | `{"limits": {}}` | More. |',
    ]


@pytest.mark.parametrize("text", ["a: 1", "# All.\na: 1\nb: {}", "b:\n  # One.\n  c: 1\n\n  d: 2"])
def test_a_value_without_a_comment_is_an_error(table: ModuleType, text: str) -> None:
    with pytest.raises(KeyError, match="has no comment"):
        table.table(text)


def test_a_readme_without_a_table_is_an_error(table: ModuleType) -> None:
    with pytest.raises(ValueError, match="no table of values"):
        table.updated("# Chart\n", "# All.\na: 1\n")


def test_the_schema_is_closed_everywhere(schema: dict[str, Any]) -> None:
    def check(node: Any, path: str) -> None:
        if isinstance(node, dict):
            # A parent chart's `global` is for all its charts.
            given = "properties" in node and path != ".properties.global"
            if node.get("type") == "object" and given:
                assert node.get("additionalProperties") is False, path
            for name, child in node.items():
                check(child, f"{path}.{name}")
        elif isinstance(node, list):
            for child in node:
                check(child, path)

    check(schema, "")


def test_the_schema_knows_every_value_and_no_other(
    names: list[str], schema: dict[str, Any]
) -> None:
    def known(node: dict[str, Any], path: str) -> Iterator[str]:
        for name, part in node["properties"].items():
            child = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            full = f"{path}.{name}" if path else name
            if full not in names and "properties" in child:
                yield from known(child, full)
            else:
                yield full

    assert sorted(known(schema, "")) == sorted(names)


def test_the_defaults_fit_the_schema(values: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values, schema)


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the chart's values with a user's on top, as helm merges them."""
    both = {
        name: merged(values[name], value) if isinstance(value, dict) and name in values else value
        for name, value in changes.items()
    }
    return {**values, **both}


@pytest.mark.parametrize(("changes", "named"), REFUSED)
def test_a_wrong_value_is_refused_by_name(
    values: dict[str, Any], schema: dict[str, Any], changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate(merged(values, changes), schema)

    assert named in f"{list(caught.value.absolute_path)} {caught.value.message}"


def test_helm_itself_refuses_a_wrong_value(run_helm: Callable[..., Any], chart: Path) -> None:
    done = run_helm("template", "x", str(chart), "--set", "operator.replica=3", check=False)

    assert done.returncode != 0
    assert "additional properties 'replica' not allowed" in done.stderr
