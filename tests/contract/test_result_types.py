"""The result as Python types says what its JSON Schema says."""

import types
import typing
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

import pytest

from detection_contract.error_codes import ErrorCode
from detection_contract.result_types import DetectionResult, MediaFacts, ModelInfo, TrackResult
from detection_contract.results import failed_result
from detection_contract.schemas import load_schema

SCHEMA: dict[str, Any] = load_schema("result")
NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def differences(hint: Any, schema: dict[str, Any], where: str) -> list[str]:
    """Return where a type and a schema disagree on names, types, words or null."""
    if "$ref" in schema:
        target = SCHEMA["properties"][schema["$ref"].rpartition("/")[2]]
        # What may be null in the result itself is not null where it is referred to.
        return differences(hint | None if hint_is_class(hint) else hint, target, where)
    options = list(get_args(hint)) if get_origin(hint) in {Union, types.UnionType} else [hint]
    found = [] if (type(None) in options) == may_be_null(schema) else [f"{where}: null"]
    for option in (o for o in options if o is not type(None)):
        found += _of_one(option, schema, where)
    return found


def hint_is_class(hint: Any) -> bool:
    return isinstance(hint, type)


def may_be_null(schema: dict[str, Any]) -> bool:
    return None in schema["enum"] if "enum" in schema else "null" in as_list(schema.get("type"))


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of_one(hint: Any, schema: dict[str, Any], where: str) -> list[str]:
    origin = get_origin(hint)
    if origin is Literal:
        words = set(schema.get("enum", ())) - {None}
        return [] if set(get_args(hint)) == words else [f"{where}: {words ^ set(get_args(hint))}"]
    if typing.is_typeddict(hint):
        return _of_object(hint, schema, where)
    if origin is list:
        found = [] if "array" in as_list(schema["type"]) else [f"{where}: no array"]
        return found + differences(get_args(hint)[0], schema["items"], f"{where}[]")
    wanted = "object" if origin is dict else NAMES[hint]
    if hint is str and "enum" in schema:  # a code; its words are held elsewhere
        return []
    return [] if wanted in as_list(schema["type"]) else [f"{where}: {wanted}"]


def _of_object(hint: Any, schema: dict[str, Any], where: str) -> list[str]:
    hints, properties = get_type_hints(hint, include_extras=True), schema["properties"]
    found = [f"{where}.{name}: only in one" for name in hints.keys() ^ properties.keys()]
    for name in hints.keys() & properties.keys():
        field = get_args(hints[name])[0] if get_origin(hints[name]) is NotRequired else hints[name]
        found += differences(field, properties[name], f"{where}.{name}")
    return found


def test_the_types_of_the_result_are_those_of_its_schema() -> None:
    assert differences(DetectionResult, {**SCHEMA, "type": "object"}, "result") == []
    assert set(SCHEMA["required"]) == DetectionResult.__required_keys__


def test_the_tracks_that_are_always_there_are_those_of_the_schema() -> None:
    items = SCHEMA["properties"]["tracks"]["items"]

    assert set(items["required"]) == TrackResult.__required_keys__


@pytest.mark.parametrize(
    ("hint", "schema", "place"),
    [
        pytest.param(str, {"type": ["string", "null"]}, "x: null", id="null"),
        pytest.param(int, {"type": "number"}, "x: integer", id="type"),
        pytest.param(Literal["a"], {"enum": ["a", "b"]}, "x: {'b'}", id="word"),
        pytest.param(
            ModelInfo, {"type": "object", "properties": {}}, "x.name: only in one", id="name"
        ),
        pytest.param(
            list[str], {"type": "array", "items": {"type": "integer"}}, "x[]", id="items"
        ),
    ],
)
def test_a_difference_is_found(hint: Any, schema: dict[str, Any], place: str) -> None:
    assert any(found.startswith(place) for found in differences(hint, schema, "x"))


def test_an_envelope_has_the_fields_of_the_type() -> None:
    result = failed_result(
        request_id="r", processed_at=datetime.now(tz=UTC), code=ErrorCode.GAVE_UP, message="No."
    )

    assert result.keys() == DetectionResult.__required_keys__
    assert MediaFacts.__required_keys__ == SCHEMA["properties"]["media"]["properties"].keys()
