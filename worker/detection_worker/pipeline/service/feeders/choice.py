"""The worker that the settings ask for: in one process, or with feeders."""

from pathlib import Path
from typing import Final

from detection_worker.core.feeders.count import count_of
from detection_worker.cores import usable_cores
from detection_worker.errors import UsageError
from detection_worker.pipeline.device import memory
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.pipeline.service.feeders.worker import FedWorker
from detection_worker.pipeline.stages.context import ResultHandler
from detection_worker.settings import ConsumerSettings, Settings

GPU_FILES: Final = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""Devices of NVIDIA's and AMD's drivers and of WSL. Asking torch would load it first; a wrong
guess costs speed and nothing else."""


def make_worker(
    settings: Settings, consumer: ConsumerSettings, *, on_result: ResultHandler | None = None
) -> Consumer | FedWorker:
    """Return a worker; the arguments and errors as for ``Consumer``.

    Raises:
        UsageError: Feeders are asked for where there can be none.
    """
    alone = consumer.run_once or consumer.dry_run or on_result is not None
    if not alone and not memory.AVAILABLE:
        if consumer.feeders:
            raise UsageError(
                "Feeders need Linux: they share memory as only Linux has it.\n"
                "Leave out --feeders; the worker then does everything in one process."
            )
        alone = True
    feeders = count_of(
        wanted=consumer.feeders, cores=usable_cores(), gpu=uses_gpu(consumer.device), alone=alone
    )
    if feeders == 0:
        return Consumer(settings, consumer, on_result=on_result)
    return FedWorker(settings, consumer, feeders=feeders)


def uses_gpu(device: str) -> bool:
    """Return whether a forward pass will probably run on a GPU.

    Args:
        device: As in ``ConsumerSettings``.
    """
    if device != "auto":
        return device != "cpu"
    return any(path.exists() for path in GPU_FILES)
