"""CLIP's vision transformer and the detectors on it, by files of every naming that is known.

``clip_answers.json`` holds what the vision model of Hugging Face's transformers answers for
weights and pictures that follow from numbers alone; where transformers is installed, it is asked
again. No file of Effort's or UnivFD's authors was at hand: theirs are those tensors under the
names that the files are known to have.
"""

import importlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from detection_testing.media import known_values
from detection_worker.detectors import architectures
from detection_worker.detectors.importing import clip_files
from detection_worker.detectors.model_folder.manifest import ModelError
from detection_worker.detectors.networks.image.clip_heads import ClipDetector
from detection_worker.detectors.networks.image.pixels import Scale

FIXTURE = Path(__file__).with_name("clip_answers.json")
SMALL = {"width": 128, "layers": 3, "patch_px": 32, "embedding": 64}
"""Everything that the large ones have, in 0.8 million parameters."""
Tensors = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def transformers_names() -> dict[str, tuple[int, ...]]:
    wide, tokens = 128, 50
    names: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.class_embedding": (wide,),
        "vision_model.embeddings.patch_embedding.weight": (wide, 3, 32, 32),
        "vision_model.embeddings.position_embedding.weight": (tokens, wide),
        "visual_projection.weight": (64, wide),
    }
    layers: dict[str, tuple[int, ...]] = {"pre_layrnorm": (wide,), "post_layernorm": (wide,)}
    for i in range(3):
        inner = f"encoder.layers.{i}"
        layers |= {f"{inner}.layer_norm{n}": (wide,) for n in (1, 2)}
        layers |= {f"{inner}.self_attn.{n}_proj": (wide, wide) for n in ("k", "v", "q", "out")}
        layers |= {f"{inner}.mlp.fc1": (4 * wide, wide), f"{inner}.mlp.fc2": (wide, 4 * wide)}
    for layer, shape in layers.items():
        names |= {f"vision_model.{layer}.weight": shape, f"vision_model.{layer}.bias": shape[:1]}
    return names


def transformers_file() -> Tensors:
    return known_values.weights(transformers_names(), gain=1.0)


def authors_file() -> Tensors:
    """Return the same weights as CLIP's authors name them, with a text half beside."""
    theirs, named = transformers_file(), {}
    for i in range(3):
        old, new = f"vision_model.encoder.layers.{i}", f"visual.transformer.resblocks.{i}"
        for what in ("weight", "bias"):
            parts = [theirs[f"{old}.self_attn.{p}_proj.{what}"] for p in "qkv"]
            named[f"{new}.attn.in_proj_{what}"] = torch.cat(parts)
            named[f"{new}.attn.out_proj.{what}"] = theirs[f"{old}.self_attn.out_proj.{what}"]
            for n in (1, 2):
                named[f"{new}.ln_{n}.{what}"] = theirs[f"{old}.layer_norm{n}.{what}"]
            named[f"{new}.mlp.c_fc.{what}"] = theirs[f"{old}.mlp.fc1.{what}"]
            named[f"{new}.mlp.c_proj.{what}"] = theirs[f"{old}.mlp.fc2.{what}"]
    for what in ("weight", "bias"):
        named[f"visual.ln_pre.{what}"] = theirs[f"vision_model.pre_layrnorm.{what}"]
        named[f"visual.ln_post.{what}"] = theirs[f"vision_model.post_layernorm.{what}"]
    outer = "vision_model.embeddings."
    named |= {
        "visual.class_embedding": theirs[f"{outer}class_embedding"],
        "visual.conv1.weight": theirs[f"{outer}patch_embedding.weight"],
        "visual.positional_embedding": theirs[f"{outer}position_embedding.weight"],
        "visual.proj": theirs["visual_projection.weight"].T,
        "positional_embedding": torch.zeros(77, 8),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(8),
        "logit_scale": torch.tensor(4.6),
    }
    return named


def tower(tensors: Tensors) -> ClipDetector:
    found, _ = clip_files.tower_of(tensors, where="file")
    network = architectures.build_network("univfd", SMALL, where="test")
    assert isinstance(network, ClipDetector)
    network.load_state_dict({**found, "fc.weight": torch.ones(1, 64), "fc.bias": torch.zeros(1)})
    return network.eval()


def pictures() -> Tensor:
    return torch.from_numpy(known_values.pictures(224)).permute(0, 3, 1, 2)


def embeddings(network: ClipDetector) -> Tensor:
    with torch.inference_mode():
        found: Tensor = network.visual(network.scale(pictures()))
    return found


def known() -> Tensor:
    return torch.tensor(json.loads(FIXTURE.read_text())["embeddings"])


@pytest.mark.parametrize(
    "file", [transformers_file, authors_file], ids=["transformers", "CLIP's authors"]
)
def test_a_tower_answers_as_the_independent_one_did(file: Callable[[], Tensors]) -> None:
    assert float(known().std(dim=0).mean()) > 0.1, "the answer hangs on the picture"
    torch.testing.assert_close(embeddings(tower(file()))[:, :8], known(), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_tower_answers_as_the_independent_one_does(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("transformers", reason="transformers is needed to compare with it")
    logging.disable(logging.WARNING)
    request.addfinalizer(lambda: logging.disable(logging.NOTSET))
    clip: Any = importlib.import_module("transformers.models.clip")
    config = clip.CLIPVisionConfig(
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=512,
        patch_size=32,
        projection_dim=64,
        hidden_act="quick_gelu",
    )
    other = clip.CLIPVisionModelWithProjection(config).eval()
    other.load_state_dict(transformers_file(), strict=False)

    with torch.inference_mode():
        theirs = other(Scale("clip")(pictures())).image_embeds

    torch.testing.assert_close(embeddings(tower(transformers_file())), theirs, atol=1e-4, rtol=0)
    torch.testing.assert_close(theirs[:, :8], known(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "backbone."], ids=lambda prefix: prefix or "none"
)
def test_a_prefix_of_a_tower_does_not_matter(prefix: str) -> None:
    prefixed = {prefix + name: value for name, value in authors_file().items()}

    found, notes = clip_files.tower_of(prefixed, where="file")

    assert found.keys() == clip_files.tower_of(authors_file(), where="file")[0].keys()
    assert any("left out, which read captions" in note for note in notes)


def effort_file() -> tuple[Tensors, Tensors]:
    """Return a tuned file and the whole weights that it stands for."""
    random = torch.Generator().manual_seed(2)
    whole: Tensors = {}
    for name, value in transformers_file().items():
        if name.startswith("vision_model."):
            whole[name.removeprefix("vision_model.")] = value
    split: Tensors = {f"backbone.{name}": value for name, value in whole.items()}
    for name in [n for n in whole if ".self_attn." in n and n.endswith(".weight")]:
        layer = f"backbone.{name.removesuffix('.weight')}"
        u, s, v = torch.linalg.svd(split.pop(f"{layer}.weight"))
        tuned = s[-2:] + torch.rand(2, generator=random)
        split[f"{layer}.weight_main"] = (u[:, :-2] * s[:-2]) @ v[:-2]
        split[f"{layer}.S_residual"] = tuned
        split[f"{layer}.U_residual"], split[f"{layer}.V_residual"] = u[:, -2:], v[-2:]
        split[f"{layer}.S_r"] = s[:-2]
        whole[name] = (u * torch.cat([s[:-2], tuned])) @ v
    split["head.weight"] = torch.randn(2, 128, generator=random)
    split["head.bias"] = torch.randn(2, generator=random)
    return split, whole


def saved(tensors: Tensors, path: Path) -> Path:
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    return path


def read(architecture: str, source: Path, backbone: Path | None = None) -> Any:
    return clip_files.READERS[architecture](source, backbone=backbone, max_bytes=1 << 30)


def test_the_tuned_part_of_effort_is_added_to_its_weights(tmp_path: Path) -> None:
    split, whole = effort_file()

    found = read("effort", saved(split, tmp_path / "effort.safetensors"))

    sizes = {k: v for k, v in SMALL.items() if k != "embedding"}
    network = architectures.build_network("effort", sizes, where="test")
    network.load_state_dict(found.tensors)
    expected, _ = clip_files.tower_of(whole, where="file")
    for name, value in expected.items():
        torch.testing.assert_close(found.tensors[name], value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.tensors["fc.weight"], split["head.weight"])
    assert "12 weights added up from their main part and their tuned residual" in found.notes


def test_univfds_layer_goes_onto_the_tower_that_is_named(tmp_path: Path) -> None:
    layer = saved({"weight": torch.ones(1, 64), "bias": torch.ones(1)}, tmp_path / "fc.pth")
    below = saved(authors_file(), tmp_path / "clip.safetensors")

    found = read("univfd", layer, below)

    network = architectures.build_network("univfd", SMALL, where="test").eval()
    network.load_state_dict(found.tensors)
    with torch.inference_mode():
        logits = network(pictures())
    torch.testing.assert_close(
        logits[:, 0], embeddings(tower(authors_file())).sum(dim=1) + 1, atol=1e-4, rtol=1e-4
    )
    assert any(note.startswith("tower from clip.safetensors, sha256 ") for note in found.notes)


def without_the_tuned_values() -> Tensors:
    split, _ = effort_file()
    del split["backbone.encoder.layers.0.self_attn.q_proj.S_residual"]
    return split


@pytest.mark.parametrize(
    ("architecture", "tensors", "backbone", "said"),
    [
        pytest.param(
            "univfd",
            {"weight": torch.ones(1, 64), "bias": torch.ones(1)},
            None,
            "--backbone FILE",
            id="no tower",
        ),
        pytest.param("univfd", {"a": torch.ones(1)}, None, "no CLIP picture tower", id="no CLIP"),
        pytest.param(
            "univfd",
            {"weight": torch.ones(1, 64), "bias": torch.ones(1)},
            {"conv9": torch.ones(1)},
            "no CLIP picture tower in it; its names are conv9",
            id="another network below",
        ),
        pytest.param("effort", effort_file()[0], authors_file(), "has its own tower", id="two"),
        pytest.param("effort", without_the_tuned_values(), None, "residual of shapes", id="torn"),
    ],
)
def test_a_file_that_does_not_do_is_refused(
    architecture: str, tensors: Tensors, backbone: Tensors | None, said: str, tmp_path: Path
) -> None:
    source = saved(tensors, tmp_path / "file.safetensors")
    below = None if backbone is None else saved(backbone, tmp_path / "below.safetensors")

    with pytest.raises(ModelError, match=said):
        read(architecture, source, below)


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        pytest.param("clip-b16", 86_192_640 + 513, id="ViT-B/16 of CLIP and a layer"),
        pytest.param("univfd", 303_966_208 + 769, id="ViT-L/14 of CLIP and a layer"),
        pytest.param("effort", 303_179_776 + 2050, id="ViT-L/14 without its projection"),
    ],
)
def test_a_network_is_as_large_as_the_published_one(architecture: str, parameters: int) -> None:
    with torch.device("meta"):
        network = architectures.build_network(architecture, {}, where="test")

    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("wrong", [{"width": 100}, {"patch_px": 15}], ids=["width", "patch"])
def test_sizes_that_do_not_divide_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="must be a multiple"):
        architectures.build_network("univfd", SMALL | wrong, where="test")
