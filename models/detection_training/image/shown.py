"""The pictures and clips that are measured, made once and kept with the downloads."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from detection_training.image import clips as image_clips
from detection_training.image import data, measure
from detection_training.image.clips import Clip
from detection_training.image.making import upscalers
from detection_training.image.making.autoencoders import Autoencoder
from detection_training.image.making.photographs import Photo
from detection_training.image.making.upscalers import Remake
from detection_training.image.measure import Contest
from detection_training.image.plan import Plan
from detection_training.pipeline.sources import Log
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import write_atomically

CLIP_MAKERS: Final[tuple[str, ...]] = (
    "nearest",
    "eighth",
    "esrgan-slim-x2",
    "transposed",
    "esrgan-medium-x3",
)
"""Makers of the video model's fakes: few, because each has to remake every frame."""
GENERATOR: Final = "gan_face_generate"
FACES: Final = "gan_face_generate/weights.tar"


class OwnAutoencoders(Protocol):
    """Returns the autoencoders, trained on the unpacked packages."""

    def __call__(self, folders: Mapping[str, Path], *, log: Log) -> dict[str, Autoencoder]:
        """Return them by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to measure on, and where it is kept.

    Attributes:
        plan: How much, of which photographs, by which makers.
        seed: Seed of every choice.
        cache: Folder where pictures and clips are kept.
        made_from: Digest of packages and autoencoders.
        autoencoders: Returns them.
    """

    plan: Plan
    seed: int
    cache: Path
    made_from: str
    autoencoders: OwnAutoencoders

    def pictures(self, folders: Mapping[str, Path], split: Split, *, log: Log) -> list[Contest]:
        """Return the contests of a split: seen makers on dev, all makers and faces on test."""
        plan = self.plan
        names = (*plan.seen, *plan.unseen) if split is Split.TEST else plan.seen
        photos = plan.photos_of(folders, split)
        path = self._file("pictures", split, [*names, plan.pictures_each], photos)
        if path.is_file():
            return _load_pictures(path)
        log(f"Images: making the {split} pictures")
        rng = np.random.default_rng([self.seed, 1, split is Split.TEST])
        makers = self._makers(folders, names, log=log)
        found = measure.contests(photos, makers, seen=plan.seen, each=plan.pictures_each, rng=rng)
        if split is Split.TEST and GENERATOR in folders:
            made = upscalers.read_dcgan(folders[GENERATOR] / FACES)
            count = len(photos) * plan.pictures_each
            faces = made(count, self.seed)
            found.append(measure.faces(photos, faces, each=plan.pictures_each, rng=rng))
        _save_pictures(path, found)
        return found

    def clips(self, folders: Mapping[str, Path], split: Split, *, log: Log) -> list[Clip]:
        """Return the clips over photographs of a split."""
        each = 1 if split is Split.TEST else self.plan.clips_each
        unseen = self.plan.unseen if split is Split.TEST else ()
        names = tuple(n for n in CLIP_MAKERS if n in {*self.plan.seen, *unseen})
        photos = self.plan.photos_of(folders, split)
        path = self._file("clips", split, [*names, each], photos)
        if path.is_file():
            return _load_clips(path)
        log(f"Videos: making the {split} clips")
        rng = np.random.default_rng([self.seed, 2, split is Split.TEST])
        makers = self._makers(folders, names, log=log)
        found = image_clips.clips(photos, makers, each=each, rng=rng)
        _save_clips(path, found)
        return found

    def _makers(
        self, folders: Mapping[str, Path], names: Sequence[str], *, log: Log
    ) -> dict[str, Remake]:
        return data.makers(folders, self.autoencoders(folders, log=log), names)

    def _file(
        self, what: str, split: Split, inputs: list[Any], photos: Sequence[tuple[Photo, Path]]
    ) -> Path:
        names = [measure.photo_name(photo) for photo, _ in photos]
        text = json.dumps([what, split, self.seed, self.made_from, inputs, names])
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.cache.mkdir(parents=True, exist_ok=True)
        return self.cache / f"image-{what}-{split}-{digest}.npz"


def _save_pictures(path: Path, found: Sequence[Contest]) -> None:
    arrays = {f"real-{c.size}": c.real for c in found} | {f"fake-{c.maker}": c.fake for c in found}
    index = [
        {
            "maker": c.maker,
            "seen": c.seen,
            "size": c.size,
            "real_photo": c.real_photo,
            "fake_photo": c.fake_photo,
        }
        for c in found
    ]
    _save(path, index, arrays)


def _load_pictures(path: Path) -> list[Contest]:
    with np.load(path) as saved:
        index = json.loads(str(saved["index"]))
        real = {c["size"]: saved[f"real-{c['size']}"] for c in index}
        return [
            Contest(
                maker=c["maker"],
                seen=c["seen"],
                size=c["size"],
                real=real[c["size"]],
                fake=saved[f"fake-{c['maker']}"],
                real_photo=tuple(c["real_photo"]),
                fake_photo=tuple(c["fake_photo"]),
            )
            for c in index
        ]


def _save_clips(path: Path, found: Sequence[Clip]) -> None:
    arrays = {f"clip-{i}": np.frombuffer(c.data, np.uint8) for i, c in enumerate(found)}
    _save(path, [{"maker": c.maker, "photo": c.photo} for c in found], arrays)


def _load_clips(path: Path) -> list[Clip]:
    with np.load(path) as saved:
        index = json.loads(str(saved["index"]))
        return [
            Clip(data=saved[f"clip-{i}"].tobytes(), maker=c["maker"], photo=c["photo"])
            for i, c in enumerate(index)
        ]


def _save(path: Path, index: list[dict[str, Any]], arrays: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, index=np.array(json.dumps(index)), **arrays)
    write_atomically(path, buffer.getvalue())
