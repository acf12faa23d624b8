"""Parts of frames resized to what networks take, without aliasing."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from detection_worker.core.faces import Box

Boxes = NDArray[np.float32]
"""Left, top, right, bottom of each, shape ``(n, 4)``, pixels."""
LEAST_LEVEL_PX: Final = 12
"""No level of the pyramid has a shorter side."""


class Mipmaps:
    """Frames in full, half, quarter … size, so that a crop costs the same whatever its size.

    Args:
        frames: ``(n, 3, height, width)``, float32.
    """

    def __init__(self, frames: Tensor) -> None:
        self._levels = [frames]
        while min(self._levels[-1].shape[2:]) >= 2 * LEAST_LEVEL_PX:
            self._levels.append(functional.avg_pool2d(self._levels[-1], 2))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = self._levels[0].shape[2:]
        return height, width

    def resized(self, size: tuple[int, int]) -> Tensor:
        """Return all frames with another height and width, smaller or a little larger."""
        level = self._level(np.floor(np.log2(self.size[0] / size[0])))
        return functional.interpolate(
            self._levels[int(level)], size, mode="bilinear", antialias=True, align_corners=False
        )

    def crops(self, boxes: Boxes, frame: NDArray[np.int64], *, side: int) -> Tensor:
        """Return squares ``(n, 3, side, side)``; beyond a border its pixels are repeated.

        Args:
            boxes: Squares, in pixels of the frames.
            frame: Which frame each is in, ``(n,)``.
            side: Side of the result, pixels.
        """
        sizes = np.maximum(boxes[:, 2] - boxes[:, 0], 1.0)
        levels = self._level(np.rint(np.log2(sizes / side)))
        result = self._levels[0].new_empty((len(boxes), 3, side, side))
        for f, level in sorted(set(zip(frame.tolist(), levels.tolist(), strict=True))):
            index = np.flatnonzero((frame == f) & (levels == level))
            source = self._levels[level][f : f + 1]
            result[torch.from_numpy(index)] = _sampled(source, boxes[index] / 2**level, side)
        return result

    def _level(self, halvings: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.clip(halvings, 0, len(self._levels) - 1).astype(np.int64)


def _sampled(source: Tensor, boxes: Boxes, side: int) -> Tensor:
    """Return squares of one picture ``(1, 3, h, w)`` by bilinear sampling, all in one call."""
    n, (height, width) = len(boxes), source.shape[2:]
    at = (torch.arange(side, device=source.device) + 0.5) / side
    edges = torch.from_numpy(boxes).to(source)
    x, y = (edges[:, i, None] + at * (edges[:, i + 2] - edges[:, i])[:, None] for i in (0, 1))
    # grid_sample counts from -1 at the left edge to 1 at the right.
    columns = (2 * x / width - 1)[:, None, :].expand(n, side, side)
    rows = (2 * y / height - 1)[:, :, None].expand(n, side, side)
    grid = torch.stack([columns, rows], dim=-1).reshape(1, n * side, side, 2)
    sampled = functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.reshape(3, n, side, side).transpose(0, 1)


def cut(frame: Tensor, box: Box, *, side: int) -> Tensor:
    """Return a part of a frame stretched to a square, uint8 ``(3, side, side)``.

    Args:
        frame: ``(3, height, width)``, uint8.
        box: In pixels of the frame; what lies beyond its border is reflected.
        side: Side of the result, pixels.
    """
    left, top = round(box[0]), round(box[1])
    right, bottom = max(round(box[2]), left + 1), max(round(box[3]), top + 1)
    rows = _reflected(top, bottom, frame.shape[1]).to(frame.device)
    columns = _reflected(left, right, frame.shape[2]).to(frame.device)
    part = frame[:, rows][:, :, columns].to(torch.float32)
    resized = functional.interpolate(
        part[None], (side, side), mode="bilinear", antialias=True, align_corners=False
    )[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def _reflected(start: int, stop: int, size: int) -> Tensor:
    # A triangle wave over the indices: … 2 1 0 1 2 …
    period = max(2 * (size - 1), 1)
    phase = torch.arange(start, stop) % period
    return torch.minimum(phase, period - phase) if size > 1 else torch.zeros_like(phase)
