"""Bounds, patterns and types of the fields, and the base of every part of the spec.

A field is declared once, as an annotated field of a dataclass. The declaration gives the parser
(``parse``), the schema of the CRD (``schema``) and the reference (``crd.reference``).
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

SQS_MAX_VISIBILITY_S: Final = 43_200
"""Longest that SQS keeps a message invisible, so the longest that a job may run (12 h)."""
MAX_REPLICAS: Final = 10_000
SELECTOR_MAX: Final = 4096
"""Longest ``status.selector``: some dozen labels, each up to 380 characters long."""
FROM_REDRIVE_POLICY: Final = "FromRedrivePolicy"
POOL_NAME_MAX: Final = 63
"""Longest name of a WorkerPool: it is the value of a label of metrics and of pods."""
OBJECT_NAME_PATTERN: Final = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
NAME_PATTERN: Final = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
QUEUE_URL_PATTERN: Final = r"^https?://[^/?#\s]+(/[^?#\s]*)?/[A-Za-z0-9_-]{1,80}([.]fifo)?$"
ENDPOINT_PATTERN: Final = r"^https?://[^/?#\s]+/?$"
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PORT: Final = (
    "0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
ADDRESS_PATTERN: Final = (
    r"(?i)^https?://([^/?#\s]*@)?"
    rf"({_LABEL}([.]{_LABEL})*[.]?|\[[0-9a-f:.]+(%[^\]/?#\s]+)?\])"
    f"(:({_PORT})?)?/?$"
)
"""Endpoints whose host boto3 takes for a name or an address, which allows no underscores and no
asterisks, and whose port exists. For RE2 too, so without looking around."""
ADDRESS_RULE: Final = (
    "a host name without underscores or asterisks, or [IPv6], and a port up to 65535 are allowed"
)
DEAD_LETTER_PATTERN: Final = "^FromRedrivePolicy$|" + QUEUE_URL_PATTERN
REGION_PATTERN: Final = "^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"
CRON_PATTERN: Final = r"^\S+( \S+){4}$"
MONEY_PATTERN: Final = "^[0-9]{1,9}([.][0-9]{1,6})?$"
TIME_ZONE_PATTERN: Final = "^[A-Za-z0-9_+/-]+$"


_INITIALISMS: Final = {"url": "URL", "id": "ID"}


def json_name(name: str) -> str:
    """Return the manifest's name of a field: ``hold_s`` is ``holdSeconds``."""
    head, *rest = re.sub("_s$", "_seconds", name).split("_")
    return head + "".join(_INITIALISMS.get(word, word.capitalize()) for word in rest)


class SpecPart:
    """Base of the dataclasses of the spec: camel case, no unknown fields, null means absent."""

    __slots__ = ()
    __pydantic_config__: ClassVar = ConfigDict(alias_generator=json_name, extra="forbid")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the dataclass, for an object without the nulls of its fields."""
        names = frozenset(json_name(item.name) for item in dataclasses.fields(source))

        def without_nulls(raw: Any) -> Any:
            if not isinstance(raw, Mapping):
                facts = {"kind": type(raw).__name__}
                raise PydanticCustomError("object", "is {kind}, must be an object", facts)
            return {
                name: value
                for name, value in raw.items()
                if value is not None or name not in names
            }

        return core_schema.no_info_before_validator_function(without_nulls, handler(source))


@dataclass(frozen=True, slots=True)
class UniqueBy:
    """Says that the items of a list differ in one field, which is the key of a list map.

    Attributes:
        key: The field's name in manifests.
    """

    key: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the list, checked for repeated keys first."""
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of the list as a list map of Kubernetes."""
        made = handler(schema)
        items = made["items"]
        if items.get("additionalProperties") is True:
            # Structural schemas must declare the key of objects that are free otherwise.
            name = {"type": "string", "minLength": 1, "maxLength": 253, "description": "Name."}
            items |= {"required": [self.key], "properties": {self.key: name}}
        list_map = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return {**made, **list_map}

    def _check(self, items: Any) -> Any:
        if isinstance(items, Sequence) and not isinstance(items, str):
            keys = [item.get(self.key) for item in items if isinstance(item, Mapping)]
            repeated = next((k for k in keys if k is not None and keys.count(k) > 1), None)
            if repeated is not None:
                facts = {"key": self.key, "value": repr(repeated)}
                raise PydanticCustomError("repeated", "{key} {value} appears twice", facts)
        return items


@dataclass(frozen=True, slots=True)
class Unique:
    """Says that the strings of a list differ: a set of Kubernetes."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the list, checked for repeated items first."""
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of the list as a set of Kubernetes."""
        return {**handler(schema), "x-kubernetes-list-type": "set"}

    def _check(self, items: Any) -> Any:
        if isinstance(items, Sequence) and not isinstance(items, str):
            repeated = next((item for item in items if items.count(item) > 1), None)
            if repeated is not None:
                facts = {"value": repr(repeated)}
                raise PydanticCustomError("repeated", "{value} appears twice", facts)
        return items


class _ExactDecimal:
    """Reads an amount of money from its digits; a JSON number may have lost some."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        digits = core_schema.str_schema(
            strict=True, min_length=1, max_length=16, pattern=MONEY_PATTERN
        )
        return core_schema.no_info_after_validator_function(
            Decimal, digits, serialization=core_schema.to_string_ser_schema()
        )


Integer = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Money = Annotated[Decimal, _ExactDecimal]
Text = Annotated[str, Strict(), StringConstraints(min_length=1)]
Name = Annotated[Text, StringConstraints(pattern=NAME_PATTERN)]
Object = Annotated[Mapping[str, Any], Field(json_schema_extra={"additionalProperties": True})]
Replicas = Annotated[Integer, Field(ge=0, le=MAX_REPLICAS)]
