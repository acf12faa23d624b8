"""Little memory on a GPU, for what has to cope with it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SPARE_BYTES = 200 << 20


@contextmanager
def little_memory(device: torch.device, *, spare_bytes: int = SPARE_BYTES) -> Iterator[None]:
    """Leave this process so much memory of a GPU beyond what torch holds of it.

    What torch holds is more than what tensors take: the pools of CUDA graphs stay with it.

    Args:
        device: A GPU; without an index the current one.
        spare_bytes: Left to it.
    """
    index: int | None = device.index
    if index is None:
        index = torch.cuda.current_device()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(index).total_memory
    share = (torch.cuda.memory_reserved(index) + spare_bytes) / total
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
        torch.cuda.empty_cache()
