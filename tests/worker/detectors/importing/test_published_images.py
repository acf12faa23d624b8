"""Image networks against independent ones of the same papers, with the same weights and pictures.

``published_images.json`` holds what those networks call their tensors, and what they answer for
weights and pictures that follow from numbers alone: so the comparison runs everywhere. Where timm
or efficientnet-pytorch is installed, it runs against them again, and the file is checked too.
The layouts of DeepfakeBench and SBI are those networks under the names that their files are known
to have; no file of theirs was at hand.
"""

import functools
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detection_testing.media import known_values
from detection_worker.detectors import architectures
from detection_worker.detectors.importing.checkpoint import Checkpoint
from detection_worker.detectors.importing.matching import Match, best_match
from detection_worker.detectors.importing.published import PUBLISHED
from detection_worker.detectors.networks.image.pixels import SCALES

FIXTURE = Path(__file__).with_name("published_images.json")
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One published layout and the independent network that it is compared with.

    Attributes:
        architecture: Ours.
        layout: Our layout.
        package: Package of the independent network.
        names: Key of its tensors in the fixture.
        file_names: Function from those to the names in a file of this layout.
        gain: Gain of the weights, chosen so that the logits neither vanish nor run away.
        scale: Scale of the pixels.
        side_px: Side of the pictures; not the one that static padding fits, where there is any.
    """

    architecture: str
    layout: str
    package: str
    names: str
    file_names: Callable[[str], str]
    gain: float
    scale: str
    side_px: int


def bench_efficientnet(name: str) -> str:
    head = name.replace("_fc.", "backbone.last_layer.")
    return head if head != name else f"backbone.efficientnet.{name}"


CASES = {
    "xception-timm": Case(
        architecture="xception",
        layout="timm",
        package="timm",
        names="xception",
        file_names=lambda name: name,
        gain=1.0,
        scale="symmetric",
        side_px=299,
    ),
    "xception-deepfakebench": Case(
        architecture="xception",
        layout="deepfakebench",
        package="timm",
        names="xception",
        file_names=lambda name: f"backbone.{name.replace('fc.', 'last_linear.')}",
        gain=1.0,
        scale="symmetric",
        side_px=256,
    ),
    "efficientnet-b4-timm": Case(
        architecture="efficientnet-b4",
        layout="timm",
        package="timm",
        names="tf_efficientnet_b4",
        file_names=lambda name: name,
        gain=1.72,
        scale="imagenet",
        side_px=255,
    ),
    "efficientnet-b4-sbi": Case(
        architecture="efficientnet-b4",
        layout="sbi",
        package="efficientnet_pytorch",
        names="efficientnet-b4",
        file_names=lambda name: f"net.{name}",
        gain=1.8,
        scale="unit",
        side_px=256,
    ),
    "efficientnet-b4-deepfakebench": Case(
        architecture="efficientnet-b4",
        layout="deepfakebench",
        package="efficientnet_pytorch",
        names="efficientnet-b4",
        file_names=bench_efficientnet,
        gain=1.9,
        scale="symmetric",
        side_px=256,
    ),
}
every_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def fixture() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FIXTURE.read_text())
    return loaded


def shapes(layers: Mapping[str, str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield every tensor of layers like ``conv 48x3x3x3``, ``biased 2x1792`` or ``norm 48``."""
    for layer, told in layers.items():
        kind, _, size = told.partition(" ")
        shape = tuple(int(side) for side in size.split("x"))
        yield f"{layer}.weight", shape
        if kind != "conv":
            yield f"{layer}.bias", shape[:1]
        if kind == "norm":
            yield from ((f"{layer}.running_{what}", shape) for what in ("mean", "var"))
            yield f"{layer}.num_batches_tracked", ()


def pixels(side_px: int) -> Tensor:
    return torch.from_numpy(known_values.pictures(side_px)).permute(0, 3, 1, 2)


def scaled(x: Tensor, scale: str) -> Tensor:
    mean, std = (torch.tensor(side).view(1, 3, 1, 1) for side in SCALES[scale])
    return (x.float() / 255 - mean) / std


def file_tensors(case: Case) -> Tensors:
    wanted = dict(shapes(fixture()["names"][case.names]))
    return known_values.weights(
        {case.file_names(name): shape for name, shape in wanted.items()}, gain=case.gain
    )


def matched(tensors: Tensors, architecture: str) -> Match:
    checkpoint = Checkpoint(tensors=tensors, sha256="0" * 64, wrapper=())
    return best_match(checkpoint, PUBLISHED[architecture], where="file")


def network(found: Match) -> nn.Module:
    published = found.published
    ours = architectures.build_network(published.architecture, published.params, where="test")
    ours.load_state_dict(found.tensors)
    return ours.eval()


def logits(found: Match, x: Tensor) -> Tensor:
    with torch.inference_mode():
        outputs: Tensor = network(found)(x)
    return outputs


@every_case
def test_a_published_file_is_told_by_its_names(name: str) -> None:
    case = CASES[name]

    found = matched(file_tensors(case), case.architecture)

    assert found.report.complete
    assert found.published.layout.name == case.layout
    assert found.published.params.get("scale") == case.scale


@pytest.mark.slow
@every_case
def test_a_network_answers_as_the_independent_one_did(name: str) -> None:
    case = CASES[name]

    found = logits(matched(file_tensors(case), case.architecture), pixels(case.side_px))

    known = torch.tensor(fixture()["scores"][name])
    assert float(known.std(dim=0).min()) > 0.03, "the answer hangs on the picture"
    torch.testing.assert_close(found, known, atol=1e-3, rtol=1e-4)


def independent(case: Case) -> nn.Module:
    """Return the other network, with the weights of the case; skips where it is not installed."""
    pytest.importorskip(case.package, reason=f"{case.package} is needed to compare with it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module(case.package)
        if case.package == "timm":
            name = {"xception": "legacy_xception"}.get(case.names, case.names)
            other: nn.Module = package.create_model(name, num_classes=2)
        else:
            other = package.EfficientNet.from_name(case.names, num_classes=2)
    if case.layout == "deepfakebench" and case.names == "efficientnet-b4":
        other._conv_stem = nn.Conv2d(3, 48, 3, stride=2, bias=False)
    tensors = file_tensors(case)
    other.load_state_dict({name: tensors[case.file_names(name)] for name in other.state_dict()})
    return other.eval()


@pytest.mark.slow
@every_case
def test_a_network_answers_as_the_independent_one_does(name: str) -> None:
    case = CASES[name]
    x = pixels(case.side_px)
    other = independent(case)

    ours = logits(matched(file_tensors(case), case.architecture), x)

    with torch.inference_mode():
        theirs = other(scaled(x, case.scale))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(
        theirs, torch.tensor(fixture()["scores"][name]), atol=1e-3, rtol=1e-4
    )


@pytest.mark.slow
def test_padding_that_was_fixed_for_other_pictures_is_told_from_padding_that_fits() -> None:
    tensors = file_tensors(CASES["efficientnet-b4-sbi"])
    found = matched(tensors, "efficientnet-b4")
    fitting = architectures.build_network(
        "efficientnet-b4", dict(found.published.params) | {"padding_px": 0}, where="test"
    ).eval()
    fitting.load_state_dict(found.tensors)

    with torch.inference_mode():
        fits_380 = (fitting(pixels(380)) - logits(found, pixels(380))).abs().max()
        at_256 = (fitting(pixels(256)) - logits(found, pixels(256))).abs().max()

    assert float(fits_380) < 1e-4
    assert float(at_256) > 1e-2


@pytest.mark.slow
def test_an_old_file_fits_once_its_shapes_and_counters_are_completed() -> None:
    tensors = file_tensors(CASES["xception-timm"])
    old = {
        name.replace("fc.", "last_linear."): value.flatten(1) if "pointwise" in name else value
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }

    found = matched(old, "xception")

    assert found.published.layout.name == "cadene"
    assert found.notes == (
        "34 given their trailing dimensions of one",
        "40 counters of training batches set to zero: the file has none",
    )
    known = torch.tensor(fixture()["scores"]["xception-timm"])
    torch.testing.assert_close(logits(found, pixels(299)), known, atol=1e-3, rtol=1e-4)


def npr_reference() -> nn.Module:
    """Return torchvision's half of a ResNet-50 with NPR's first and last layer."""
    whole = torchvision.models.resnet50()
    half = nn.Module()
    half.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
    half.bn1, half.layer1, half.layer2 = whole.bn1, whole.layer1, whole.layer2
    half.fc1 = nn.Linear(512, 1)
    wanted = {name: tuple(value.shape) for name, value in half.state_dict().items()}
    half.load_state_dict(known_values.weights(wanted, gain=1.0))
    return half.eval()


@pytest.mark.slow
@pytest.mark.parametrize("side_px", [256, 255, 101])
def test_npr_answers_as_torchvisions_layers_on_its_differences(side_px: int) -> None:
    half: Any = npr_reference()
    x = pixels(side_px)
    even = scaled(x, "imagenet")[:, :, : side_px // 2 * 2, : side_px // 2 * 2]

    ours = logits(matched(half.state_dict(), "npr"), x)

    with torch.inference_mode():
        resize = functools.partial(nn.functional.interpolate, mode="nearest")
        same = resize(resize(even, scale_factor=0.5), scale_factor=2.0)
        y = torch.relu(half.bn1(half.conv1((even - same) * 2 / 3)))
        y = half.layer2(half.layer1(nn.functional.max_pool2d(y, 3, stride=2, padding=1)))
        theirs = half.fc1(y.mean(dim=(2, 3)))
    assert float(theirs.std()) > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["xception", "efficientnet-b4", "npr"])
def test_a_unit_scores_the_same_whatever_shares_its_batch(architecture: str) -> None:
    torch.manual_seed(0)
    ours = architectures.build_network(architecture, {}, where="test").eval()
    units = pixels(128).repeat(2, 1, 1, 1)

    with torch.inference_mode():
        together = ours(units)
        alone = torch.cat([ours(unit[None]) for unit in units])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        pytest.param("xception", 20_811_050, id="Xception: 22.9 million with 1,000 classes"),
        pytest.param("efficientnet-b4", 17_552_202, id="EfficientNet-B4: 19 million with 1,000"),
        pytest.param("npr", 1_437_761, id="NPR: 1.44 million in the paper"),
    ],
)
def test_a_network_is_as_large_as_the_published_one(architecture: str, parameters: int) -> None:
    ours = architectures.build_network(architecture, {}, where="test")

    assert sum(p.numel() for p in ours.parameters()) == parameters
