"""Networks made faster for scoring, with the same scores: folded batch norms, no idle threads.

In evaluation a batch norm is a factor and an offset for each channel. Behind a convolution or a
linear layer both can be multiplied into its weights once (Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2), which
saves two passes over every map. Which norm stands behind which layer is seen by running the
network, not read from its code: networks decide by the shape of their input, which tracers refuse.

A folded network stays a module with parameters: code that explains scores needs its gradients.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TOLERANCE: Final = 1e-5
"""Largest difference of an output from the unfolded network's, relative to it or to 1."""
LONG_PASS: Final = 1_000_000_000
"""Multiply-adds from which a pass gets all threads; 30 to 50 ms on one core. Of pictures of 128 px
four took 11 % more CPU on two threads than on one, thirty-two took none (AMD EPYC, two cores:
``python benchmarks/startup.py --only forward``)."""
NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d)
LAYERS: Final = (nn.Conv1d, nn.Conv2d, nn.Linear)
_BREAKAGE: Final = (RuntimeError, ValueError, TypeError, LookupError)
"""What networks raise for units that do not fit them; to tell the user is the self-test's part."""

Unit = NDArray[np.uint8] | NDArray[np.float32]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer, and the norm that gets all that comes out of it.

    Attributes:
        layer: Convolution or linear layer.
        norm: Batch norm.
    """

    layer: nn.Conv1d | nn.Conv2d | nn.Linear
    norm: nn.BatchNorm1d | nn.BatchNorm2d


def fold(network: nn.Module, unit: Unit, *, name: str) -> int:
    """Fold the batch norms that stand behind a layer, in place, and return how many.

    A network that fails, or that would give another answer, is left as it was.

    Args:
        network: In evaluation mode, on the CPU.
        unit: An example, as ``TorchDetector.logits`` takes it, ``(1, …)``.
        name: Names the model in the log.
    """
    if not any(type(module) in NORMS for module in network.modules()):
        return 0
    try:
        with torch.no_grad():
            count = _fold(network, _input(unit))
    except _BREAKAGE as exc:
        log.debug("%s: batch norms are not folded: %s", name, exc)
        return 0
    log.debug("%s: %d batch norms folded", name, count)
    return count


def laid_out(network: nn.Module, *, device: str) -> nn.Module:
    """Return the network with its weights as convolutions on the device want them.

    On a CPU they are up to 40 % faster with the channels of a pixel, or of a moment and band, side
    by side. On a GPU ``TorchDetector`` decides.
    """
    return network.to(memory_format=torch.channels_last) if device == "cpu" else network


def choose_threads(network: nn.Module, unit: Unit, *, most: int) -> int:
    """Let each pass run on one thread where more would lose; return multiply-adds of one unit.

    Threads meet after every layer. In a short pass waking them and waiting for each other costs
    more than they save, and takes a core from decoding. What a pass costs is counted, not timed:
    the same batch must give the same bits wherever and whenever it is scored.

    Args:
        network: In evaluation mode, on the CPU.
        unit: As for ``fold``.
        most: Threads of a long pass.
    """
    work = _multiply_adds(network, unit)

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        wanted = most if len(inputs[0]) * work >= LONG_PASS else 1
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)

    network.register_forward_pre_hook(choose)
    return work


def _multiply_adds(network: nn.Module, unit: Unit) -> int:
    """Return those of convolutions and linear layers, which are nearly all; 0 if it fails."""
    found = [0]

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, LAYERS)  # noqa: S101 - hooked so
        found[0] += output.numel() * layer.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, LAYERS)]
    try:
        with torch.no_grad():
            network(_input(unit))
    except _BREAKAGE:
        return 0
    finally:
        for hook in hooks:
            hook.remove()
    return found[0]


def _input(unit: Unit) -> Tensor:
    x = torch.from_numpy(unit)
    return x.movedim(-1, -3) if x.ndim > 2 else x


def _fold(network: nn.Module, example: Tensor) -> int:
    with _watched(network) as pairs:
        wanted = network(example)
    kept = [(pair.layer.weight, pair.layer.bias) for pair in pairs]
    for pair in pairs:
        _multiply(pair)
    identities: list[nn.Module] = [nn.Identity() for _ in pairs]
    _exchange(network, dict(zip((pair.norm for pair in pairs), identities, strict=True)))
    if _alike(network(example), wanted):
        return len(pairs)
    _exchange(network, dict(zip(identities, (pair.norm for pair in pairs), strict=True)))
    for pair, (weight, bias) in zip(pairs, kept, strict=True):
        pair.layer.weight, pair.layer.bias = weight, bias
    raise ValueError("the answer would be another one")


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[Pair]]:
    """Note while the network runs what goes from layers into norms; the pairs are there after."""
    pairs: list[Pair] = []
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}  # with the tensor: ids are not used again
    calls: Counter[nn.Module] = Counter()
    fed: Counter[tuple[nn.Module, nn.Module]] = Counter()

    def leaves(layer: nn.Module, _: object, output: Tensor) -> None:
        calls[layer] += 1
        outputs[id(output)] = (layer, output)

    def enters(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        if id(inputs[0]) in outputs:
            fed[outputs[id(inputs[0])][0], norm] += 1

    hooks = [m.register_forward_hook(leaves) for m in network.modules() if _is_layer(m)]
    hooks += [m.register_forward_pre_hook(enters) for m in network.modules() if _is_norm(m)]
    try:
        yield pairs
    finally:
        for hook in hooks:
            hook.remove()
    # Used in two places, either of them would need two sets of weights.
    pairs += [
        Pair(layer, norm)
        for (layer, norm), count in fed.items()
        if isinstance(layer, LAYERS)
        and isinstance(norm, NORMS)
        and count == calls[layer] == calls[norm]
    ]


def _is_layer(module: nn.Module) -> bool:
    # Weights that are computed from others, as by weight_norm, are no parameters.
    return isinstance(module, LAYERS) and "weight" in dict(module.named_parameters(recurse=False))


def _is_norm(module: nn.Module) -> bool:
    # A subclass may do more, and without statistics of its own a norm takes those of the batch.
    return type(module) in NORMS and module.running_var is not None


def _multiply(pair: Pair) -> None:
    """Give the layer weights with which it does what the norm does too; in double precision."""
    layer, norm = pair.layer, pair.norm
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018 - _is_norm
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    offset = -norm.running_mean.double() * factor
    if layer.bias is not None:
        offset = offset + layer.bias.double() * factor
    if norm.bias is not None:
        offset = offset + norm.bias.double()
    rows = factor.view(-1, *(1 for _ in layer.weight.shape[1:]))
    layer.weight = nn.Parameter((layer.weight.double() * rows).to(layer.weight.dtype))
    layer.bias = nn.Parameter(offset.to(layer.weight.dtype))


def _exchange(network: nn.Module, others: dict[nn.Module, nn.Module]) -> None:
    for parent in [*network.modules()]:
        for attribute, child in [*parent.named_children()]:
            if child in others:
                setattr(parent, attribute, others[child])


def _alike(got: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)
