"""Makes small model folders with random weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from detection_worker.core.sampling import AudioSampling, ImageSampling
from detection_worker.detectors import architectures, self_test
from detection_worker.detectors.torch_detector import fake_logit

SAMPLINGS: dict[str, tuple[str, ImageSampling | AudioSampling]] = {
    "image": ("image_residual", ImageSampling(crop_px=128, max_crops=4)),
    "audio": ("audio_lfb", AudioSampling()),
}
MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    def make(model_id: str, *, kind: str = "image", seed: int = 0, **changes: Any) -> Path:
        architecture, sampling = SAMPLINGS[kind]
        torch.manual_seed(seed)
        network = architectures.build_network(architecture, {}, where="test").eval()
        folder = tmp_path / "models" / model_id
        folder.mkdir(parents=True)
        weights = folder / "model.safetensors"
        safetensors.torch.save_file(network.state_dict(), weights)
        data = manifest_data(model_id, kind=kind) | {
            "weights": weights_entry(weights),
            "selftest": [{"seed": 1, "logit": answer(network, sampling)}],
        }
        (folder / "manifest.json").write_text(json.dumps(data | changes))
        return folder

    return make


def weights_entry(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "file": path.name,
        "format": "safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }


def answer(network: torch.nn.Module, sampling: ImageSampling | AudioSampling) -> float:
    units = torch.from_numpy(self_test.unit(sampling, seed=1))
    with torch.inference_mode():
        outputs = network(units.permute(0, 3, 1, 2) if units.ndim == 4 else units)
    return float(fake_logit(outputs, fake_index=1)[0])


def manifest_data(model_id: str, *, kind: str) -> dict[str, Any]:
    architecture, sampling = SAMPLINGS[kind]
    return {
        "schema": 1,
        "id": model_id,
        "version": "1.0.0",
        "modality": kind,
        "grade": "demo",
        "architecture": {"name": architecture, "params": {}},
        "weights": {
            "file": "m.safetensors",
            "format": "safetensors",
            "sha256": "0" * 64,
            "bytes": 1,
        },
        "preprocess": {name: getattr(sampling, name) for name in type(sampling).__slots__},
        "output": {"activation": "sigmoid", "classes": ["real", "fake"], "fake_index": 1},
        "aggregate": {"within_frame": "mean", "over_frames": "mean"},
        "calibration": {"method": "platt", "a": 1.5, "b": -0.25, "fitted_on": "dev"},
        "selftest": [{"seed": 1, "logit": 0.0}],
        "license": "Apache-2.0",
    }
