"""A video model without weights, which scores frames with an imported image model.

No torch here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import VideoSampling
from detection_worker.detectors.importing.published import Published
from detection_worker.detectors.model_folder.manifest import MANIFEST_NAME, ModelError

SUFFIX: Final = "-video"
FRAMES: Final = 32
"""Frames spread over a video: as many as DeepfakeBench and SBI score."""
CROPS: Final = 2
"""Most crops of one frame. There are many frames, and a video of minutes must not take hours."""


def names(name: str, published: Published, *, video: bool) -> list[str]:
    """Return what an import makes: the model, and after it the video model that uses it.

    Args:
        name: Name of the image model.
        published: Its architecture.
        video: A video model is wanted.

    Raises:
        ModelError: It is wanted of a model of sound.
    """
    if not video:
        return [name]
    if published.kind is not MediaKind.IMAGE:
        raise ModelError(
            f"{published.architecture} scores sound, so it cannot score videos\nLeave --video out."
        )
    return [name, name + SUFFIX]


def write(folder: Path, image: Mapping[str, Any]) -> None:
    """Write the video model's manifest and card.

    Args:
        folder: Empty, of the video model's name.
        image: Manifest of the image model.
    """
    manifest = _manifest(folder.name, image)
    (folder / "MODEL_CARD.md").write_text(_card(manifest, image), encoding="utf-8")
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _manifest(name: str, image: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("schema", "version", "grade", "output", "calibration", "selftest", "license")
    sampling = _sampling(image["preprocess"])
    return {
        # The known answers are the image model's own: a unit is one picture there as here.
        **{field: image[field] for field in kept},
        "id": name,
        "modality": MediaKind.VIDEO.value,
        "uses": {"id": image["id"], "sha256": image["weights"]["sha256"]},
        "preprocess": {n: getattr(sampling, n) for n in type(sampling).__slots__},
        # Frames are averaged, as the papers do, whatever an image model has no use for.
        "aggregate": {**image["aggregate"], "over_frames": "mean"},
        "training": {"made_by": image["training"]["made_by"], "uses": image["id"]},
    }


def _sampling(image: Mapping[str, Any]) -> VideoSampling:
    every_face = image["view"] == "faces"
    return VideoSampling(
        max_frames=FRAMES,
        crop_px=image["crop_px"],
        crops_per_frame=image["max_crops"] if every_face else min(image["max_crops"], CROPS),
        view=image["view"],
        face_scale=image["face_scale"],
        face_shape=image["face_shape"],
    )


def _card(manifest: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    seen = manifest["preprocess"]
    what = "faces" if seen["view"] == "faces" else f"cuts ({seen['view']})"
    return f"""# {manifest["id"]}

Scores videos with the network and weights of the image model `{image["id"]}`: at most
{seen["max_frames"]} frames, spread over the video, and of each at most
{seen["crops_per_frame"]} {what}. Logits are pooled by {manifest["aggregate"]["within_frame"]}
within a frame, then by mean over frames.
Nobody measured or calibrated it here, and what moves from frame to frame it does not see.
**Measure it on your own files before you rely on a score.**

| | |
| --- | --- |
| Weights | those of `{image["id"]}`, sha256 `{manifest["uses"]["sha256"]}`; see its card |
| Calibration | none |
| Licence of the weights, as given at the import | {" ".join(manifest["license"].split())} |
"""
