"""Read a checkpoint of unknown origin without running anything that is in it.

Only ``models import`` reads checkpoints; workers load safetensors alone.
"""

import hashlib
import io
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from detection_worker.detectors.model_folder.manifest import ModelError

WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net", "ema")
"""Keys under which training scripts keep weights beside epochs and optimisers; in this order."""
DEEPEST: Final = 4
"""Most nested wrappers; two occur in practice. A table can contain itself, without end."""
PREFIXES: Final = ("module.", "_orig_mod.", "model.", "backbone.", "net.")
"""Prefixes that wrappers used in training put before every name."""
NAMED: Final = 5
"""Most names in one message."""
HDF5: Final = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file (HDF5 File Format Specification 3.0, section II.A)."""
SAVE_AGAIN: Final = (
    "Ask for the bare weights, or, if you trust its maker, load it elsewhere and save only\n"
    "network.state_dict(), with torch.save or as safetensors."
)

_GLOBAL = re.compile(r"(?:GLOBAL|type) ([\w.]{1,120})")
_DAMAGED: Final = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    OSError,
    StructError,
    zipfile.BadZipFile,
)
"""Exceptions that torch raises on damaged files, found by damaging some."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """The tensors of a file.

    Attributes:
        tensors: By name, on the CPU.
        sha256: Digest of the file, lower-case hex.
        wrapper: Keys that the weights were under, outermost first.
        notes: Human-readable notes on what was done to the tensors since they were read.
    """

    tensors: Mapping[str, Tensor]
    sha256: str
    wrapper: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path, *, max_bytes: int) -> Checkpoint:
    """Return what a PyTorch checkpoint or a safetensors file holds.

    Args:
        path: The file.
        max_bytes: Larger files, also larger once unpacked, are refused unread.

    Raises:
        ModelError: It cannot be read, is too large, is damaged, is of another format, or holds
            anything but tensors, numbers and texts. Nothing in it is ever run.
    """
    data = file_bytes(path, max_bytes=max_bytes)
    content = _loaded(data, path, max_bytes)
    wrapper: tuple[str, ...] = ()
    while isinstance(content, Mapping) and (key := _wrapper(content)):
        if len(wrapper) == DEEPEST:
            raise ModelError(
                f"{path}: its weights lie more than {DEEPEST} tables deep, or nowhere: "
                f"{': '.join(wrapper)}: …\n{SAVE_AGAIN}"
            )
        content, wrapper = content[key], (*wrapper, key)
    tensors = _tensors(content, path)
    return Checkpoint(tensors=tensors, sha256=hashlib.sha256(data).hexdigest(), wrapper=wrapper)


def without_prefix(
    tensors: Mapping[str, Tensor], wanted: Collection[str]
) -> tuple[dict[str, Tensor], str]:
    """Return the tensors without what stands before every name, and what that was.

    Args:
        tensors: By name.
        wanted: Names of the architecture; as soon as one of them is met, nothing is cut off.
    """
    names, cut = dict(tensors), ""
    while not any(name in wanted for name in names):
        prefix = next((p for p in PREFIXES if all(n.startswith(p) for n in names)), None)
        if prefix is None:
            return dict(tensors), ""
        names = {name.removeprefix(prefix): value for name, value in names.items()}
        cut += prefix
    return names, cut


def listed(names: Collection[str]) -> str:
    """Return the first few names, escaped for a terminal: they come from an untrusted file."""
    shown = [ascii(name[:100])[1:-1] for name in sorted(names)[:NAMED]]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(shown) + more


def file_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a regular file; a pipe or a device could have no end.

    Raises:
        ModelError: It cannot be read, is no regular file, or is longer than ``max_bytes``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path}: not a regular file\nName the file itself.")
        if status.st_size > max_bytes:
            raise _too_large(path, status.st_size, max_bytes)
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(data) > max_bytes:
        raise _too_large(path, len(data), max_bytes)
    return data


def _too_large(path: Path, size: int, max_bytes: int) -> ModelError:
    return ModelError(
        f"{path}: {size} bytes; weights of this architecture have at most {max_bytes}\n"
        "Is it the right file for this architecture?"
    )


def _loaded(data: bytes, path: Path, max_bytes: int) -> object:
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        try:
            return safetensors.torch.load(data)
        except (SafetensorError, KeyError, ValueError) as exc:
            raise ModelError(
                f"{path}: a damaged safetensors file\nDownload it again and compare its size."
            ) from exc
    if data.startswith(HDF5):
        raise ModelError(
            f"{path}: an HDF5 file, as Keras writes, which is not supported\n"
            "Convert the network to ONNX and import that: --architecture onnx."
        )
    if data.startswith(b"PK"):
        _check_archive(data, path, max_bytes)
    return _unpickled(data, path)


def _check_archive(data: bytes, path: Path, max_bytes: int) -> None:
    """Refuse archives that are no checkpoints, before torch looks into them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = archive.infolist()
    except (*_DAMAGED, NotImplementedError) as exc:
        raise _damaged(path) from exc
    inside = {entry.filename.partition("/")[2] for entry in files}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise ModelError(
            f"{path}: a TorchScript archive, which holds code beside weights\n{SAVE_AGAIN}"
        )
    if "data.pkl" not in inside:
        raise ModelError(
            f"{path}: a zip archive, but no PyTorch checkpoint\n"
            "Unpack it and name the checkpoint inside."
        )
    if (size := sum(entry.file_size for entry in files)) > max_bytes:
        raise _too_large(path, size, max_bytes)


def _unpickled(data: bytes, path: Path) -> object:
    try:
        with warnings.catch_warnings():
            # About protocols and deprecated storages: nothing that a user could act on.
            warnings.simplefilter("ignore")
            content: object = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as exc:
        found = _GLOBAL.search(str(exc))
        if not found:
            raise _damaged(path) from exc
        raise ModelError(
            f"{path}: holds more than weights ({found[1]}); opening it could run code, so it was "
            f"not opened\n{SAVE_AGAIN}"
        ) from exc
    except _DAMAGED as exc:
        raise _damaged(path) from exc
    return content


def _damaged(path: Path) -> ModelError:
    return ModelError(
        f"{path}: no PyTorch checkpoint, or damaged\nDownload it again and compare its size."
    )


def _wrapper(content: Mapping[object, object]) -> str | None:
    if all(isinstance(value, Tensor) for value in content.values()):
        return None
    return next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise ModelError(
            f"{path}: holds no table of named tensors but {type(content).__name__}\n{SAVE_AGAIN}"
        )
    strange = [str(k) for k, v in content.items() if not isinstance(k, str) or not _plain(v)]
    if strange:
        raise ModelError(f"{path}: not plain tensors: {listed(strange)}\n{SAVE_AGAIN}")
    return {name: value.detach() for name, value in content.items()}


def _plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )
