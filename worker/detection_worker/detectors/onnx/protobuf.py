"""Reading protocol-buffer messages field by field, without a schema and within bounds.

https://protobuf.dev/programming-guides/encoding; what ONNX files are written in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

VARINT: Final = 0
FIXED_64: Final = 1
BYTES: Final = 2
FIXED_32: Final = 5
LONGEST_VARINT: Final = 10
"""Bytes of a 64-bit number."""

LARGEST_NUMBER: Final = (1 << 29) - 1
"""Of a field. Other readers drop the bits above and would see another field."""


class ProtobufError(ValueError):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: By which the schema knows it.
        value: Integer for varints; else its bytes, not copied.
    """

    number: int
    value: int | memoryview

    @property
    def data(self) -> memoryview:
        """The bytes.

        Raises:
            ProtobufError: It is a number.
        """
        if isinstance(self.value, int):
            raise ProtobufError(f"field {self.number} is a number")
        return self.value

    @property
    def integer(self) -> int:
        """The number, as a signed 64-bit integer.

        Raises:
            ProtobufError: It is no varint.
        """
        if not isinstance(self.value, int):
            raise ProtobufError(f"field {self.number} is no number")
        return self.value - (1 << 64) if self.value >> 63 else self.value

    @property
    def text(self) -> str:
        """The bytes as UTF-8, wrong ones replaced."""
        return bytes(self.data).decode("utf-8", errors="replace")


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in the order in which they are written.

    Raises:
        ProtobufError: It ends within a field, or holds what no message holds.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number <= LARGEST_NUMBER:
            raise ProtobufError(f"field {number}")
        if wire == VARINT:
            value, at = _varint(message, at)
            yield Field(number, value)
            continue
        size, at = _size(message, at, wire)
        if size > len(message) - at:
            raise ProtobufError("ends within a field")
        yield Field(number, message[at : at + size])
        at += size


def integers(field: Field) -> list[int]:
    """Return the numbers of a repeated integer field: one, or several packed."""
    if isinstance(field.value, int):
        return [field.integer]
    found, at = [], 0
    while at < len(field.value):
        value, at = _varint(field.value, at)
        found.append(Field(field.number, value).integer)
    return found


def _size(message: memoryview, at: int, wire: int) -> tuple[int, int]:
    if wire == BYTES:
        return _varint(message, at)
    if wire in {FIXED_32, FIXED_64}:
        return (4 if wire == FIXED_32 else 8), at
    raise ProtobufError(f"wire type {wire}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i in range(LONGEST_VARINT):
        if at + i >= len(message):
            raise ProtobufError("ends within a number")
        byte = message[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value & ((1 << 64) - 1), at + i + 1
    raise ProtobufError("a number of more than 64 bits")
