"""The face finder's folder beside the models: what describes it, and how it is loaded."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, ValidationError

from detection_worker.core.sampling import ImageSampling
from detection_worker.detectors import self_test
from detection_worker.detectors.model_folder.manifest import ModelError, WeightsFile
from detection_worker.detectors.model_folder.manifest_parts import (
    ModelId,
    Part,
    Version,
    WeightsPart,
)

if TYPE_CHECKING:
    import torch

    from detection_worker.detectors.faces.finding import MtcnnFinder
    from detection_worker.detectors.networks.image.mtcnn import Mtcnn

FOLDER_NAME: Final = "face-mtcnn"
DESCRIPTION_NAME: Final = "face-finder.json"
"""Not ``manifest.json``: the folder scores nothing, it serves models that look at faces."""
SCHEMA: Final = 1
MAX_DESCRIPTION_BYTES: Final = 64 * 1024


class FaceAnswer(Part):
    """Known log-odds of a face, of the three networks, for one pseudo-random picture."""

    seed: Annotated[int, Field(ge=0)]
    odds: tuple[float, float, float]


class FaceDescription(Part):
    """``face-finder.json``."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    id: ModelId
    version: Version
    architecture: Literal["mtcnn"]
    weights: WeightsPart
    selftest: Annotated[list[FaceAnswer], Field(min_length=1)]
    source: str
    license: str


def load_face_finder(models_dirs: Sequence[Path], *, device: str) -> "MtcnnFinder":
    """Return the face finder of the first directory that holds one, proven by known answers.

    Args:
        models_dirs: Directories of models, in order of preference.
        device: As for ``registry.load_detectors``.

    Raises:
        ModelError: There is none, or it cannot be used.
    """
    for models_dir in models_dirs:
        if (models_dir / FOLDER_NAME / DESCRIPTION_NAME).is_file():
            return _load(models_dir / FOLDER_NAME, device)
    raise ModelError(
        f"{models_dirs[0] / FOLDER_NAME}: no face finder, which this model needs\n"
        "Copy the folder of that name from the models that ship with the program."
    )


def read_description(folder: Path) -> FaceDescription:
    """Return the checked description of a face finder.

    Raises:
        ModelError: It cannot be read, or breaks its schema.
    """
    path = folder / DESCRIPTION_NAME
    try:
        with path.open("rb") as file:
            return FaceDescription.model_validate_json(file.read(MAX_DESCRIPTION_BYTES))
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in error["loc"])
        raise ModelError(f"{path}: {field}: {error['msg']}") from exc


def answers(networks: "Mtcnn", *, seed: int) -> tuple[float, float, float]:
    """Return the log-odds of a face that each network gives one pseudo-random picture.

    Args:
        networks: On any device.
        seed: See ``self_test.unit``.
    """
    import torch  # noqa: PLC0415 - slow import; listing models must not wait

    from detection_worker.detectors.networks.image import mtcnn  # noqa: PLC0415 - needs torch

    side = mtcnn.OUTPUT_PX
    unit = torch.from_numpy(self_test.unit(ImageSampling(crop_px=side), seed=seed))
    device = next(networks.parameters()).device
    pixels = mtcnn.normalised(unit.permute(0, 3, 1, 2)).to(device)
    sides = (mtcnn.PROPOSAL_PX, mtcnn.REFINE_PX, mtcnn.OUTPUT_PX)
    with torch.inference_mode():
        first, second, third = (
            float(network(pixels[:, :, :px, :px].contiguous())[0].reshape(-1)[0])
            for network, px in zip(_stages(networks), sides, strict=True)
        )
    return first, second, third


def _stages(networks: "Mtcnn") -> "tuple[torch.nn.Module, ...]":
    return networks.pnet, networks.rnet, networks.onet


def _load(folder: Path, device: str) -> "MtcnnFinder":
    from detection_worker.detectors.faces.finding import MtcnnFinder  # noqa: PLC0415 - needs torch
    from detection_worker.detectors.model_folder import weights  # noqa: PLC0415 - needs torch
    from detection_worker.detectors.networks.image import mtcnn  # noqa: PLC0415 - needs torch

    description = read_description(folder)
    file = WeightsFile(
        file=description.weights.file,
        sha256=description.weights.sha256,
        size_bytes=description.weights.bytes,
    )
    networks = mtcnn.build()
    weights.fill(networks, weights.load_weights(folder, file), where=str(folder / file.file))
    finder = MtcnnFinder(networks, device=device, sha256=file.sha256)
    tolerance = self_test.TOLERANCE["cuda" if device.startswith("cuda") else "cpu"]
    for known in description.selftest:
        got = answers(networks, seed=known.seed)
        if not all(abs(g - k) <= tolerance for g, k in zip(got, known.odds, strict=True)):
            raise ModelError(
                f"{folder / DESCRIPTION_NAME}: selftest: seed {known.seed} gives other answers; "
                "the weights do not belong to this program"
            )
    return finder


def describe(description: FaceDescription) -> str:
    """Return a description as the text of its file."""
    return json.dumps(description.model_dump(by_alias=True), indent=2) + "\n"
