"""A folded network gives the scores of the one that was trained, or it is not folded."""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, Sampling
from detection_worker.detectors import optimise, registry, self_test
from detection_worker.detectors.architectures import ARCHITECTURES, build_network
from detection_worker.detectors.model_folder import listing, weights
from detection_worker.detectors.model_folder.manifest import Borrowed
from detection_worker.detectors.saliency import saliency
from detection_worker.detectors.torch_detector import TorchDetector

WEIGHTS = Path(__file__).resolve().parents[4] / "shared" / "models"
SPEECH = AudioSampling(sample_rate_hz=16_000, window=8_000, hop=8_000, max_windows=1)
PICTURE = ImageSampling(crop_px=64, max_crops=1)
SMALL_CLIP = {"width": 64, "layers": 1, "patch_px": 32, "side_px": 64}
SMALL_XLSR = {"channels": 32, "width": 64, "layers": 1, "heads": 4, "hidden": 64}
CASES: Mapping[str, tuple[Mapping[str, Any], Sampling, int]] = {
    "aasist": ({}, SPEECH, 6),
    "aasist-l": ({}, SPEECH, 6),
    "audio_lfb": ({}, SPEECH, 12),
    "clip-b16": ({**SMALL_CLIP, "embedding": 32}, PICTURE, 0),
    "efficientnet-b4": ({}, PICTURE, 96),
    "effort": (SMALL_CLIP, PICTURE, 0),
    "frozen-head": ({"base": "image_residual"}, PICTURE, 13),
    "image_residual": ({}, PICTURE, 13),
    "lfcc-lcnn": ({}, SPEECH, 0),
    "npr": ({}, PICTURE, 24),
    "rawnet2": ({}, SPEECH, 6),
    "univfd": ({**SMALL_CLIP, "embedding": 32}, PICTURE, 0),
    "xception": ({}, PICTURE, 40),
    "xlsr-aasist": (SMALL_XLSR, SPEECH, 6),
}
"""Parameters, units and folded norms of each architecture."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def norms_of(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


def as_trained(network: nn.Module) -> nn.Module:
    """Give every norm statistics as after training; those of a new one change nothing."""
    torch.manual_seed(1)
    for norm in norms_of(network):
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.uniform_(norm.running_mean, -0.3, 0.3)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
    return network.eval()


def inputs(sampling: Sampling) -> Tensor:
    units = np.concatenate([self_test.unit(sampling, seed=seed) for seed in (3, 4, 5)])
    x = torch.from_numpy(units)
    return x.movedim(-1, -3) if x.ndim > 2 else x


def difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        a, b = one(x), other(x)
    return float(((a - b).abs() / a.abs().clamp(min=1.0)).max())


def test_every_architecture_is_here() -> None:
    assert CASES.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", CASES)
def test_folding_changes_no_score(name: str) -> None:
    params, sampling, wanted = CASES[name]
    network = as_trained(build_network(name, params, where=name))
    before = copy.deepcopy(network)

    folded = optimise.fold(network, self_test.unit(sampling, seed=0), name=name)

    assert folded == wanted
    assert len(norms_of(network)) == len(norms_of(before)) - folded
    laid_out = optimise.laid_out(network, device="cpu")
    assert difference(before, laid_out, inputs(sampling)) <= 1e-5


@pytest.mark.parametrize("name", ["audio-lfb-demo", "audio-lfb-resnet-s", "image-residual-s"])
def test_bundled_models_keep_their_scores(name: str) -> None:
    manifest = listing.read_all(listing.bundled_models_dir())[0][name]
    assert not isinstance(manifest.network, Borrowed)
    architecture, file = manifest.network
    network = build_network(architecture.name, architecture.params, where=name).eval()
    folder = listing.bundled_models_dir() / name
    weights.fill(network, weights.load_weights(folder, file), where=name)
    before = copy.deepcopy(network)

    assert optimise.fold(network, self_test.unit(manifest.sampling, seed=0), name=name)
    assert norms_of(network) == []
    laid_out = optimise.laid_out(network, device="cpu")
    assert difference(before, laid_out, inputs(manifest.sampling)) <= 1e-5


@pytest.mark.parametrize(
    ("name", "file"), [("aasist", "AASIST.pth"), ("aasist-l", "AASIST-L.pth")]
)
def test_published_weights_keep_their_scores(name: str, file: str) -> None:
    path = WEIGHTS / file
    if not path.is_file():
        pytest.skip(f"the authors' {path.name} is not at {path.parent}")
    network = build_network(name, {}, where=name).eval()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    before = copy.deepcopy(network)

    assert optimise.fold(network, self_test.unit(SPEECH, seed=0), name=name) == 6
    assert difference(before, network, inputs(SPEECH)) <= 1e-5


class OneNorm(nn.Module):
    """A layer and a norm; what goes on between them is a test's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: nn.Module = nn.Conv1d(1, 4, 3)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.after(self.layer(x.unsqueeze(1))).mean(dim=(1, 2))
        return logits

    def after(self, y: Tensor) -> Tensor:
        normed: Tensor = self.norm(y)
        return normed


class UsedTwice(OneNorm):
    def after(self, y: Tensor) -> Tensor:
        return super().after(y) + y


class NormedTwice(OneNorm):
    def after(self, y: Tensor) -> Tensor:
        return super().after(super().after(y))


class CalledTwice(OneNorm):
    def forward(self, x: Tensor) -> Tensor:
        other: Tensor = self.layer(x.unsqueeze(1)).mean(dim=(1, 2))
        return super().forward(x) + other


class Between(OneNorm):
    def after(self, y: Tensor) -> Tensor:
        return super().after(y.relu())


class Weighted(OneNorm):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 4, 3))


class OfTheBatch(OneNorm):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)


class Failing(OneNorm):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(f"wants 8 channels, not {x.shape}")


def made(kind: type[OneNorm]) -> nn.Module:
    network = kind()
    if network.norm.running_mean is None:
        return network.eval()
    return as_trained(network)


def test_a_layer_and_its_norm_become_one_layer() -> None:
    network = made(OneNorm)
    before = copy.deepcopy(network)

    assert optimise.fold(network, self_test.unit(SPEECH, seed=0), name="x") == 1
    assert difference(before, network, inputs(SPEECH)) <= 1e-6


@pytest.mark.parametrize(
    "kind", [UsedTwice, NormedTwice, CalledTwice, Between, Weighted, OfTheBatch, Failing]
)
def test_what_cannot_be_folded_is_left_as_it_was(
    kind: type[OneNorm], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    network = made(kind)
    tensors = copy.deepcopy(network.state_dict())

    assert optimise.fold(network, self_test.unit(SPEECH, seed=0), name="odd") == 0

    assert network.state_dict().keys() == tensors.keys()
    assert all(torch.equal(tensors[name], t) for name, t in network.state_dict().items())
    assert [(r.levelname, r.message[:5]) for r in caplog.records] == [("DEBUG", "odd: ")]


def test_a_folded_network_explains_its_scores_as_before(tiny_models: Path) -> None:
    found = registry.load_detectors(tiny_models, threads=1).by_kind[MediaKind.IMAGE]
    assert isinstance(found, TorchDetector)
    manifest = listing.read_all(tiny_models)[0][found.card.name]
    assert not isinstance(manifest.network, Borrowed)
    architecture, file = manifest.network
    network = build_network(architecture.name, architecture.params, where="x")
    weights.fill(network, weights.load_weights(tiny_models / manifest.id, file), where="x")
    units = self_test.unit(found.card.sampling, seed=2).astype(np.uint8)

    folded = saliency(found, units)

    assert norms_of(found.network[0]) == []
    trained = saliency(TorchDetector(card=found.card, module=network), units)
    np.testing.assert_allclose(folded, trained, rtol=1e-3, atol=1e-3 * float(trained.max()))


def test_a_long_pass_gets_all_threads_and_a_short_one_one() -> None:
    network = build_network("image_residual", {}, where="x").eval()
    seen: list[int] = []
    network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    unit = self_test.unit(PICTURE, seed=0)
    work = optimise.choose_threads(network, unit, most=2)
    network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    long = -(-optimise.LONG_PASS // work)
    seen.clear()

    for count in (1, long - 1, long, 1):
        network(inputs(PICTURE)[:1].expand(count, -1, -1, -1))

    assert seen[1::2] == [1, 1, 2, 1]


def test_the_work_of_a_network_is_its_multiply_adds() -> None:
    network = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 3), nn.Flatten())
    samples = SPEECH.window

    work = optimise.choose_threads(network, self_test.unit(SPEECH, seed=0), most=2)

    assert work == 4 * 3 * (samples - 2)


def test_a_network_that_fails_is_left_to_the_self_test() -> None:
    assert optimise.choose_threads(Failing(), self_test.unit(SPEECH, seed=0), most=2) == 0
