"""Models in ONNX's format: what is run, what is refused, and that it scores as torch does.

The files are written here field by field, so that broken ones can be, too.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from detection_contract.media_types import MediaKind
from detection_worker.__main__ import main
from detection_worker.cli import onnx_import
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.detectors import registry, self_test
from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.networks.image.pixels import SCALES, Scale
from detection_worker.detectors.onnx import graph as onnx_graph
from detection_worker.detectors.onnx import network as onnx_network
from detection_worker.detectors.torch_detector import fake_logit
from detection_worker.errors import UsageError

SIDE = 32
WINDOW = 800
FLOAT, INT64 = 1, 7
Shape = Sequence[int | str]
Capture = pytest.CaptureFixture[str]


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def tensor(name: str, values: Any, *, more: bytes = b"") -> bytes:
    array = np.asarray(values)
    kind = INT64 if array.dtype == np.int64 else FLOAT
    dims = b"".join(field(1, size) for size in array.shape)
    data = array.astype(np.int64 if kind == INT64 else np.float32).tobytes()
    return dims + field(2, kind) + field(8, name) + field(9, data) + more


def value(name: str, shape: Shape, *, kind: int = FLOAT) -> bytes:
    sizes = b"".join(field(1, field(2 if isinstance(s, str) else 1, s)) for s in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sizes)))


def node(
    operator: str, inputs: Sequence[str], output: str, *, domain: str = "", attributes: bytes = b""
) -> bytes:
    names = b"".join(field(1, name) for name in inputs)
    return names + field(2, output) + field(4, operator) + attributes + field(7, domain)


def attribute(name: str, number: int) -> bytes:
    return field(5, field(1, name) + field(3, number) + field(20, 2))


def model(
    *,
    nodes: Sequence[bytes],
    tensors: Sequence[bytes] = (),
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    more: bytes = b"",
) -> bytes:
    parts = [(1, nodes), (5, tensors), (11, inputs), (12, outputs)]
    graph = field(2, "g") + b"".join(field(n, part) for n, some in parts for part in some)
    return field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, graph) + more


def network(classes: int = 1, *, scale: str | None = None) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    scaled: list[nn.Module] = [Scale(scale)] if scale else []
    return nn.Sequential(*scaled, *layers, nn.Linear(4, classes)).eval()


def picture_file(
    classes: int = 1,
    *,
    batch: int | str = "n",
    side: int | str = SIDE,
    last: str = "Identity",
    domain: str = "",
    tensor_more: bytes = b"",
    more: bytes = b"",
    extra_input: bool = False,
    kind: int = FLOAT,
) -> bytes:
    weights = [v.numpy() for v in network(classes).state_dict().values()]
    names = ["conv.w", "conv.b", "fc.w", "fc.b"]
    pads = field(5, field(1, "pads") + b"".join(field(8, 1) for _ in range(4)) + field(20, 7))
    return model(
        nodes=[
            node("Conv", ["x", "conv.w", "conv.b"], "a", attributes=pads),
            node("Relu", ["a"], "b"),
            node("GlobalAveragePool", ["b"], "c"),
            node("Flatten", ["c"], "d"),
            node("Gemm", ["d", "fc.w", "fc.b"], "e", attributes=attribute("transB", 1)),
            node(last, ["e"], "f", domain=domain),
            node("Identity", ["f"], "y"),
        ],
        tensors=[tensor(n, w, more=tensor_more) for n, w in zip(names, weights, strict=True)],
        inputs=[value("x", [batch, 3, side, side], kind=kind)]
        + ([value("z", [1])] if extra_input else []),
        outputs=[value("y", [batch, classes])],
        more=more,
    )


def sound_file() -> bytes:
    """The mean of a window's halves' difference, a logit each, shape ``(n,)``."""
    weights = np.repeat([1.0, -1.0], WINDOW // 2)[:, None]
    squeeze = tensor("axis", np.array([1], np.int64))
    return model(
        nodes=[node("MatMul", ["x", "w"], "a"), node("Squeeze", ["a", "axis"], "y")],
        tensors=[tensor("w", weights), squeeze],
        inputs=[value("x", ["n", WINDOW])],
        outputs=[value("y", ["n"])],
    )


def folder_of(
    models: Path, data: bytes, *, name: str = "theirs", sampling: Any = None, **changes: Any
) -> Path:
    sampling = sampling or ImageSampling(crop_px=SIDE, max_crops=1, view="centre")
    folder = models / name
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    manifest = {
        "schema": 1,
        "id": name,
        "version": "1.0.0",
        "modality": "audio" if isinstance(sampling, AudioSampling) else "image",
        "grade": "published",
        "architecture": {"name": "onnx", "params": {}},
        "weights": {
            "file": "model.onnx",
            "format": "onnx",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        },
        "preprocess": {n: getattr(sampling, n) for n in type(sampling).__slots__},
        "output": {"activation": "sigmoid", "classes": ["real", "fake"], "fake_index": 1},
        "aggregate": {},
        "calibration": {"method": "none"},
        "selftest": [{"seed": 1, "logit": 0.0}],
        "license": "MIT",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def problem_of(models: Path) -> str:
    with pytest.raises(UsageError) as caught:
        registry.load_detectors(models, threads=1)
    return str(caught.value)


def units(count: int) -> Any:
    sampling = ImageSampling(crop_px=SIDE)
    return np.concatenate([self_test.unit(sampling, seed=seed) for seed in range(count)])


def torch_logits(module: nn.Module, pictures: Any) -> Any:
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return fake_logit(module(pixels.float()), fake_index=1).numpy()


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("scale", [None, "unit", "imagenet"])
@pytest.mark.parametrize("batch", [pytest.param("n", id="any batch"), pytest.param(1, id="one")])
def test_a_picture_scores_as_torch_scores_it(
    tmp_path: Path, classes: int, scale: str | None, batch: int | str
) -> None:
    theirs = network(classes, scale=scale)
    known = float(torch_logits(theirs, units(2))[1])
    folder_of(
        tmp_path,
        picture_file(classes, batch=batch),
        architecture={"name": "onnx", "params": {"scale": scale} if scale else {}},
        selftest=[{"seed": 1, "logit": known}],
    )

    detector = registry.load_detectors(tmp_path, threads=1).by_kind[MediaKind.IMAGE]

    np.testing.assert_allclose(
        detector.logits(units(7)), torch_logits(theirs, units(7)), rtol=1e-5, atol=1e-4
    )


def test_sound_scores_as_numpy_scores_it(tmp_path: Path) -> None:
    sampling = AudioSampling(window=WINDOW, hop=WINDOW, max_windows=4)
    windows = np.concatenate([self_test.unit(sampling, seed=seed) for seed in range(5)])
    wanted = windows[:, : WINDOW // 2].sum(axis=1) - windows[:, WINDOW // 2 :].sum(axis=1)
    answers = [{"seed": 1, "logit": float(wanted[1])}]
    folder_of(tmp_path, sound_file(), sampling=sampling, selftest=answers)

    detector = registry.load_detectors(tmp_path, threads=1).by_kind[MediaKind.AUDIO]

    np.testing.assert_allclose(detector.logits(windows), wanted, atol=1e-3)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "weights in another file": (
        lambda: picture_file(
            tensor_more=field(13, field(1, "location") + field(2, "/etc/passwd")) + field(14, 1)
        ),
        "keeps its weights in another file",
    ),
    "said to be in another file": (
        lambda: picture_file(tensor_more=field(14, 1)),
        "keeps its weights in another file",
    ),
    "operators of a vendor": (
        lambda: picture_file(last="Gelu", domain="com.microsoft"),
        "has operators of com.microsoft",
    ),
    "functions": (lambda: picture_file(more=field(25, field(1, "f"))), "has functions"),
    "training": (lambda: picture_file(more=field(20, b"")), "has functions or training steps"),
    "two inputs": (lambda: picture_file(extra_input=True), "has 2 inputs; wanted is one"),
    "whole numbers": (lambda: picture_file(last="Nonesuch"), "ONNX Runtime refuses it"),
    "half precision": (lambda: picture_file(kind=10), "ONNX Runtime refuses it"),
    "two at once": (lambda: picture_file(batch=2), "its input is (2, 3, 32, 32); wanted are"),
    "another side": (lambda: picture_file(side=64), "(n, 3, 64, 64), but the manifest's"),
    "three classes": (lambda: picture_file(3), "its output for 1 inputs is (1, 3)"),
    "probability": (lambda: picture_file(last="Sigmoid"), "ends in Sigmoid; logits are needed"),
    "probabilities": (lambda: picture_file(2, last="Softmax"), "ends in Softmax"),
    "cut off": (lambda: picture_file()[:-9], "not an ONNX file, or a damaged one"),
    "text": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "not an ONNX file"),
    "another format": (lambda: b"\x18\x00\x00\x00ORTM" + bytes(40), "not an ONNX file"),
    "another answer": (picture_file, "selftest: seed 1 gives"),
}


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_trusted_or_used_is_refused(
    tmp_path: Path, data: Callable[[], bytes], said: str
) -> None:
    folder_of(tmp_path, data(), selftest=[{"seed": 1, "logit": 777.0}])

    text = problem_of(tmp_path)

    assert said in text
    assert "theirs" in text


@pytest.mark.parametrize(
    ("side", "said"),
    [
        pytest.param(SIDE, "", id="its own side"),
        pytest.param(48, "its input is (n, 3, 32, 32)", id="another side"),
    ],
)
def test_a_video_model_uses_the_network_of_an_image_model(
    tmp_path: Path, side: int, said: str
) -> None:
    answers = [{"seed": 1, "logit": float(torch_logits(network(), units(2))[1])}]
    image = json.loads(
        (folder_of(tmp_path, picture_file(), selftest=answers) / "manifest.json").read_text()
    )
    video = {k: v for k, v in image.items() if k not in {"architecture", "weights"}} | {
        "id": "frames",
        "modality": "video",
        "uses": {"id": "theirs", "sha256": image["weights"]["sha256"]},
        "preprocess": {"max_frames": 4, "crop_px": side, "crops_per_frame": 1},
    }
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "manifest.json").write_text(json.dumps(video))

    loaded = registry.load_detectors(tmp_path, threads=1)

    assert (MediaKind.VIDEO in loaded.by_kind) == (not said)
    assert said in "".join(loaded.problems)


def test_weights_in_a_subgraph_are_looked_at_too() -> None:
    outside = tensor("w", [1.0], more=field(14, 1))
    inner = field(1, node("Constant", [], "v", attributes=field(5, field(5, outside))))
    branch = field(5, field(1, "then_branch") + field(6, inner))
    data = model(nodes=[node("If", ["c"], "y", attributes=branch)], inputs=[], outputs=[])

    with pytest.raises(ModelError, match="keeps its weights in another file"):
        onnx_graph.check(data, where=Path("m.onnx"))


def test_a_field_whose_number_others_would_cut_short_is_refused() -> None:
    hidden = varint((7 | 1 << 29) << 3 | 2) + varint(0)

    with pytest.raises(ModelError, match="not an ONNX file"):
        onnx_graph.check(picture_file() + hidden, where=Path("m.onnx"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_bytes_end_in_anything_but_a_refusal(data: st.DataObject) -> None:
    whole = bytearray(picture_file())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    # Raises nothing else.
    with contextlib.suppress(ModelError):
        onnx_graph.check(bytes(whole), where=Path("m.onnx"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"sha256": "0" * 64}, "weights.sha256", id="another file"),
        pytest.param({"bytes": 7}, "weights.bytes", id="another length"),
        pytest.param({"format": "safetensors"}, "'onnx' together", id="another format"),
    ],
)
def test_a_file_that_the_manifest_was_not_written_for_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    folder = folder_of(tmp_path, picture_file())
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["weights"] |= change
    path.write_text(json.dumps(manifest))

    assert said in problem_of(tmp_path)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        pytest.param({"scale": "loud"}, "scale: 'loud' is unknown; known: unit", id="scale"),
        pytest.param({"threads": 64}, "only 'scale' is known, not 'threads'", id="another name"),
    ],
)
def test_parameters_that_an_onnx_network_does_not_have_are_refused(
    tmp_path: Path, params: dict[str, Any], said: str
) -> None:
    folder_of(tmp_path, picture_file(), architecture={"name": "onnx", "params": params})

    assert said in problem_of(tmp_path)


def test_gradients_are_refused_in_words() -> None:
    module = onnx_network.build(picture_file(), {}, where=Path("m.onnx"))

    with pytest.raises(UsageError, match="has no gradients"):
        module(torch.zeros(1, 3, SIDE, SIDE, requires_grad=True))


@pytest.mark.parametrize(
    ("depth", "said"),
    [
        pytest.param(20, "keeps its weights in another file", id="as deep as is read"),
        pytest.param(1000, "not an ONNX file", id="deeper than the parser goes"),
    ],
)
def test_subgraphs_within_each_other_are_looked_at_or_refused(depth: int, said: str) -> None:
    outside = tensor("w", [1.0], more=field(14, 1))
    inner = field(1, node("Constant", [], "v", attributes=field(5, field(5, outside))))
    for _ in range(depth):
        branch = field(5, field(1, "then_branch") + field(6, inner))
        inner = field(1, node("If", ["c"], "y", attributes=branch))

    with pytest.raises(ModelError, match=said):
        onnx_graph.check(field(7, inner), where=Path("m.onnx"))


@pytest.mark.parametrize("first", [True, False])
def test_a_graph_in_two_pieces_is_looked_at_as_the_runtime_joins_it(*, first: bool) -> None:
    pieces = [picture_file(tensor_more=field(14, 1)), field(7, field(2, "g"))]

    with pytest.raises(ModelError, match="keeps its weights in another file"):
        onnx_graph.check(b"".join(pieces if first else pieces[::-1]), where=Path("m.onnx"))


WITHOUT = """
import sys
from pathlib import Path
from detection_worker.detectors import registry
from detection_worker.errors import UsageError
for package in ("onnxruntime", "onnx"):
    sys.modules[package] = None
    try:
        registry.load_detectors(Path(sys.argv[1]), threads=1)
    except UsageError as exc:
        print(exc)
"""


@pytest.mark.slow
def test_without_the_extra_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, picture_file())

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert "onnxruntime is needed" in done.stdout
    assert "onnx is needed" in done.stdout
    assert done.stdout.count("pip install 'detection-queue[onnx]'") == 2


def imported(source: Path, models: Path, *words: str) -> int:
    common = ["--architecture", "onnx", "--license", "MIT", "--output", str(models)]
    return main(["models", "import", str(source), *common, *words])


def test_an_imported_file_is_kept_as_it_is_and_scores(tmp_path: Path, capsys: Capture) -> None:
    source, models = tmp_path / "their.onnx", tmp_path / "models"
    source.write_bytes(picture_file(2))
    words = ("--kind", "image", "--classes", "fake,real", "--side", str(SIDE), "--scale", "unit")

    code = imported(source, models, *words, "--name", "pictures")
    said = capsys.readouterr().out
    manifest = json.loads((models / "pictures" / "manifest.json").read_text())
    detector = registry.load_detectors(models, threads=1).by_kind[MediaKind.IMAGE]

    assert code == 0
    assert "* pictures" in said
    assert (models / "pictures" / "model.onnx").read_bytes() == source.read_bytes()
    assert manifest["output"] == {
        "activation": "softmax",
        "classes": ["fake", "real"],
        "fake_index": 0,
    }
    np.testing.assert_allclose(
        detector.logits(units(3)), -torch_logits(network(2, scale="unit"), units(3)), atol=1e-4
    )


def test_an_imported_file_scores_the_frames_of_videos_too(tmp_path: Path) -> None:
    source, models = tmp_path / "their.onnx", tmp_path / "models"
    source.write_bytes(picture_file())
    words = ("--kind", "image", "--classes", "real,fake", "--side", str(SIDE), "--video")

    code = imported(source, models, *words)
    loaded = registry.load_detectors(models, threads=1)

    assert code == 0
    assert [card.name for card in loaded.cards] == ["onnx", "onnx-video"]
    assert loaded.cards[1].sampling == VideoSampling(
        max_frames=32, crop_px=SIDE, crops_per_frame=1, view="centre"
    )


def test_an_imported_sound_model_is_sampled_as_told(tmp_path: Path) -> None:
    source, models = tmp_path / "their.onnx", tmp_path / "models"
    source.write_bytes(sound_file())
    words = ("--kind", "audio", "--classes", "real,fake", "--window", str(WINDOW))

    code = imported(source, models, *words, "--sample-rate", "8000")
    loaded = registry.load_detectors(models, threads=1)

    assert code == 0
    assert loaded.cards[0].sampling == AudioSampling(
        sample_rate_hz=8000, window=WINDOW, hop=WINDOW // 2, max_windows=16
    )


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_unread(
    tmp_path: Path, capsys: Capture, kind: str
) -> None:
    source = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(source)

    code = imported(source, tmp_path / "models", *IMAGE, "--side", str(SIDE))

    assert code == 2
    assert f"{source}: not a regular file\n" in capsys.readouterr().err


def test_the_command_line_knows_the_scales_that_networks_know() -> None:
    assert set(onnx_import.SCALES) == {onnx_network.UNSCALED, *SCALES}


IMAGE = ("--kind", "image", "--classes", "real,fake")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param((), "--kind is missing: an ONNX file", id="what it scores"),
        pytest.param(("--kind", "image"), "--classes is missing: an ONNX file", id="classes"),
        pytest.param(IMAGE, "--side is missing: an ONNX file", id="side"),
        pytest.param((*IMAGE, "--side", "0"), "--side must be 1 to 2048, not 0", id="no side"),
        pytest.param(
            (*IMAGE, "--side", "200000"), "--side must be 1 to 2048, not 2", id="a side of miles"
        ),
        pytest.param((*IMAGE, "--side", "48"), "preprocess", id="another side"),
        pytest.param((*IMAGE, "--sample-rate", "8000"), "--side", id="side first"),
        pytest.param(
            (*IMAGE, "--side", "32", "--sample-rate", "8000"),
            "--sample-rate is not for models of kind image",
            id="sound's option",
        ),
        pytest.param((*IMAGE, "--layout", "timm"), "--layout is not for", id="a layout"),
    ],
)
def test_an_import_that_does_not_say_enough_is_refused_and_leaves_nothing(
    tmp_path: Path, capsys: Capture, words: tuple[str, ...], said: str
) -> None:
    source, models = tmp_path / "their.onnx", tmp_path / "models"
    source.write_bytes(picture_file())

    code = imported(source, models, *words)

    assert code == 2
    assert said in capsys.readouterr().err
    assert not models.exists()


def test_the_options_of_onnx_are_for_onnx_alone(tmp_path: Path, capsys: Capture) -> None:
    words = ["--architecture", "npr", "--license", "MIT", "--output", str(tmp_path), "--side", "8"]

    assert main(["models", "import", "x.pth", *words]) == 2
    assert "--side is not for --architecture npr" in capsys.readouterr().err
