"""A models folder with small untrained detectors, and a strict local AWS that tests share."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.local_aws import LocalAws


@pytest.fixture(scope="session")
def running_local_aws() -> Iterator[LocalAws]:
    with LocalAws.in_thread() as running:
        yield running


@pytest.fixture
def local_aws(running_local_aws: LocalAws) -> Iterator[LocalAws]:
    yield running_local_aws
    running_local_aws.clear_faults()


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One untrained detector for each of image, video and audio, with its known answer."""
    folder = tmp_path_factory.mktemp("models")
    image = {"crop_px": 128, "max_crops": 4}
    _write(folder / "tiny-image", kind="image", architecture="image_residual", preprocess=image)
    sound = {"sample_rate_hz": 16_000, "window": 64_600, "hop": 32_300, "max_windows": 4}
    _write(folder / "tiny-audio", kind="audio", architecture="audio_lfb", preprocess=sound)
    video = {"max_frames": 4, "crop_px": 128, "crops_per_frame": 1}
    _write(folder / "tiny-video", kind="video", architecture="image_residual", preprocess=video)
    return folder


def _write(folder: Path, *, kind: str, architecture: str, preprocess: dict[str, int]) -> None:
    import safetensors.torch
    import torch

    from detection_worker.core.sampling import AudioSampling, ImageSampling
    from detection_worker.detectors import architectures, self_test
    from detection_worker.detectors.torch_detector import fake_logit

    torch.manual_seed(7)
    network = architectures.build_network(architecture, {}, where="test").eval()
    sampling: Any = (
        AudioSampling(**preprocess)
        if kind == "audio"
        else ImageSampling(crop_px=preprocess["crop_px"], max_crops=1)
    )
    units = torch.from_numpy(self_test.unit(sampling, seed=1))
    with torch.inference_mode():
        outputs = network(units.permute(0, 3, 1, 2) if units.ndim == 4 else units)
    folder.mkdir()
    weights = folder / "model.safetensors"
    safetensors.torch.save_file(network.state_dict(), weights)
    manifest = {
        "schema": 1,
        "id": folder.name,
        "version": "1.0.0",
        "modality": kind,
        "grade": "demo",
        "architecture": {"name": architecture, "params": {}},
        "weights": {
            "file": weights.name,
            "format": "safetensors",
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "bytes": weights.stat().st_size,
        },
        "preprocess": preprocess,
        "output": {"activation": "sigmoid", "classes": ["real", "fake"], "fake_index": 1},
        "aggregate": {},
        "calibration": {"method": "none"},
        "selftest": [{"seed": 1, "logit": float(fake_logit(outputs, fake_index=1)[0])}],
        "license": "Apache-2.0",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
