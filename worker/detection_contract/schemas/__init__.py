"""JSON Schemas (draft 2020-12) of message and result, as shipped to callers in other languages."""

import json
from importlib.resources import files
from typing import Literal, cast


def load_schema(name: Literal["message", "result"]) -> dict[str, object]:
    """Return the schema of a message body or of a result."""
    text = files(__package__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, object]", json.loads(text))
