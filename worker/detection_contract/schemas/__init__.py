"""JSON Schemas (draft 2020-12) of what comes in and goes out, for callers in other languages."""

import json
from importlib.resources import files
from typing import Literal, cast

Name = Literal["message", "result", "notification", "outbox-entry"]


def load_schema(name: Name) -> dict[str, object]:
    """Return the schema of a message body, a result, a notification or an entry in the outbox.

    That of notifications refers to that of results by its ``$id``.
    """
    text = files(__package__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, object]", json.loads(text))
