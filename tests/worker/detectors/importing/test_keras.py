"""Keras's HDF5 files: what is in them, and what must not be followed out of them.

``keras_scores.json`` holds what MesoNets made with Keras answered to weights and pictures that
follow from numbers alone; the authors' files were not at hand. Where Keras is installed, it is
asked again.
"""

import functools
import importlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detection_testing.media import known_values
from detection_worker.detectors import architectures, registry, self_test
from detection_worker.detectors.importing import from_checkpoint as importing
from detection_worker.detectors.importing import keras
from detection_worker.detectors.importing.checkpoint import read_checkpoint
from detection_worker.detectors.importing.matching import best_match
from detection_worker.detectors.importing.published import PUBLISHED
from detection_worker.detectors.model_folder.manifest import ModelError

FIXTURE = Path(__file__).with_name("keras_scores.json")
GAIN = 2.0
MAX_BYTES = 1 << 20
Floats = NDArray[np.float32]
Layers = dict[str, dict[str, Floats]]

CONVOLUTIONS: dict[str, list[tuple[int, int, int]]] = {
    "meso4": [(3, 3, 8), (5, 8, 8), (5, 8, 16), (5, 16, 16)],
    "mesoinception4": [
        *[(1, 3, 1), (1, 3, 4), (3, 4, 4), (1, 3, 4), (3, 4, 4), (1, 3, 2), (3, 2, 2)],
        *[(1, 11, 2), (1, 11, 4), (3, 4, 4), (1, 11, 4), (3, 4, 4), (1, 11, 2), (3, 2, 2)],
        *[(5, 12, 16), (5, 16, 16)],
    ],
}
"""Side, inputs and outputs of each convolution, in the order in which they are made."""
NORMS = {"meso4": (8, 8, 16, 16), "mesoinception4": (11, 12, 16, 16)}
both = pytest.mark.parametrize("name", CONVOLUTIONS)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def layers(name: str) -> Layers:
    """Return Keras's variables of a MesoNet, layers numbered as Keras does: from none, then 1."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (side, inputs, outputs) in enumerate(CONVOLUTIONS[name]):
        shapes |= {
            f"conv2d {i} weight": (outputs, inputs, side, side),
            f"conv2d {i} bias": (outputs,),
        }
    for i, width in enumerate(NORMS[name]):
        for variable in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"batch_normalization {i} {variable}"] = (width,)
    for i, shape in enumerate(((16, 1024), (1, 16))):
        shapes |= {f"dense {i} weight": shape, f"dense {i} bias": shape[:1]}
    found: Layers = {}
    for key, value in known_values.weights(shapes, gain=GAIN).items():
        kind, number, variable = key.split()
        layer = found.setdefault(f"{kind}_{number}" if number != "0" else kind, {})
        layer[keras_name(kind, variable)] = as_keras(value.numpy())
    return found


def keras_name(kind: str, variable: str) -> str:
    norms = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    plain = {"weight": "kernel", "bias": "bias"}
    return (norms if kind == "batch_normalization" else plain)[variable]


def as_keras(values: Floats) -> Floats:
    return values.transpose({1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[values.ndim])


def hdf5(found: Layers, *, top: str = "", suffix: str = ":0") -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for layer, variables in found.items():
            for variable, value in variables.items():
                file[f"{top}{layer}/{layer}/{variable}{suffix}"] = value
    return buffer.getvalue()


def logits(path: Path, name: str) -> torch.Tensor:
    checkpoint = read_checkpoint(path, max_bytes=MAX_BYTES)
    found = best_match(checkpoint, PUBLISHED[name], where="file")
    network = architectures.build_network(name, {}, where="test").eval()
    network.load_state_dict(found.tensors)
    pixels = torch.from_numpy(known_values.pictures(256)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        outputs: torch.Tensor = network(pixels)[:, 0]
    return outputs


@both
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(hdf5, id="save_weights of Keras 2"),
        pytest.param(functools.partial(hdf5, top="model_weights/"), id="save of Keras 2"),
        pytest.param(
            functools.partial(hdf5, top="model_weights/", suffix=""), id="save of Keras 3"
        ),
    ],
)
def test_a_mesonet_answers_as_keras_did(
    name: str, tmp_path: Path, write: Callable[[Layers], bytes]
) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(write(layers(name)))

    found = logits(path, name)

    known = torch.tensor(json.loads(FIXTURE.read_text())["scores"][name])
    assert float(known.std()) > 0.1
    torch.testing.assert_close(found, known, atol=1e-4, rtol=1e-4)


@both
def test_layers_count_by_their_number_and_not_by_their_spelling(name: str, tmp_path: Path) -> None:
    later = {renumbered(layer, by=8): variables for layer, variables in layers(name).items()}
    path = tmp_path / "weights.h5"
    path.write_bytes(hdf5(dict(reversed(later.items()))))

    known = json.loads(FIXTURE.read_text())["scores"][name]
    assert logits(path, name).tolist() == pytest.approx(known, abs=1e-3)


def renumbered(layer: str, *, by: int) -> str:
    kind, _, number = layer.rpartition("_") if layer[-1].isdigit() and "_" in layer else ("",) * 3
    return f"{kind}_{int(number) + by}" if number else f"{layer}_{by}"


@both
def test_a_mesonet_calls_class_one_real(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(hdf5(layers(name)))

    made = importing.import_checkpoint(
        path, published=PUBLISHED[name], name=name, models_dir=tmp_path / "m", license_text="MIT"
    )

    detector = next(iter(registry.load_detectors(tmp_path / "m").by_kind.values()))
    unit = self_test.unit(detector.card.sampling, seed=1)
    network = architectures.build_network(name, {}, where="test").eval()
    network.load_state_dict(
        best_match(
            read_checkpoint(path, max_bytes=MAX_BYTES), PUBLISHED[name], where="file"
        ).tensors
    )
    with torch.inference_mode():
        real = float(network(torch.from_numpy(unit).permute(0, 3, 1, 2))[0, 0])
    assert made.layout == "keras"
    assert float(detector.logits(unit)[0]) == pytest.approx(-real, abs=1e-5)


def small() -> io.BytesIO:
    return io.BytesIO(hdf5({"dense": {"kernel": np.ones((2, 1), np.float32)}}))


def with_outside_values(file: h5py.File, place: Path) -> None:
    (place / "secret").write_bytes(bytes(64))
    file.create_dataset(
        "dense/dense/bias:0", (8,), "f4", external=[(str(place / "secret"), 0, 32)]
    )


def with_virtual_values(file: h5py.File, place: Path) -> None:
    layout = h5py.VirtualLayout(shape=(1,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(place / "other.h5"), "values", shape=(1,))
    file.create_virtual_dataset("dense/dense/bias:0", layout)


def with_filtered_values(file: h5py.File, _: Path) -> None:
    file.create_dataset("dense/dense/bias:0", data=np.ones(9, "f4"), compression="gzip")


def with_text(file: h5py.File, _: Path) -> None:
    file["dense/dense/bias:0"] = "text"


def with_too_many_values(file: h5py.File, _: Path) -> None:
    file.create_dataset("dense/dense/bias:0", (1 << 40,), "f4", chunks=(1 << 20,))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(with_outside_values, "not plain numbers: /dense/dense/bias:0", id="outside"),
        pytest.param(with_virtual_values, "not plain numbers: /dense/dense/bias:0", id="virtual"),
        pytest.param(with_filtered_values, "not plain numbers: /dense/dense/bias:0", id="filter"),
        pytest.param(with_text, "not plain numbers: /dense/dense/bias:0", id="text"),
        pytest.param(with_too_many_values, "more than 1048576 bytes of weights", id="too many"),
    ],
)
def test_only_plain_numbers_inside_the_file_are_read(
    tmp_path: Path, change: Callable[[h5py.File, Path], None], said: str
) -> None:
    buffer = small()
    with h5py.File(buffer, "a") as file:
        change(file, tmp_path)

    with pytest.raises(ModelError, match=said):
        keras.read_hdf5(buffer.getvalue(), where=Path("w.h5"), max_bytes=MAX_BYTES)


def test_links_out_of_the_file_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other.h5").write_bytes(hdf5({"other": {"bias": np.ones(1, np.float32)}}))
    buffer = small()
    with h5py.File(buffer, "a") as file:
        file["linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/other")
        file["model_weights"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")

    found = keras.read_hdf5(buffer.getvalue(), where=Path("w.h5"), max_bytes=MAX_BYTES)

    assert list(found) == ["dense.0.weight"]


def test_what_the_optimiser_keeps_is_no_weight() -> None:
    buffer = small()
    with h5py.File(buffer, "a") as file:
        file["optimizer_weights/adam/iteration:0"] = np.int64(3)

    found = keras.read_hdf5(buffer.getvalue(), where=Path("w.h5"), max_bytes=MAX_BYTES)

    assert list(found) == ["dense.0.weight"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_file_is_refused(share: float) -> None:
    data = hdf5(layers("meso4"))

    with pytest.raises(ModelError, match="damaged HDF5"):
        keras.read_hdf5(data[: int(len(data) * share)], where=Path("w.h5"), max_bytes=MAX_BYTES)


def test_a_file_without_weights_is_refused() -> None:
    with pytest.raises(ModelError, match="without weights of layers"):
        keras.read_hdf5(hdf5({}), where=Path("w.h5"), max_bytes=MAX_BYTES)


def built(name: str) -> Any:
    """Return the MesoNet of that name, made of Keras's layers; skips where Keras is absent."""
    # Its default, TensorFlow, is not installed; it chooses at its import.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("keras", reason="keras is needed to compare with it")
    made_of = importlib.import_module("keras").layers
    x = start = made_of.Input((256, 256, 3))

    def convolved(x: Any, width: int, side: int, dilation: int = 1) -> Any:
        return made_of.Conv2D(
            width, side, padding="same", activation="relu", dilation_rate=dilation
        )(x)

    def inception(x: Any, *widths: int) -> Any:
        branches = [convolved(x, widths[0], 1)]
        for dilation, width in enumerate(widths[1:], start=1):
            branches.append(convolved(convolved(x, width, 1), width, 3, dilation))
        return made_of.Concatenate()(branches)

    steps: list[Callable[[Any], Any]]
    if name == "meso4":
        steps = [functools.partial(convolved, width=w, side=s) for w, s in ((8, 3), (8, 5))]
    else:
        steps = [lambda x: inception(x, 1, 4, 4, 2), lambda x: inception(x, 2, 4, 4, 2)]
    steps += [functools.partial(convolved, width=16, side=5)] * 2
    for step, pool in zip(steps, (2, 2, 2, 4), strict=True):
        x = made_of.BatchNormalization()(step(x))
        x = made_of.MaxPooling2D(pool, padding="same")(x)
    x = made_of.LeakyReLU(negative_slope=0.1)(made_of.Dense(16)(made_of.Flatten()(x)))
    return importlib.import_module("keras").Model(start, made_of.Dense(1)(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own
@both
def test_a_mesonet_answers_as_keras_does(name: str, tmp_path: Path) -> None:
    model = built(name)
    numbered = sorted(
        (layer for layer in model.layers if layer.weights),
        key=lambda layer: (layer.name.rstrip("_0123456789"), number_of(layer.name)),
    )
    ours = sorted(layers(name).items(), key=lambda item: number_of(item[0]))
    ours.sort(key=lambda item: item[0].rstrip("_0123456789"))
    for layer, (_, variables) in zip(numbered, ours, strict=True):
        for variable in layer.weights:
            variable.assign(variables[variable.name])
    model.save(tmp_path / "weights.h5")

    theirs = np.asarray(model.predict(known_values.pictures(256) / np.float32(255), verbose=0))

    assert logits(tmp_path / "weights.h5", name).tolist() == pytest.approx(
        theirs[:, 0].tolist(), abs=1e-4
    )
    known = json.loads(FIXTURE.read_text())["scores"][name]
    assert theirs[:, 0].tolist() == pytest.approx(known, abs=1e-3)


def number_of(layer: str) -> int:
    number = layer.rpartition("_")[2]
    return int(number) if number.isdigit() else 0
