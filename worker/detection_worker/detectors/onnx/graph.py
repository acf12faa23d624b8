"""What an ONNX file may hold before a runtime sees it: standard operators, and all of its data.

The bytes are parsed by the ``onnx`` package's protocol-buffer messages and nothing else of it:
``onnx.load`` follows paths in the file. The parser refuses more than 100 nested messages and more
than 2 GiB, and reads fields as ONNX Runtime does, so that both see the same graph.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from detection_worker.detectors.model_folder.manifest import ModelError

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
"""Domains of the standard's own operators. A vendor's operators can read files."""
PROBABILITIES: Final = frozenset({"Sigmoid", "Softmax"})
"""Operators after which a network's output is no longer a logit."""
INSTALL: Final = "Install it: pip install 'detection-queue[onnx]'."

_SAME_NUMBERS: Final = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
)


def check(data: bytes, *, where: Path) -> None:
    """Refuse what could read another file, run foreign code or give probabilities for logits.

    Args:
        data: An ONNX file.
        where: Name of the file, for messages.

    Raises:
        ModelError: The ``onnx`` package is not installed, or the file is not ONNX, keeps data in
            other files, or has functions of its own, operators beside the standard's, or a
            sigmoid or softmax at its end.
    """
    model = _parsed(data, where)
    problem = next(filter(None, map(_problem, _messages(model))), None)
    problem = problem or _probability(model.graph)
    if problem:
        raise ModelError(f"{where}: {problem}")


def _parsed(data: bytes, where: Path) -> Any:
    try:
        import onnx  # noqa: PLC0415 - optional
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - optional
    except ImportError as exc:
        raise ModelError(f"{where}: an ONNX file; onnx is needed to read it\n{INSTALL}") from exc
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as exc:
        raise _damaged(where) from exc
    if not model.HasField("graph"):
        raise _damaged(where)
    return model


def _damaged(where: Path) -> ModelError:
    return ModelError(
        f"{where}: not an ONNX file, or a damaged one\nCopy it again and compare its size."
    )


def _messages(model: Any) -> Iterator[Any]:
    """Yield every message in the file, subgraphs of nodes and parts of sparse tensors included."""
    waiting = [model]
    while waiting:
        message = waiting.pop()
        yield message
        for name, repeated in _message_fields(message.DESCRIPTOR):
            if repeated:
                waiting.extend(getattr(message, name))
            elif message.HasField(name):
                waiting.append(getattr(message, name))


@functools.cache
def _message_fields(descriptor: Any) -> tuple[tuple[str, bool], ...]:
    """Return the fields that hold messages; reading the bytes of a tensor would copy them."""
    fields = (field for field in descriptor.fields if field.message_type is not None)
    return tuple((field.name, field.is_repeated) for field in fields)


def _problem(message: Any) -> str | None:
    rule = _RULES.get(message.DESCRIPTOR.name)
    return rule(message) if rule else None


def _own_code(model: Any) -> str | None:
    if not model.functions and not model.training_info:
        return None
    return "has functions or training steps of its own\nExport it again with them inlined."


def _external(tensor: Any) -> str | None:
    if not tensor.external_data and tensor.data_location == tensor.DEFAULT:
        return None
    return "keeps its weights in another file, which is never opened\nExport it as one file."


def _foreign(node: Any) -> str | None:
    if node.domain in STANDARD_DOMAINS:
        return None
    name = ascii(node.domain[:60])[1:-1]
    return f"has operators of {name}\nOnly those of the ONNX standard are run; export it again."


_RULES: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "ModelProto": _own_code,
    "TensorProto": _external,
    "NodeProto": _foreign,
}
"""By name of the message."""


def _probability(graph: Any) -> str | None:
    """Tell whether an output of the graph is a probability, also in another shape or type."""
    made_by = {
        output: (node.op_type, node.input[0] if node.input else "")
        for node in graph.node
        for output in node.output
    }
    for output in graph.output:
        operator, first = made_by.pop(output.name, ("", ""))
        while operator in _SAME_NUMBERS:
            operator, first = made_by.pop(first, ("", ""))
        if operator in PROBABILITIES:
            return f"ends in {operator}; logits are needed\nExport it without that last operator."
    return None
