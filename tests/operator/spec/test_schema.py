"""One declaration of a field gives its parser, its schema and its place in the reference."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from detection_operator.spec.fields import Integer, SpecPart, UniqueBy
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
        },
    }
