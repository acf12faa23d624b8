import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from detection_operator.cli.main import main
from detection_operator.crd.kinds import KINDS, Kind
from detection_operator.crd.manifest import manifest
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.validation import InvalidSpec, manifest_value

CHART_FILES = Path(__file__).parents[3] / "charts/detection-queue/files"
each_kind = pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in KINDS])
VERSION = manifest()["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
SPEC = SCHEMA["properties"]["spec"]


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """Fill defaults in as an API server does: outside in."""
    if schema.get("type") == "object" and isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name not in value and "default" in part:
                value[name] = copy.deepcopy(part["default"])
            if name in value:
                with_defaults(part, value[name])
    if schema.get("type") == "array":
        for item in value:
            with_defaults(schema["items"], item)
    return value


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], path + "[]")


@each_kind
def test_the_chart_carries_what_the_command_prints(
    kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crd", "--kind", kind.name]) == 0

    printed = capsys.readouterr().out
    assert printed == (CHART_FILES / f"{kind.plural}.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(printed) == manifest(kind)


def test_the_command_prints_all_definitions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0

    printed = yaml.safe_load_all(capsys.readouterr().out)
    assert list(printed) == [manifest(kind) for kind in KINDS]


def test_defaults_of_the_crd_are_those_of_the_operator(minimal: dict[str, Any]) -> None:
    defaulted = with_defaults(SPEC, copy.deepcopy(minimal))

    assert parse_spec(defaulted) == parse_spec(minimal)
    # What the operator fills in must be in the manifest already, but for values that mean absent.
    ours = manifest_value(parse_spec(minimal))
    ours["queue"].pop("region")
    assert defaulted == ours


@each_kind
def test_every_string_and_list_is_bounded(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        if node.get("type") == "string" and "enum" not in node:
            top = path.count(".") == 1 and path != ".spec"
            assert top or "maxLength" in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path
        assert node.get("type") != "number", f"{path}: no floats in the API"


@each_kind
def test_every_field_is_described(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)["properties"]["spec"]):
        if not path.endswith("[]"):
            assert node.get("description"), path


def integers() -> Iterator[Any]:
    for path, node in nodes(SPEC):
        if node.get("type") == "integer" and "[]" not in path:
            yield pytest.param(path[1:].split("."), node, id=path[1:])


def manifest_with(minimal: dict[str, Any], path: list[str], value: int) -> dict[str, Any]:
    spec: dict[str, Any] = copy.deepcopy(minimal)
    if path[0] == "scaling":
        # Room for the field under test: its own bounds are what counts here.
        spec["scaling"] = {"maxReplicas": 10_000}
    if path[:2] == ["scaling", "pool"]:
        spec["scaling"]["pool"] = {"name": "gpu"}
    if path[0] == "worker":
        spec["worker"] = {"template": {"image": "worker:1"}}
    target = spec
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value
    if path[-1] == "maxReplicas":
        target.pop("minReplicas", None)
    return spec


@pytest.mark.parametrize(("path", "node"), list(integers()))
def test_bounds_of_the_crd_are_those_of_the_operator(
    minimal: dict[str, Any], path: list[str], node: dict[str, Any]
) -> None:
    for value in (node["minimum"], node["maximum"]):
        spec = manifest_with(minimal, path, value)
        jsonschema.validate(spec, SPEC)
        parse_spec(spec)
    for value in (node["minimum"] - 1, node["maximum"] + 1):
        spec = manifest_with(minimal, path, value)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spec, SPEC)
        with pytest.raises(InvalidSpec) as refusal:
            parse_spec(spec)
        assert refusal.value.field == ".".join(path)


def test_field_names_follow_kubernetes() -> None:
    names = SPEC["properties"]["slo"]["properties"].keys()

    assert names == {"queueWaitSeconds", "objectivePercent"}


def test_scale_and_status_are_subresources_and_columns_are_short() -> None:
    assert VERSION["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
    columns = [(item["name"], item["priority"]) for item in VERSION["additionalPrinterColumns"]]

    assert columns == [
        ("Mode", 0),
        ("Desired", 0),
        ("Ready", 0),
        ("Busy", 0),
        ("Visible", 0),
        ("Age(s)", 0),
        ("SLO", 0),
        ("Why", 0),
        ("Max", 1),
        ("Pool", 1),
        ("Message", 1),
    ]


@each_kind
def test_each_rule_asks_whether_its_fields_are_there(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)["properties"]["spec"]):
        for rule in node.get("x-kubernetes-validations", ()):
            assert "has(" in rule["rule"] or rule["rule"] == "self == oldSelf", path
            assert rule["message"]


@each_kind
def test_list_keys_are_required_in_their_items(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"], path
