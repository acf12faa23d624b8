"""Up-scaling and generating networks of other makers, from their weights in other formats.

Two formats are read here, and run as the graphs that they describe: the layers and raw floats of
TensorFlow.js, and ncnn's ``.param`` text with its ``.bin``. Nothing of a package is executed.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from detection_training.image.making.photographs import Pixels

Remake = Callable[[Pixels], Pixels]
"""From pictures ``(n, h, w, 3)`` to their reconstructions, same shape."""
Step = Callable[[Sequence[Tensor]], Tensor]
NCNN_HALF: Final = 0x01306B47
"""Mark before weights of 16 bits (ncnn, modelbin.cpp); without it 32 bits follow a zero."""
BATCH: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation of a graph.

    Attributes:
        inputs: Names of the values that it takes.
        outputs: Names that its one value gets.
        step: The operation.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network as operations in an order in which they can run.

    Attributes:
        nodes: The operations.
        source: Name of the input.
        result: Name of the output.
    """

    nodes: tuple[Node, ...]
    source: str
    result: str

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output for pixels ``(n, 3, h, w)`` in 0 to 1."""
        values = {self.source: x}
        for node in self.nodes:
            value = node.step([values[name] for name in node.inputs])
            values.update(dict.fromkeys(node.outputs, value))
        return values[self.result]


def remake_by(graph: Callable[[Tensor], Tensor], *, factor: int) -> Remake:
    """Return what reduces pictures by ``factor`` and enlarges them again by a network.

    Args:
        graph: Enlarges pixels ``(n, 3, h, w)`` in 0 to 1 by ``factor``.
        factor: Divides the pictures' sides.
    """

    def remake(pixels: Pixels) -> Pixels:
        parts = []
        for start in range(0, len(pixels), BATCH):
            small = np.stack([_reduced(p, factor) for p in pixels[start : start + BATCH]])
            with torch.inference_mode():
                x = torch.from_numpy(small).permute(0, 3, 1, 2) / 255.0
                y = (graph(x).clamp(0, 1) * 255).round().to(torch.uint8)
            parts.append(y.permute(0, 2, 3, 1).contiguous().numpy())
        whole: Pixels = np.concatenate(parts)
        return whole

    return remake


def _reduced(picture: Pixels, factor: int) -> Pixels:
    size = (picture.shape[1] // factor, picture.shape[0] // factor)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def read_layers(folder: Path, *, scaled: bool = True) -> Graph:
    """Return the network of a TensorFlow.js folder: ``model.json`` and its ``.bin`` files.

    Args:
        folder: Folder of the two files.
        scaled: The network takes 0 to 1; otherwise 0 to 255.

    Raises:
        ValueError: It holds an operation that is not known here.
    """
    model = json.loads((folder / "model.json").read_text())
    weights = _layer_weights(folder, model["weightsManifest"])
    topology = model["modelTopology"]
    layers = (topology.get("model_config") or topology)["config"]["layers"]
    nodes = tuple(
        Node(
            inputs=tuple(link[0] for link in layer["inbound_nodes"][0]),
            outputs=(layer["name"],),
            step=_layer_step(layer, weights),
        )
        for layer in layers
        if layer["class_name"] != "InputLayer"
    )
    graph = Graph(nodes=nodes, source=layers[0]["name"], result=layers[-1]["name"])
    if scaled:
        return graph
    last = Node(inputs=(graph.result,), outputs=("scaled",), step=lambda x: x[0] / 255)
    first = Node(inputs=("pixels",), outputs=(graph.source,), step=lambda x: x[0] * 255)
    return Graph(nodes=(first, *nodes, last), source="pixels", result="scaled")


def _layer_weights(folder: Path, manifest: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for group in manifest:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        values, start = np.frombuffer(data, dtype="<f4"), 0
        for entry in group["weights"]:
            count = math.prod(entry["shape"])
            part = values[start : start + count].reshape(entry["shape"])
            found[entry["name"]] = torch.from_numpy(part.copy())
            start += count
    return found


def _layer_step(layer: dict[str, Any], weights: dict[str, Tensor]) -> Step:
    config, name = layer["config"], layer["name"]
    match layer["class_name"]:
        case "Conv2D":
            # TensorFlow keeps (height, width, in, out).
            kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous()
            return _convolution(kernel, weights[f"{name}/bias"])
        case "Activation" if config["activation"] == "relu":
            return lambda x: functional.relu(x[0])
        case "Concatenate":
            return lambda x: torch.cat(list(x), dim=1)
        case "Add":
            return lambda x: x[0] + x[1]
        case "UpSampling2D" if config["interpolation"] == "nearest":
            factor = float(config["size"][0])
            return lambda x: functional.interpolate(x[0], scale_factor=factor)
        case other:
            raise ValueError(f"unknown layer {other} {name}")


def _convolution(kernel: Tensor, bias: Tensor, *, slope: float = 1.0) -> Step:
    """Return a convolution that keeps the size, then a leaky ReLU."""
    padding = kernel.shape[-1] // 2

    def step(x: Sequence[Tensor]) -> Tensor:
        y = functional.conv2d(x[0], kernel, bias, padding=padding)
        return y if slope == 1.0 else functional.leaky_relu(y, slope)

    return step


def read_ncnn(param: Path) -> Graph:
    """Return the network of ``NAME.param`` and the ``NAME.bin`` beside it.

    Raises:
        ValueError: It holds an operation that is not known here, or weights are left over.
    """
    lines = [line.split() for line in param.read_text().splitlines()[2:]]
    weights = _NcnnWeights(param.with_suffix(".bin").read_bytes())
    nodes = []
    source = ""
    for kind, name, n_inputs, n_outputs, *rest in lines:
        n_in, n_out = int(n_inputs), int(n_outputs)
        outputs = tuple(rest[n_in : n_in + n_out])
        if kind == "Input":
            source = outputs[0]
            continue
        options = dict(item.split("=", 1) for item in rest[n_in + n_out :])
        step = _ncnn_step(f"{kind} {name}", options, weights)
        nodes.append(Node(inputs=tuple(rest[:n_in]), outputs=outputs, step=step))
    weights.check_used_up(param.name)
    return Graph(nodes=tuple(nodes), source=source, result=nodes[-1].outputs[0])


class _NcnnWeights:
    """Reads a ``.bin`` from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def floats(self, count: int) -> Tensor:
        return self._take(count, "<f4")

    def marked(self, count: int) -> Tensor:
        mark = int.from_bytes(self._data[self._at : self._at + 4], "little")
        if mark not in (0, NCNN_HALF):
            raise ValueError(f"weights with an unknown mark {mark:#x}")
        self._at += 4
        taken = self._take(count, "<f2" if mark else "<f4")
        # Every part starts at a multiple of four bytes.
        self._at += -self._at % 4
        return taken

    def check_used_up(self, name: str) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{name}: {len(self._data) - self._at} bytes of weights left over")

    def _take(self, count: int, dtype: str) -> Tensor:
        values: NDArray[np.generic] = np.frombuffer(self._data, dtype, count, self._at)
        self._at += values.nbytes
        return torch.from_numpy(values.astype(np.float32))


def _ncnn_step(what: str, options: dict[str, str], weights: _NcnnWeights) -> Step:
    kind = what.split(maxsplit=1)[0]
    makers: dict[str, Callable[[], Step]] = {
        "Split": lambda: lambda x: x[0],
        "Convolution": lambda: _ncnn_convolution(options, weights),
        "PReLU": lambda: _ncnn_prelu(options, weights),
        "Concat": lambda: lambda x: torch.cat(list(x), dim=1),
        "PixelShuffle": lambda: _ncnn_shuffle(options),
        "Interp": lambda: _ncnn_resize(options),
        "BinaryOp": lambda: _ncnn_sum(options),
        "Eltwise": lambda: _ncnn_sum(options),
    }
    if kind not in makers:
        raise ValueError(f"unknown operation {what}")
    return makers[kind]()


def _ncnn_prelu(options: dict[str, str], weights: _NcnnWeights) -> Step:
    slopes = weights.floats(int(options["0"]))
    return lambda x: functional.prelu(x[0], slopes)


def _ncnn_shuffle(options: dict[str, str]) -> Step:
    factor = int(options["0"])
    return lambda x: functional.pixel_shuffle(x[0], factor)


def _ncnn_sum(options: dict[str, str]) -> Step:
    """Return the sum of two, weighted by array 1 of an ``Eltwise``.

    Raises:
        ValueError: It is a product or the like.
    """
    weighted = options.get("-23301")
    if options.get("0", "0") != ("1" if weighted else "0"):
        raise ValueError(f"unknown combination {options}")
    a, b = (float(c) for c in weighted.split(",")[1:]) if weighted else (1.0, 1.0)
    return lambda x: a * x[0] + b * x[1]


def _ncnn_convolution(options: dict[str, str], weights: _NcnnWeights) -> Step:
    outputs, side, count = int(options["0"]), int(options["1"]), int(options["6"])
    kernel = weights.marked(count).reshape(outputs, -1, side, side)
    bias = weights.floats(outputs)
    slope = float(options["-23310"].split(",")[1]) if options.get("9") == "2" else 1.0
    return _convolution(kernel, bias, slope=slope)


def _ncnn_resize(options: dict[str, str]) -> Step:
    factor = float(options["1"])
    if options["0"] == "1":
        return lambda x: functional.interpolate(x[0], scale_factor=factor)
    # 3 is bicubic; none of the networks read here enlarges by it.
    return lambda x: functional.interpolate(
        x[0], scale_factor=factor, mode="bicubic", align_corners=False
    )


def read_dcgan(path: Path) -> Callable[[int, int], Pixels]:
    """Return the generator of faces in a checkpoint of the PyTorch tutorial's DCGAN.

    Args:
        path: The checkpoint; only tensors are read.

    Returns:
        A function from a count and a seed to pictures ``(count, 64, 64, 3)``.
    """
    saved = torch.load(path, map_location="cpu", weights_only=True)["netG_state_dict"]
    blocks = sorted({int(name.split(".")[1]) for name in saved if saved[name].ndim == 4})

    def generate(count: int, seed: int) -> Pixels:
        draw = torch.Generator().manual_seed(seed)
        first = saved[f"main.{blocks[0]}.weight"]
        x = torch.randn(count, first.shape[0], 1, 1, generator=draw)
        with torch.inference_mode():
            for i in blocks:
                stride, padding = (1, 0) if i == blocks[0] else (2, 1)
                x = functional.conv_transpose2d(
                    x, saved[f"main.{i}.weight"], stride=stride, padding=padding
                )
                if i != blocks[-1]:
                    x = functional.relu(_normalised(x, saved, f"main.{i + 1}"))
            y = ((torch.tanh(x) + 1) * 127.5).round().to(torch.uint8)
        return y.permute(0, 2, 3, 1).contiguous().numpy()

    return generate


def _normalised(x: Tensor, saved: dict[str, Tensor], name: str) -> Tensor:
    return functional.batch_norm(
        x,
        saved[f"{name}.running_mean"],
        saved[f"{name}.running_var"],
        saved[f"{name}.weight"],
        saved[f"{name}.bias"],
    )
