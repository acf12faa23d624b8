"""Weights that Keras saved as HDF5, with names and shapes as PyTorch would give them.

Only ``models import`` comes here, and only for networks published in no other form.
"""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from detection_worker.detectors.model_folder.manifest import ModelError

if TYPE_CHECKING:
    import h5py

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
"""First bytes of a file (HDF5 File Format Specification, section II.A)."""
VARIABLES: Final[Mapping[str, str]] = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Keras's name of a layer's variable to PyTorch's."""
OPTIMIZER: Final = "optimizer_weights"

_NUMBERED: Final = re.compile(r"(.+?)(?:_(\d+))?")
_DAMAGED: Final = (OSError, RuntimeError, ValueError, LookupError, TypeError, MemoryError)
"""What h5py raises on damaged files."""


def read_hdf5(data: bytes, *, where: Path, max_bytes: int) -> dict[str, Tensor]:
    """Return the weights of every layer of a file that ``save_weights`` or ``save`` of Keras made.

    A tensor is called ``KIND.NUMBER.NAME``: the kind of layer as in Keras (``conv2d``, ``dense``,
    ``batch_normalization``), its number from 0 in the order in which the layers of that kind were
    made, which Keras writes into their names, and the variable's name in PyTorch.

    Args:
        data: The file.
        where: Its name, for messages.
        max_bytes: Most bytes that the weights may take.

    Raises:
        ModelError: h5py is not installed, the file is damaged or too large once read, or it holds
            anything but plain numbers: nothing outside of it is followed, no filter is run.
    """
    try:
        import h5py  # noqa: PLC0415 - optional
    except ImportError as exc:
        raise ModelError(
            f"{where}: an HDF5 file, as Keras writes; h5py is needed to read it\n"
            "Install it: pip install 'detection-queue[keras]'."
        ) from exc
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            found = dict(_variables(file, where=where, max_bytes=max_bytes))
    except _DAMAGED as exc:
        raise ModelError(
            f"{where}: a damaged HDF5 file\nDownload it again and compare its size."
        ) from exc
    if not found:
        raise ModelError(f"{where}: an HDF5 file without weights of layers, as Keras writes them")
    order = _order({layer for layer, _ in found})
    return {
        f"{order[layer]}.{VARIABLES.get(name, name)}": _as_torch(values)
        for (layer, name), values in found.items()
    }


def _variables(
    file: "h5py.File", *, where: Path, max_bytes: int
) -> Iterator[tuple[tuple[str, str], np.ndarray[Any, Any]]]:
    """Yield layer and variable with the values; links are never followed out of the file."""
    import h5py  # noqa: PLC0415 - optional

    datasets: list[h5py.Dataset] = []
    # Visits neither soft nor external links.
    file.visititems(lambda _, item: datasets.append(item) if _is_dataset(item) else None)
    total = 0
    for dataset in datasets:
        path = str(dataset.name).strip("/").removeprefix("model_weights/").split("/")
        if path[0] == OPTIMIZER:
            continue
        _check_plain(dataset, where)
        total += int(dataset.nbytes)
        if total > max_bytes:
            raise ModelError(f"{where}: more than {max_bytes} bytes of weights")
        yield (path[0], path[-1].partition(":")[0]), np.asarray(dataset[()])


def _is_dataset(item: object) -> bool:
    import h5py  # noqa: PLC0415 - optional

    return isinstance(item, h5py.Dataset)


def _check_plain(dataset: "h5py.Dataset", where: Path) -> None:
    """Refuse values that lie in other files, or that code must make."""
    plain = (
        dataset.dtype.kind == "f"
        and not dataset.is_virtual
        and dataset.external is None
        and dataset.id.get_create_plist().get_nfilters() == 0
    )
    if not plain:
        name = ascii(str(dataset.name)[:100])[1:-1]
        raise ModelError(f"{where}: not plain numbers: {name}\nSave it again with save_weights.")


def _order(layers: set[str]) -> dict[str, str]:
    """Return for each layer its kind and its number among its kind."""
    by_kind: dict[str, list[tuple[int, str]]] = {}
    for layer in layers:
        found = _NUMBERED.fullmatch(layer)
        kind, number = found.groups() if found else (layer, None)
        by_kind.setdefault(kind, []).append((int(number or 0), layer))
    return {
        layer: f"{kind}.{index}"
        for kind, members in by_kind.items()
        for index, (_, layer) in enumerate(sorted(members))
    }


def _as_torch(values: np.ndarray[Any, Any]) -> Tensor:
    """Return a kernel with its outputs first: Keras has height, width, inputs, outputs."""
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(values.ndim)
    turned = values if axes is None else values.transpose(axes)
    return torch.from_numpy(np.ascontiguousarray(turned, dtype=np.float32))
