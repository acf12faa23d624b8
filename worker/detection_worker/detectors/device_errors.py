"""Telling errors of a device apart: no memory for this batch, or no device any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from detection_worker.detectors.base import DeviceLost

_NO_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",  # the CPU's allocator
    "ALLOC_FAILED",  # cuDNN, cuBLAS
)
"""In the text of errors that have no class of their own."""


def is_out_of_memory(exc: BaseException) -> bool:
    """Return whether a smaller batch could succeed where this one raised ``exc``."""
    if isinstance(exc, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(exc, RuntimeError) and any(text in str(exc) for text in _NO_MEMORY)


@contextmanager
def lost_device_told(device: torch.device) -> Iterator[None]:
    """Raise ``DeviceLost`` for errors that leave the process without its device.

    CUDA reports an illegal access, a failed assertion or a GPU that fell off the bus at every call
    from then on; batches that come later are not to blame. Other errors of the same class
    (``AcceleratorError``), such as a launch with wrong numbers, pass with their batch.
    """
    try:
        yield
    except torch.AcceleratorError as exc:
        if is_out_of_memory(exc) or _answers(device):
            raise
        raise DeviceLost(str(exc).partition("\n")[0]) from exc


def _answers(device: torch.device) -> bool:
    try:
        torch.get_device_module(device).synchronize(device)
    except RuntimeError:
        return False
    return True


def give_back_memory(device: torch.device) -> None:
    """Return what torch keeps of a device's memory for later to that device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
