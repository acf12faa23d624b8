"""The face finder's folder from published weights; `python -m` this module.

The weights are those of the wheel of facenet-pytorch 2.6.0 (MIT), three files of bare tensors. The
wheel is opened as an archive; nothing of it is installed, imported or run.

    pip download --no-deps facenet-pytorch==2.6.0
    python -m detection_training.scripts.face_weights facenet_pytorch-2.6.0-py3-none-any.whl
"""

import argparse
import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import safetensors.torch

from detection_worker.detectors.faces import model as face_model
from detection_worker.detectors.faces.model import FaceAnswer, FaceDescription
from detection_worker.detectors.importing.checkpoint import read_checkpoint
from detection_worker.detectors.model_folder import weights
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.model_folder.manifest_parts import WeightsPart
from detection_worker.detectors.networks.image import mtcnn
from detection_worker.errors import UsageError

SOURCE: Final = "facenet-pytorch 2.6.0 (wheel on PyPI), converted"
DIGESTS: Final = {
    "facenet_pytorch/data/pnet.pt": (
        "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"
    ),
    "facenet_pytorch/data/rnet.pt": (
        "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86"
    ),
    "facenet_pytorch/data/onet.pt": (
        "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"
    ),
}
"""The files that are taken, and their sha256."""
LICENSE_FILE: Final = "facenet_pytorch-2.6.0.dist-info/LICENSE.md"
LICENSE_NAME: Final = "LICENSE.md"
WEIGHTS_NAME: Final = "model.safetensors"
MAX_BYTES: Final = 4 << 20
SEEDS: Final = (1, 2)


def convert(wheel: Path, models_dir: Path) -> Path:
    """Write the folder of the face finder and return it.

    Its ``MODEL_CARD.md`` is written by people and stays as it is.

    Args:
        wheel: The wheel of facenet-pytorch 2.6.0.
        models_dir: Gets the folder.

    Raises:
        UsageError: The wheel is another one, or does not fit.
    """
    networks = mtcnn.build()
    with tempfile.TemporaryDirectory() as scratch:
        license_text = _extract(wheel, Path(scratch))
        for name, network in networks.named_children():
            path = Path(scratch) / f"{name}.pt"
            tensors = dict(read_checkpoint(path, max_bytes=MAX_BYTES).tensors)
            weights.fill(network, tensors, where=f"{name}.pt")
    data = safetensors.torch.save({k: v.contiguous() for k, v in networks.state_dict().items()})
    description = FaceDescription.model_validate(
        {
            "schema": 1,
            "id": face_model.FOLDER_NAME,
            "version": "1.0.0",
            "architecture": "mtcnn",
            "weights": WeightsPart(
                file=WEIGHTS_NAME,
                format="safetensors",
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
            ),
            "selftest": [_answer(networks, seed) for seed in SEEDS],
            "source": SOURCE,
            "license": "MIT",
        }
    )
    folder = models_dir / face_model.FOLDER_NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_NAME).write_bytes(data)
    (folder / LICENSE_NAME).write_text(license_text, encoding="utf-8")
    (folder / face_model.DESCRIPTION_NAME).write_text(
        face_model.describe(description), encoding="utf-8"
    )
    face_model.load_face_finder([models_dir], device="cpu")
    return folder


def _answer(networks: mtcnn.Mtcnn, seed: int) -> FaceAnswer:
    first, second, third = (round(odds, 5) for odds in face_model.answers(networks, seed=seed))
    return FaceAnswer(seed=seed, odds=(first, second, third))


def _extract(wheel: Path, folder: Path) -> str:
    """Put the three files into ``folder`` and return the text of their licence."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, digest in DIGESTS.items():
                data = archive.read(name)
                if hashlib.sha256(data).hexdigest() != digest:
                    raise ModelError(f"{wheel}: {name} is not the one of version 2.6.0")
                (folder / Path(name).name).write_bytes(data)
            return archive.read(LICENSE_FILE).decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile) as exc:
        raise ModelError(f"{wheel}: no wheel of facenet-pytorch 2.6.0: {exc}") from exc


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert the wheel that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the folder of the face finder.")
    parser.add_argument("wheel", type=Path, help="facenet_pytorch-2.6.0-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=bundled_models_dir(), metavar="DIR")
    args = parser.parse_args(arguments)
    try:
        folder = convert(args.wheel, args.output)
    except UsageError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    print(f"Wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
