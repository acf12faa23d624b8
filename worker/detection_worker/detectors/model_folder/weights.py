"""Weights files: digest before parsing, then every name, shape and value."""

import hashlib
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError

from detection_worker.detectors.model_folder.manifest import ModelError, WeightsFile

FLOATS: Final = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""Alike: each is read into the float32 of our networks. A float of 8 bits is not among them: it
comes with scales of its own, without which its numbers are wrong."""

_NAMED = 5
"""Most parameter names that a message spells out."""


def load_weights(folder: Path, weights: WeightsFile) -> dict[str, torch.Tensor]:
    """Return the tensors of a model folder's weights file, on the CPU.

    The digest is of the very bytes that are parsed, so a file swapped in between is not used.

    Raises:
        ModelError: If the file is missing, is not the one that the manifest was written for, or
            is no safetensors file. Pickles are never unpickled.
    """
    path = folder / weights.file
    data = checked_bytes(path, weights)
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as exc:
        looks_pickled = data[:2] in {b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"}
        step = (
            "It is a PyTorch pickle, which could run code when opened; "
            "convert it to safetensors on a machine that you trust."
            if looks_pickled
            else "Copy the whole model folder again, or import its checkpoint again."
        )
        raise ModelError(f"{path}: not a safetensors file\n{step}") from exc


def fill(module: torch.nn.Module, tensors: dict[str, torch.Tensor], *, where: str) -> None:
    """Copy ``tensors`` into ``module``, which must want exactly these names, shapes and types.

    Args:
        module: Receives the values.
        tensors: By parameter name.
        where: Name of the file, for messages.

    Raises:
        ModelError: If a name is missing or unknown, a shape or type differs or a value is not
            finite.
    """
    state = module.state_dict()
    wanted = {name: tuple(value.shape) for name, value in state.items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    problems = [
        _names("missing", sorted(wanted.keys() - found.keys())),
        _names("unexpected", sorted(found.keys() - wanted.keys())),
        _names(
            "wrong shape",
            [
                f"{name} {found[name]} instead of {wanted[name]}"
                for name in sorted(wanted.keys() & found.keys())
                if wanted[name] != found[name]
            ],
        ),
        _names("wrong type", _retyped(state, tensors)),
    ]
    if report := "; ".join(p for p in problems if p):
        raise ModelError(
            f"{where}: does not fit the architecture: {report}\n"
            "Copy the whole model folder again, or import its checkpoint again."
        )
    if broken := [name for name, value in tensors.items() if not _finite(value)]:
        raise ModelError(
            f"{where}: {_names('values that are not finite', broken)}\n"
            "Its training failed, or the file is damaged: get it again from where it came, or "
            "take an earlier one."
        )
    module.load_state_dict(tensors)


def checked_bytes(path: Path, weights: WeightsFile) -> bytes:
    """Return the whole file, of the length and digest that its manifest says.

    Raises:
        ModelError: It is missing or another file.
    """
    try:
        size = path.stat().st_size
        # The length first: a wrong file of many gigabytes is refused without reading it.
        data = path.read_bytes() if size == weights.size_bytes else None
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc
    if data is None:
        raise ModelError(
            f"{path}: weights.bytes: {size} bytes, but its manifest says {weights.size_bytes}\n"
            "Copy the whole model folder again."
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != weights.sha256:
        raise ModelError(
            f"{path}: weights.sha256: {digest[:12]}…, but its manifest says "
            f"{weights.sha256[:12]}…\nCopy the whole model folder again."
        )
    return data


def numbers_of(tensor: torch.Tensor) -> str:
    """Return what kind of numbers a tensor holds; ``float`` for every usual width."""
    return "float" if tensor.dtype in FLOATS else str(tensor.dtype).removeprefix("torch.")


def _retyped(state: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> list[str]:
    """Return what ``load_state_dict`` would convert without a word, dropping imaginary parts."""
    kinds = {n: (numbers_of(tensors[n]), numbers_of(state[n])) for n in state if n in tensors}
    return [
        f"{n} {got} instead of {wanted}" for n, (got, wanted) in kinds.items() if got != wanted
    ]


def _finite(tensor: torch.Tensor) -> bool:
    # Of some rare types torch cannot tell; they are refused for their type.
    return tensor.dtype not in FLOATS or bool(torch.isfinite(tensor).all())


def _names(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {', '.join(names[:_NAMED])}{more}"
