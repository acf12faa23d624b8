import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from detection_training.image.making import upscalers
from detection_training.image.making.upscalers import (
    Graph,
    read_dcgan,
    read_layers,
    read_ncnn,
    remake_by,
)


def layer(kind: str, name: str, after: Sequence[str], **config: object) -> dict[str, object]:
    inbound = [[[source, 0, 0, {}] for source in after]] if after else []
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": inbound}


def write_layers(folder: Path, convolutions: dict[str, nn.Conv2d], *, extra: str = "Add") -> None:
    """Write a network of two convolutions, a shortcut and nearest-neighbour up-sampling."""
    layers = [
        layer("InputLayer", "LR", []),
        layer("Conv2D", "first", ["LR"]),
        layer("Activation", "relu", ["first"], activation="relu"),
        layer("Concatenate", "both", ["relu", "LR"]),
        layer("Conv2D", "second", ["both"]),
        layer(extra, "sum", ["second", "LR"]),
        layer("UpSampling2D", "up", ["sum"], size=[2, 2], interpolation="nearest"),
    ]
    entries, data = [], b""
    for name, module in convolutions.items():
        kernel = module.weight.detach().permute(2, 3, 1, 0)
        assert module.bias is not None
        for part, values in (("kernel", kernel), ("bias", module.bias.detach())):
            entries.append({"name": f"{name}/{part}", "shape": list(values.shape)})
            data += values.contiguous().numpy().astype("<f4").tobytes()
    model = {
        "modelTopology": {"model_config": {"config": {"layers": layers}}},
        "weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": entries}],
    }
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(json.dumps(model))
    (folder / "a.bin").write_bytes(data[:40])
    (folder / "b.bin").write_bytes(data[40:])


def convolutions() -> dict[str, nn.Conv2d]:
    torch.manual_seed(3)
    return {"first": nn.Conv2d(3, 4, 3, padding=1), "second": nn.Conv2d(7, 3, 1)}


def test_layers_of_tensorflow_js_compute_what_they_say(tmp_path: Path) -> None:
    modules = convolutions()
    write_layers(tmp_path, modules)
    x = torch.rand(2, 3, 5, 6)
    hidden = torch.cat([functional.relu(modules["first"](x)), x], dim=1)
    wanted = functional.interpolate(modules["second"](hidden) + x, scale_factor=2)

    found = read_layers(tmp_path)(x)

    assert torch.allclose(found, wanted.detach(), atol=1e-6)


def test_a_network_that_takes_bytes_is_given_bytes(tmp_path: Path) -> None:
    write_layers(tmp_path, convolutions())
    x = torch.rand(1, 3, 4, 4)

    found = read_layers(tmp_path, scaled=False)(x)

    assert torch.allclose(found, read_layers(tmp_path)(x * 255) / 255, atol=1e-5)


def test_an_unknown_layer_is_named(tmp_path: Path) -> None:
    write_layers(tmp_path, convolutions(), extra="Lambda")

    with pytest.raises(ValueError, match="unknown layer Lambda sum"):
        read_layers(tmp_path)


PARAM = """7767517
8 9
Input input 0 1 data
Split split 1 2 data a b
Convolution conv 1 1 a c 0=12 1=3 4=1 5=1 6=324 9=2 -23310=1,2.000000e-01
PReLU act 1 1 c d 0=12
PixelShuffle shuffle 1 1 d e 0=2
Interp up 1 1 b f 0=1 1=2.000000e+00 2=2.000000e+00
BinaryOp add 2 1 e f g
Eltwise mix 2 1 g e output 0=1 -23301=2,2.000000e-01,1.000000e+00
"""


def write_ncnn(folder: Path, kernel: Tensor, bias: Tensor, slopes: Tensor, *, half: bool) -> Path:
    mark = upscalers.NCNN_HALF if half else 0
    weights = kernel.numpy().astype("<f2" if half else "<f4").tobytes()
    rest = b"".join(v.numpy().astype("<f4").tobytes() for v in (bias, slopes))
    path = folder / "net.param"
    path.write_text(PARAM)
    path.with_suffix(".bin").write_bytes(mark.to_bytes(4, "little") + weights + rest)
    return path


@pytest.mark.parametrize("half", [True, False])
def test_ncnn_operations_compute_what_they_say(tmp_path: Path, *, half: bool) -> None:
    torch.manual_seed(4)
    kernel, bias, slopes = torch.randn(12, 3, 3, 3), torch.randn(12), torch.rand(12)
    path = write_ncnn(tmp_path, kernel, bias, slopes, half=half)
    x = torch.rand(1, 3, 6, 4)
    held = kernel.half().float() if half else kernel
    hidden = functional.leaky_relu(functional.conv2d(x, held, bias, padding=1), 0.2)
    shuffled = functional.pixel_shuffle(functional.prelu(hidden, slopes), 2)
    wanted = 0.2 * (shuffled + functional.interpolate(x, scale_factor=2)) + shuffled

    found = read_ncnn(path)(x)

    assert torch.allclose(found, wanted, atol=1e-5)


def test_ncnn_weights_that_are_left_over_are_an_error(tmp_path: Path) -> None:
    path = write_ncnn(
        tmp_path, torch.zeros(12, 3, 3, 3), torch.zeros(12), torch.zeros(12), half=True
    )
    with path.with_suffix(".bin").open("ab") as file:
        file.write(b"1234")

    with pytest.raises(ValueError, match="4 bytes of weights left over"):
        read_ncnn(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("PReLU", "Softmax", "unknown operation Softmax act", id="operation"),
        pytest.param("g e output 0=1", "g e output 0=0", "unknown combination", id="product"),
    ],
)
def test_what_ncnn_is_not_read_here_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_ncnn(
        tmp_path, torch.zeros(12, 3, 3, 3), torch.zeros(12), torch.zeros(12), half=False
    )
    path.write_text(PARAM.replace(old, new))

    with pytest.raises(ValueError, match=message):
        read_ncnn(path)


def test_a_remake_has_the_shape_of_its_original_and_keeps_what_is_smooth() -> None:
    identity = Graph(nodes=(), source="x", result="x")
    ramp = np.tile(np.arange(0, 240, 5, dtype=np.uint8)[None, :, None], (24, 1, 3))
    pictures = np.stack([ramp] * 5)

    remade = remake_by(lambda x: functional.interpolate(identity(x), scale_factor=2), factor=2)(
        pictures
    )

    assert remade.shape == pictures.shape
    assert np.abs(remade.astype(int) - pictures).max() <= 3


def test_the_generator_of_faces_is_the_tutorials(tmp_path: Path) -> None:
    torch.manual_seed(5)
    main = nn.Sequential(
        nn.ConvTranspose2d(100, 16, 4, 1, 0, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    ).eval()
    state = {f"main.{name}": value for name, value in main.state_dict().items()}
    torch.save({"netG_state_dict": state}, tmp_path / "weights.tar")
    noise = torch.randn(2, 100, 1, 1, generator=torch.Generator().manual_seed(9))

    made = read_dcgan(tmp_path / "weights.tar")(2, 9)

    wanted = ((main(noise) + 1) * 127.5).round().detach().permute(0, 2, 3, 1).numpy()
    assert np.abs(made.astype(int) - wanted.astype(int)).max() <= 1
