"""How much the image pipeline makes and trains, and the models it makes, for each preset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from detection_contract.media_types import MediaKind
from detection_training.image.data import OWN, SEEN, UNSEEN
from detection_training.image.making import photographs
from detection_training.image.making.photographs import Photo
from detection_training.pipeline.package import Design
from detection_training.pipeline.presets import Order, PresetName
from detection_training.pipeline.splits import Split
from detection_worker.core.sampling import ImageSampling, VideoSampling
from detection_worker.core.verdict import Pooling

IMAGE_SAMPLING: Final = ImageSampling(crop_px=128, max_crops=4)
VIDEO_SAMPLING: Final = VideoSampling(max_frames=16, crop_px=128, crops_per_frame=2)
IMAGE: Final = Design(
    id="image-residual-s",
    version="1.0.0",
    kind=MediaKind.IMAGE,
    architecture="image_residual",
    # A million parameters. The bound is wider than the architecture's: training needs the slope.
    params={"width": 24, "limit": 6},
    sampling=IMAGE_SAMPLING,
    pooling=Pooling(within_frame="mean", over_frames="mean"),
    grade="experimental",
)
VIDEO: Final = Design(
    id="video-frames",
    version="1.0.0",
    kind=MediaKind.VIDEO,
    architecture=IMAGE.architecture,
    params=IMAGE.params,
    sampling=VIDEO_SAMPLING,
    pooling=Pooling(within_frame="mean", over_frames="topk_mean", top_share=0.25),
    grade="experimental",
)
SMALL_PARAMS: Final = {"width": 16, "limit": 6}
SMALL_PACKAGES: Final = (
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "scikit-image",
    "scikit-learn",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPlan:
    """How much to train.

    Attributes:
        pairs: Pairs of a real crop and its remake in a batch.
        steps: Batches.
        seconds: Time limit in seconds.
        rate: Highest learning rate.
    """

    pairs: int
    steps: int
    seconds: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much a preset does.

    Attributes:
        image: The image model.
        video: The video model, which borrows its weights.
        autoencoder_steps: Batches for each autoencoder.
        patches_each: Training patches of each photograph.
        fit: First round of training.
        again: Second round, from the first one's weights (warm restart, Loshchilov 2017).
        pictures_each: Measured pictures of each photograph.
        clips_each: Measured clips over each photograph.
        seen: Makers of the fakes that the detector is trained on.
        unseen: Makers that it is only tested on.
        newest: Packages of which the newest versions are taken, as far as they are available;
            empty takes all of the lock file, at their fixed versions.
        photos: Photographs in use.
        most_photos: Largest number of photographs of a split; None for all.
    """

    image: Design = IMAGE
    video: Design = VIDEO
    autoencoder_steps: int
    patches_each: int
    fit: FitPlan
    again: FitPlan
    pictures_each: int
    clips_each: int
    seen: tuple[str, ...] = SEEN
    unseen: tuple[str, ...] = UNSEEN
    newest: tuple[str, ...] = ()
    photos: tuple[Photo, ...] = photographs.ALL
    most_photos: int | None = None

    @property
    def ids(self) -> tuple[str, str]:
        """Folder names of the two models."""
        return self.image.id, self.video.id

    @property
    def autoencoders(self) -> tuple[str, ...]:
        """Names of the makers that are trained on the spot."""
        return tuple(name for name in OWN if name in {*self.seen, *self.unseen})

    def photos_in(self, folders: Mapping[str, Path]) -> Sequence[Photo]:
        """Return the photographs in use, each with its split.

        Args:
            folders: Unpacked packages by name.
        """
        return photographs.at_hand(folders, self.photos) if self.newest else self.photos

    def photos_of(self, folders: Mapping[str, Path], split: Split) -> list[tuple[Photo, Path]]:
        """Return the photographs of a split and their files.

        Raises:
            FileNotFoundError: A package of a fixed version does not hold what is listed.
        """
        return photographs.of_split(
            folders, split, photos=self.photos_in(folders), most=self.most_photos
        )


PLANS: Final[Mapping[PresetName, Plan]] = {
    "full": Plan(
        autoencoder_steps=400,
        patches_each=28,
        fit=FitPlan(pairs=24, steps=2400, seconds=2400.0, rate=3e-3),
        again=FitPlan(pairs=24, steps=800, seconds=600.0, rate=1.5e-3),
        pictures_each=2,
        clips_each=2,
    ),
    "tiny": Plan(
        autoencoder_steps=4,
        patches_each=4,
        fit=FitPlan(pairs=4, steps=4, seconds=60.0, rate=3e-3),
        again=FitPlan(pairs=4, steps=2, seconds=60.0, rate=1.5e-3),
        pictures_each=1,
        clips_each=1,
        unseen=UNSEEN[:1],
        most_photos=2,
    ),
}


def plan_of(order: Order) -> Plan:
    """Return the plan of the order's preset."""
    return small(order.minutes) if order.preset == "small" else PLANS[order.preset]


def small(minutes: float) -> Plan:
    """Return what two cores of 2020 do in ``minutes`` while the audio model is trained beside it.

    The counts follow from the minutes alone, so that a run can be repeated; the limits in seconds
    only guard slower machines.
    """
    share = minutes / 5
    return Plan(
        image=replace(
            IMAGE, id="image-residual-demo", version="0.2.0", params=SMALL_PARAMS, grade="demo"
        ),
        video=replace(
            VIDEO, id="video-frames-demo", version="0.2.0", params=SMALL_PARAMS, grade="demo"
        ),
        autoencoder_steps=max(4, round(200 * share)),
        patches_each=max(2, round(40 * min(share, 3))),
        fit=FitPlan(pairs=24, steps=max(4, round(240 * share)), seconds=110 * share, rate=3e-3),
        again=FitPlan(pairs=24, steps=max(2, round(80 * share)), seconds=40 * share, rate=1.5e-3),
        pictures_each=max(1, round(4 * min(share, 3))),
        clips_each=max(1, round(3 * min(share, 3))),
        seen=("nearest", "shuffle"),
        unseen=("transposed",),
        newest=SMALL_PACKAGES,
        photos=photographs.FEW,
    )
