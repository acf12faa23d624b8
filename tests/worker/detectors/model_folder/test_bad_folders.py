"""A model folder that cannot be used is told by name; the sound ones beside it go on."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from detection_worker.cli import models as command
from detection_worker.detectors import registry
from detection_worker.detectors.model_folder import folders, listing, weights
from detection_worker.detectors.model_folder.manifest import ModelError

MakeModel = Callable[..., Path]
SOUND_PREPROCESS = {"sample_rate_hz": 16_000, "window": 64_000, "hop": 32_000, "max_windows": 8}
MANIFEST = "manifest.json"


def retyped(folder: Path, dtype: torch.dtype) -> None:
    """Save one weight of a model folder as numbers of another type."""
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors["head.1.weight"] = tensors["head.1.weight"].to(dtype)
    data = safetensors.torch.save(tensors)
    path.write_bytes(data)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["weights"] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def problem_beside_a_sound_model(models_dir: Path) -> str:
    loaded = registry.load_detectors(models_dir, prefer=("sound",))
    assert [card.name for card in loaded.cards] == ["sound"]
    listed = {e.name: e.problem for e in listing.list_models(models_dir)}
    assert listed["sound"] is None
    [problem] = loaded.problems or [f"bad: {listed['bad']}"]
    return problem


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            {"preprocess": {"crop_px": 200_000, "max_crops": 4}}, "crop_px", id="huge crop"
        ),
        pytest.param({"version": "9" * 10_000}, "version", id="version of 10,000 digits"),
        pytest.param({"version": "1." + "9" * 10_000}, "version", id="long second number"),
    ],
)
def test_numbers_beyond_all_bounds_are_that_models_problem(
    make_model: MakeModel, changes: dict[str, Any], says: str
) -> None:
    make_model("bad", **changes)
    models_dir = make_model("sound").parent

    problem = problem_beside_a_sound_model(models_dir)

    assert problem.startswith("bad: ")
    assert says in problem


def test_a_window_of_hours_is_that_models_problem(make_model: MakeModel) -> None:
    make_model("bad", kind="audio", preprocess=SOUND_PREPROCESS | {"window": 10**13})
    models_dir = make_model("sound").parent

    assert "window" in problem_beside_a_sound_model(models_dir)


@pytest.mark.parametrize(
    ("dtype", "called"),
    [
        pytest.param(torch.float8_e4m3fn, "float8_e4m3fn", id="a float of 8 bits"),
        pytest.param(torch.complex64, "complex64", id="complex numbers"),
        pytest.param(torch.int8, "int8", id="whole numbers"),
    ],
)
def test_weights_of_another_type_are_refused_by_name_and_type(
    make_model: MakeModel, dtype: torch.dtype, called: str
) -> None:
    retyped(make_model("bad"), dtype)

    loaded = registry.load_detectors(make_model("sound").parent)

    assert [card.name for card in loaded.cards] == ["sound"]
    assert f"wrong type: head.1.weight {called} instead of float" in loaded.problems[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_floats_of_another_usual_width_are_taken(dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(2, 1)
    tensors = {"weight": torch.ones(1, 2, dtype=dtype), "bias": torch.zeros(1, dtype=dtype)}

    weights.fill(layer, tensors, where="file")

    assert layer.weight.dtype == torch.float32
    assert layer.weight.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(RuntimeError("no kernel"), id="torch"),
        pytest.param(NotImplementedError("no such operator"), id="not implemented"),
        pytest.param(MemoryError(), id="memory"),
        pytest.param(OSError(5, "Input/output error"), id="disk"),
    ],
)
def test_whatever_fails_while_one_model_loads_leaves_the_others(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    make_model("bad", version="9.0")
    models_dir = make_model("sound").parent
    load = weights.load_weights

    def failing(folder: Path, file: Any) -> dict[str, torch.Tensor]:
        if folder.name == "bad":
            raise failure
        return load(folder, file)

    monkeypatch.setattr(weights, "load_weights", failing)

    loaded = registry.load_detectors(models_dir)

    assert [card.name for card in loaded.cards] == ["sound"]
    [problem] = loaded.problems
    assert problem.startswith("bad: ")
    assert type(failure).__name__ in problem


def unreadable(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder like ``lost+found``: it is there, and may not be looked into."""
    locked = models_dir / "lost+found"
    locked.mkdir(mode=0)
    plain = Path.is_file

    def is_file(path: Path) -> bool:
        if locked in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(Path, "is_file", is_file)


def test_a_folder_that_may_not_be_read_is_a_problem_and_no_end(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    models_dir = make_model("sound").parent
    unreadable(models_dir, monkeypatch)

    loaded = registry.load_detectors(models_dir)
    listed = {e.name: e.problem for e in listing.list_models(models_dir)}

    assert [card.name for card in loaded.cards] == ["sound"]
    assert "Permission denied" in (listed["lost+found"] or "")
    assert loaded.problems[0].startswith("lost+found: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_rights_is_a_problem(make_model: MakeModel) -> None:
    models_dir = make_model("sound").parent
    (models_dir / "lost+found").mkdir(mode=0)

    assert [e.name for e in listing.list_models(models_dir) if e.problem] == ["lost+found"]


def test_a_folder_that_may_not_be_read_is_not_replaced(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    models_dir = make_model("sound").parent
    locked = models_dir / "locked"
    locked.mkdir()

    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)

    with pytest.raises(ModelError, match="locked: cannot be read: Permission denied"):
        folders.check_free(models_dir, "locked", force=True)


def test_verify_tells_each_model_by_itself(
    make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    retyped(make_model("bad"), torch.float8_e5m2)
    models_dir = make_model("sound").parent

    assert command._verify(models_dir, None) == 1

    told = capsys.readouterr().out
    assert "ok      sound" in told
    assert "broken  bad: " in told
