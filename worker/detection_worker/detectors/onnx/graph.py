"""What an ONNX file may hold before a runtime sees it: standard operators, and all of its data.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.onnx.protobuf import Field, ProtobufError, fields

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
"""The operators of the standard itself. Those of a vendor can read files."""
PROBABILITIES: Final = frozenset({"Sigmoid", "Softmax"})
"""Operators after which a network's output is no longer a logit."""

_GRAPH: Final = 7
_FUNCTIONS: Final = 25
_PARTS: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {_GRAPH: "graph", 20: "training", _FUNCTIONS: "functions"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
"""Messages by kind: numbers of the fields that hold other messages, and of which kind."""
_NODE_INPUT: Final = 1
_NODE_OUTPUT: Final = 2
_NODE_OPERATOR: Final = 4
_NODE_DOMAIN: Final = 7
_TENSOR_EXTERNAL_DATA: Final = 13
_TENSOR_DATA_LOCATION: Final = 14
_GRAPH_NODE: Final = 1
_GRAPH_OUTPUT: Final = 12
_VALUE_NAME: Final = 1
_SAME_NUMBERS: Final = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
)


def check(data: bytes, *, where: Path) -> None:
    """Refuse what could read another file, run foreign code or give probabilities for logits.

    Args:
        data: An ONNX file.
        where: Its name, for messages.

    Raises:
        ModelError: It is no ONNX file, keeps data in other files, or has functions of its own,
            operators beside the standard's, or a sigmoid or softmax at its end.
    """
    model = memoryview(data)
    try:
        graphs = [field for field in fields(model) if field.number == _GRAPH]
        problem = next(filter(None, map(_problem, _messages(model))), None)
        problem = problem or next(filter(None, map(_probability, graphs)), None)
    except ProtobufError as exc:
        raise _damaged(where) from exc
    if not graphs:
        raise _damaged(where)
    if problem:
        raise ModelError(f"{where}: {problem}")


def _damaged(where: Path) -> ModelError:
    return ModelError(
        f"{where}: not an ONNX file, or a damaged one\nCopy it again and compare its size."
    )


def _messages(model: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Yield every message that matters with its kind; the depth is bounded by the file alone."""
    waiting = [("model", model)]
    while waiting:
        kind, message = waiting.pop()
        yield kind, message
        if parts := _PARTS.get(kind):
            waiting += [(parts[f.number], f.data) for f in fields(message) if f.number in parts]


def _problem(found: tuple[str, memoryview]) -> str | None:
    kind, message = found
    check_message = _CHECKS.get(kind)
    return check_message(message) if check_message else None


def _own_code(_: memoryview) -> str:
    return "has functions or training steps of its own\nExport it again with them inlined."


def _external(tensor: memoryview) -> str | None:
    found = list(fields(tensor))
    where = any(f.number == _TENSOR_EXTERNAL_DATA for f in found)
    # Zero says that the data is here.
    if not where and not any(f.number == _TENSOR_DATA_LOCATION and f.value for f in found):
        return None
    return "keeps its weights in another file, which is never opened\nExport it as one file."


def _foreign(node: memoryview) -> str | None:
    domains = {f.text for f in fields(node) if f.number == _NODE_DOMAIN} - STANDARD_DOMAINS
    if not domains:
        return None
    name = ascii(min(domains)[:60])[1:-1]
    return f"has operators of {name}\nOnly those of the ONNX standard are run; export it again."


_CHECKS: Final[Mapping[str, Callable[[memoryview], str | None]]] = {
    "training": _own_code,
    "functions": _own_code,
    "tensor": _external,
    "node": _foreign,
}


def _probability(graph: Field) -> str | None:
    """Tell whether the graph's output is a probability, also under another shape or type."""
    made_by: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for field in fields(graph.data):
        if field.number == _GRAPH_NODE:
            operator, first, outputs = _node(field)
            made_by |= dict.fromkeys(outputs, (operator, first))
        elif field.number == _GRAPH_OUTPUT:
            names += [f.text for f in fields(field.data) if f.number == _VALUE_NAME]
    for name in names:
        operator, first = made_by.pop(name, ("", ""))
        while operator in _SAME_NUMBERS:
            operator, first = made_by.pop(first, ("", ""))
        if operator in PROBABILITIES:
            return f"ends in {operator}; logits are needed\nExport it without that last operator."
    return None


def _node(node: Field) -> tuple[str, str, list[str]]:
    """Return the operator, its first input and its outputs."""
    texts: dict[int, list[str]] = {_NODE_INPUT: [""], _NODE_OUTPUT: [], _NODE_OPERATOR: [""]}
    for field in fields(node.data):
        if field.number in texts:
            texts[field.number].append(field.text)
    inputs = texts[_NODE_INPUT]
    return texts[_NODE_OPERATOR][-1], inputs[min(1, len(inputs) - 1)], texts[_NODE_OUTPUT]
