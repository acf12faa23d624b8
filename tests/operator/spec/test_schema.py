"""One declaration of a field gives its parser, its schema and its place in the reference."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from detection_operator.spec.fields import Integer, SpecPart, Unique, UniqueBy
from detection_operator.spec.schema import structural_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight(SpecPart):
    """A weight.

    Not part of the description.
    """

    media_type: Annotated[str, Field(max_length=9, description="Media type.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(SpecPart):
    """A part of a spec with one new field of each kind."""

    probe_interval_s: Annotated[Integer, Field(ge=1, le=60, description="Seconds.")] = 5
    proxy_url: Annotated[str | None, Field(max_length=99, description="A proxy.")] = None
    weights: Annotated[
        tuple[Weight, ...], Field(max_length=2, description="Weights."), UniqueBy("mediaType")
    ] = (Weight(media_type="video"),)
    key_ids: Annotated[
        tuple[Annotated[str, Field(max_length=9)], ...],
        Field(max_length=3, description="Keys."),
        Unique(),
    ] = ()
    owner_id: Annotated[str | None, Field(max_length=12, description="An account.")] = None


def test_a_field_is_added_in_one_place() -> None:
    parsed = TypeAdapter(Sample).validate_python({"probeIntervalSeconds": 9, "proxyURL": None})

    assert parsed == Sample(probe_interval_s=9)
    with pytest.raises(ValidationError, match="probeIntervalSeconds"):
        TypeAdapter(Sample).validate_python({"probeIntervalSeconds": 61})
    assert structural_schema(Sample) == {
        "type": "object",
        "description": "A part of a spec with one new field of each kind.",
        "properties": {
            "probeIntervalSeconds": {
                "type": "integer",
                "format": "int32",
                "description": "Seconds.",
                "default": 5,
                "minimum": 1,
                "maximum": 60,
            },
            "proxyURL": {"type": "string", "description": "A proxy.", "maxLength": 99},
            "weights": {
                "type": "array",
                "description": "Weights.",
                "default": [{"mediaType": "video"}],
                "maxItems": 2,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["mediaType"],
                "items": {
                    "type": "object",
                    "description": "A weight.",
                    "required": ["mediaType"],
                    "properties": {
                        "mediaType": {
                            "type": "string",
                            "description": "Media type.",
                            "maxLength": 9,
                        }
                    },
                },
            },
            "keyIds": {
                "type": "array",
                "description": "Keys.",
                "default": [],
                "maxItems": 3,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "maxLength": 9},
            },
            "ownerID": {"type": "string", "description": "An account.", "maxLength": 12},
        },
    }


def test_a_set_holds_each_string_once() -> None:
    read = TypeAdapter(Sample).validate_python

    assert read({"keyIds": ["a", "b"]}) == Sample(key_ids=("a", "b"))
    with pytest.raises(ValidationError, match="'a' appears twice"):
        read({"keyIds": ["a", "b", "a"]})
    for wrong in ("aa", [["a"], ["a"]], [1, 2], {"a": 1}):
        with pytest.raises(ValidationError):
            read({"keyIds": wrong})
