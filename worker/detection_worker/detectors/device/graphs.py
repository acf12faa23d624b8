"""Forward passes of one size as CUDA graphs: one call in place of hundreds of kernel launches."""

from typing import Any

import torch
from torch import Tensor

from detection_worker.detectors.device.passes import DeviceStreams, Forward
from detection_worker.detectors.torch_detector import TorchDetector


class GraphMaker:
    """Captures a detector's forward pass for given sizes.

    Args:
        detector: On a GPU.
        streams: Those of its device; graphs run where other passes do, one after the other.
    """

    def __init__(self, detector: TorchDetector, streams: DeviceStreams) -> None:
        self._detector = detector
        self._streams = streams
        # One pool for all sizes: no two of them are ever under way at once.
        self._pool: Any = torch.cuda.graph_pool_handle()

    def __call__(self, example: Tensor) -> Forward:
        """Return the pass for batches of at most the example's size, after a warm-up.

        Args:
            example: Units on the device; they become the graph's input and are written over.

        Raises:
            RuntimeError: The network cannot be captured; it waits for the device, for example.
        """
        graph = torch.cuda.CUDAGraph()
        with self._streams.use(self._streams.computing):
            self._detector.forward(example)  # libraries choose their kernels at the first call
        self._streams.computing.synchronize()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._streams.computing):
            logits = self._detector.forward(example)

        def replay(units: Tensor) -> Tensor:
            example[: len(units)].copy_(units)
            graph.replay()
            return logits[: len(units)]

        return replay
