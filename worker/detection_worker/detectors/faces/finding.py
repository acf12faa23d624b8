"""Faces in frames: the cascade of ``mtcnn`` over a pyramid, for frames of one size together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection_worker.core.batch_size import halved
from detection_worker.core.faces import Face
from detection_worker.core.verdict import sigmoid
from detection_worker.detectors.device_errors import (
    give_back_memory,
    is_out_of_memory,
    lost_device_told,
)
from detection_worker.detectors.faces.crops import Boxes, Mipmaps
from detection_worker.detectors.networks.image.mtcnn import (
    LANDMARKS,
    OUTPUT_PX,
    PROPOSAL_PX,
    REFINE_PX,
    STRIDE,
    Mtcnn,
    normalised,
)

FACTOR: Final = 0.709
"""From one level of the pyramid to the next: half the area, as in the paper's own program."""
MIN_FACE_PX: Final = 24.0
"""Smallest face that is looked for: of less no detector of forgeries sees anything."""
MIN_FACE_SHARE: Final = 1 / 24
"""The same as a share of the frame's shorter side; bounds the work on large frames."""
THRESHOLDS: Final = (0.6, 0.7, 0.95)
"""Least probability after each network. The first two are those of the paper's own program; its
last one is 0.7. Here a false face costs more than a missed one: it would get a score. In 48 frames
and photographs every real face had 0.98 and more, flowers and a dog 0.7 to 0.92."""
OVERLAPS: Final = (0.5, 0.7)
"""Largest overlap of two boxes: within a level, and between what a network leaves."""
MAX_CANDIDATES: Final = 300
"""Most boxes of one level of one frame, and of one frame, that are looked at more closely: bounds
the work on pictures made to look like faces everywhere."""
CHUNK_PIXELS: Final = 2_000_000
"""Frames that are searched together: 32 MB with their pyramid, and a few times that in passing."""


class FaceFinder(Protocol):
    """Finds faces in frames. Not thread-safe: one thread owns the device."""

    def find(self, frames: NDArray[np.uint8]) -> list[tuple[Face, ...]]:
        """Return the faces of each frame, surest first.

        Args:
            frames: RGB, shape ``(n, height, width, 3)``, ``n >= 1``.
        """
        ...


class MtcnnFinder:
    """Finds faces with trained networks. Not thread-safe.

    Args:
        networks: Trained.
        device: Where they run.
        sha256: Digest of their weights, lower-case hex; empty if unknown.
    """

    def __init__(self, networks: Mtcnn, *, device: str = "cpu", sha256: str = "") -> None:
        self.sha256 = sha256
        self._device = torch.device(device)
        self._networks = networks.to(self._device).eval()

    def find(self, frames: NDArray[np.uint8]) -> list[tuple[Face, ...]]:
        """Return the faces of each frame, surest first; see ``FaceFinder``.

        Raises:
            DeviceLost: The device answers no more.
        """
        step = max(1, CHUNK_PIXELS // (frames.shape[1] * frames.shape[2]))
        found: list[tuple[Face, ...]] = []
        with lost_device_told(self._device):
            while len(found) < len(frames):
                part = frames[len(found) : len(found) + step]
                faces = self._found_or_none(part)
                if faces is None:
                    step = halved(len(part))
                    give_back_memory(self._device)
                else:
                    found += faces
        return found

    def _found_or_none(self, frames: NDArray[np.uint8]) -> list[tuple[Face, ...]] | None:
        """Return the faces of frames; None if there is no memory for so many."""
        try:
            return self._find(frames)
        except Exception as exc:
            if len(frames) == 1 or not is_out_of_memory(exc):
                raise
            return None

    def _find(self, frames: NDArray[np.uint8]) -> list[tuple[Face, ...]]:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
            maps = Mipmaps(normalised(pixels.to(self._device).permute(0, 3, 1, 2).contiguous()))
            found = self._conclude(self._refine(self._propose(maps), maps), maps)
        return [_faces(found.take(found.frame == f)) for f in range(len(frames))]

    def _propose(self, maps: Mipmaps) -> "_Candidates":
        shorter = min(maps.size)
        scale = PROPOSAL_PX / max(MIN_FACE_PX, MIN_FACE_SHARE * shorter)
        levels: list[_Candidates] = []
        while shorter * scale >= PROPOSAL_PX:
            levels.append(self._propose_at(maps, scale).apart(OVERLAPS[0]))
            scale *= FACTOR
        return _Candidates.joined(levels).apart(OVERLAPS[1]).shifted()

    def _propose_at(self, maps: Mipmaps, scale: float) -> "_Candidates":
        height, width = (math.ceil(side * scale) for side in maps.size)
        odds, offsets = self._networks.pnet(maps.resized((height, width)))
        frame, row, column = torch.nonzero(odds > _odds(THRESHOLDS[0]), as_tuple=True)
        corners = torch.stack([column, row], dim=1).cpu().numpy().astype(np.float32) * STRIDE
        per_pixel = np.array([maps.size[1] / width, maps.size[0] / height], dtype=np.float32)
        return _Candidates(
            boxes=np.concatenate([corners, corners + PROPOSAL_PX], axis=1) * np.tile(per_pixel, 2),
            odds=odds[frame, row, column].cpu().numpy(),
            offsets=offsets[frame, :, row, column].cpu().numpy(),
            frame=frame.cpu().numpy(),
        )

    def _refine(self, found: "_Candidates", maps: Mipmaps) -> "_Candidates":
        if not len(found):
            return found
        boxes = squares(found.boxes)
        odds, offsets = self._networks.rnet(maps.crops(boxes, found.frame, side=REFINE_PX))
        judged = found.judged(boxes, odds, offsets)
        return judged.take(judged.odds > _odds(THRESHOLDS[1])).apart(OVERLAPS[1]).shifted()

    def _conclude(self, found: "_Candidates", maps: Mipmaps) -> "_Candidates":
        if not len(found):
            return found
        boxes = squares(found.boxes)
        crops = maps.crops(boxes, found.frame, side=OUTPUT_PX)
        odds, offsets, points = self._networks.onet(crops)
        judged = found.judged(boxes, odds, offsets)
        judged.points = _points(points.cpu().numpy(), boxes)
        sure = judged.take(judged.odds > _odds(THRESHOLDS[2])).shifted()
        return sure.apart(OVERLAPS[1], of_smaller=True)


@dataclass(slots=True, kw_only=True, eq=False)
class _Candidates:
    """Boxes that may be faces, of several frames.

    Attributes:
        boxes: Left, top, right, bottom in the frame, float32 ``(n, 4)``.
        odds: Log-odds of a face, ``(n,)``.
        offsets: How the last network would move the corners, ``(n, 4)``, in sides of the box.
        frame: Which frame each is in, ``(n,)``.
        points: x and y of each landmark, ``(n, 5, 2)``, once they are known.
    """

    boxes: Boxes
    odds: NDArray[np.float32]
    offsets: NDArray[np.float32]
    frame: NDArray[np.int64]
    points: NDArray[np.float32] | None = None

    @staticmethod
    def joined(parts: "Sequence[_Candidates]") -> "_Candidates":
        """Return all candidates of several levels; empty if there are no levels."""
        none = np.empty((0, 4), np.float32)
        return _Candidates(
            boxes=np.concatenate([none, *(p.boxes for p in parts)]),
            odds=np.concatenate([none[:, 0], *(p.odds for p in parts)]),
            offsets=np.concatenate([none, *(p.offsets for p in parts)]),
            frame=np.concatenate([np.empty(0, np.int64), *(p.frame for p in parts)]),
        )

    def __len__(self) -> int:
        return len(self.odds)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "_Candidates":
        """Return some of the candidates."""
        return _Candidates(
            boxes=self.boxes[index],
            odds=self.odds[index],
            offsets=self.offsets[index],
            frame=self.frame[index],
            points=None if self.points is None else self.points[index],
        )

    def apart(self, most: float, *, of_smaller: bool = False) -> "_Candidates":
        """Return what is left when of two that overlap by more than ``most`` the surer stays."""
        kept = [np.empty(0, np.int64)]
        for f in np.unique(self.frame):
            index = np.flatnonzero(self.frame == f)
            index = index[np.argsort(-self.odds[index], kind="stable")[:MAX_CANDIDATES]]
            boxes, odds = self.boxes[index], self.odds[index]
            kept.append(index[apart(boxes, odds, most=most, of_smaller=of_smaller)])
        return self.take(np.concatenate(kept))

    def judged(self, boxes: Boxes, odds: Tensor, offsets: Tensor) -> "_Candidates":
        """Return the candidates as the next network sees them."""
        return _Candidates(
            boxes=boxes,
            odds=odds.cpu().numpy(),
            offsets=offsets.cpu().numpy(),
            frame=self.frame,
        )

    def shifted(self) -> "_Candidates":
        """Return the candidates where the last network would have them."""
        boxes = moved(self.boxes, self.offsets)
        inside_out = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < 1
        self.boxes = boxes
        return self.take(~inside_out)


def _points(raw: NDArray[np.float32], boxes: Boxes) -> NDArray[np.float32]:
    """The network gives all x, then all y, in shares of the box."""
    shares = raw.reshape(-1, 2, LANDMARKS).transpose(0, 2, 1)
    sides = boxes[:, None, 2:] - boxes[:, None, :2]
    return np.asarray(boxes[:, None, :2] + shares * sides)


def _odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _faces(found: _Candidates) -> tuple[Face, ...]:
    if found.points is None:
        return ()
    return tuple(
        Face(
            box=(box[0], box[1], box[2], box[3]),
            confidence=sigmoid(odds),
            landmarks=tuple((x, y) for x, y in points),
        )
        for box, odds, points in zip(
            found.boxes.tolist(), found.odds.tolist(), found.points.tolist(), strict=True
        )
    )


def apart(
    boxes: Boxes, odds: NDArray[np.float32], *, most: float, of_smaller: bool = False
) -> NDArray[np.int64]:
    """Return the indices of boxes that stay, surest first.

    Of two boxes that overlap by more than ``most`` only the surer one stays.

    Args:
        boxes: Not turned inside out.
        odds: How sure each is, ``(n,)``; finite.
        most: Largest overlap allowed, 0 to 1.
        of_smaller: Measure the overlap as a share of the smaller box instead of the union: so a
            box inside another one goes, however small it is.
    """
    order = np.argsort(-odds, kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[_overlap(boxes[best], boxes[rest], of_smaller=of_smaller) <= most]
    return np.array(kept, dtype=np.int64)


def _overlap(box: NDArray[np.float32], others: Boxes, *, of_smaller: bool) -> Boxes:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    whole = np.minimum(area, areas) if of_smaller else area + areas - shared
    return np.asarray(shared / np.maximum(whole, np.finfo(np.float32).tiny))


def moved(boxes: Boxes, offsets: NDArray[np.float32]) -> Boxes:
    """Return boxes with other corners; ``offsets``, ``(n, 4)``, are shares of width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(boxes + offsets * np.concatenate([sides, sides], axis=1))


def squares(boxes: Boxes) -> Boxes:
    """Return squares with the centres and the longer sides of ``boxes``."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], axis=1)
