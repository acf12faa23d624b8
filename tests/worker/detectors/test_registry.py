import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from detection_contract import user_messages
from detection_contract.media_types import MediaKind
from detection_worker.detectors import registry, self_test
from detection_worker.detectors.model_folder import listing
from detection_worker.errors import UsageError

MakeModel = Callable[..., Path]
RAW: dict[str, Any] = {"calibration": {"method": "none"}}
"""A model whose scores nobody fitted."""


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def replace_weights(folder: Path, data: bytes) -> None:
    import hashlib

    (folder / "model.safetensors").write_bytes(data)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["weights"] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    path.write_text(json.dumps(manifest))


def problem_of(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        registry.load_detectors(folder.parent)
    text = str(caught.value)
    assert text.startswith(user_messages.NO_MODELS)
    assert folder.name in text
    return text


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_a_score_does_not_depend_on_its_neighbours_in_the_batch(
    make_model: MakeModel, kind: str
) -> None:
    models_dir = make_model("m", kind=kind).parent
    detector = registry.load_detectors(models_dir, threads=1).by_kind[MediaKind(kind)]
    sampling = detector.card.sampling
    units = np.concatenate([self_test.unit(sampling, seed=s) for s in range(7)])

    together = detector.logits(units)
    alone = np.concatenate([detector.logits(units[i : i + 1]) for i in range(len(units))])

    assert together.shape == (7,)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_units_in_read_only_memory_are_scored(make_model: MakeModel) -> None:
    detector = registry.load_detectors(make_model("m").parent).by_kind[MediaKind.IMAGE]
    units = np.zeros((70, 128, 128, 3), np.uint8)
    units.setflags(write=False)

    assert detector.logits(units).shape == (70,)


@pytest.mark.parametrize(
    "units",
    [
        pytest.param(np.zeros((1, 64, 64, 3), np.uint8), id="other size"),
        pytest.param(np.zeros((1, 128, 128, 3), np.float32), id="other type"),
        pytest.param(np.zeros((0, 128, 128, 3), np.uint8), id="no units"),
    ],
)
def test_units_of_another_detector_are_refused(make_model: MakeModel, units: Any) -> None:
    detector = registry.load_detectors(make_model("m").parent).by_kind[MediaKind.IMAGE]

    with pytest.raises(ValueError, match="m wants uint8 units"):
        detector.logits(units)


def test_a_video_model_shares_the_network_of_its_image_model(make_model: MakeModel) -> None:
    folder = make_model("image-model")
    video = folder.parent / "frames"
    video.mkdir()
    image = json.loads((folder / "manifest.json").read_text())
    own = {k: v for k, v in image.items() if k not in {"architecture", "weights"}} | {
        "id": "frames",
        "modality": "video",
        "uses": {"id": "image-model", "sha256": image["weights"]["sha256"]},
        "preprocess": {"max_frames": 4, "crop_px": 128, "crops_per_frame": 1},
    }
    (video / "manifest.json").write_text(json.dumps(own))

    loaded = registry.load_detectors(folder.parent)

    units = self_test.unit(loaded.cards[0].sampling, seed=5)
    assert list(loaded.by_kind) == [MediaKind.IMAGE, MediaKind.VIDEO]
    assert loaded.cards[1].sha256 == loaded.cards[0].sha256
    assert np.array_equal(
        loaded.by_kind[MediaKind.IMAGE].logits(units),
        loaded.by_kind[MediaKind.VIDEO].logits(units),
    )


def test_a_video_model_made_for_other_weights_is_not_used(make_model: MakeModel) -> None:
    folder = make_model("image-model")
    video = make_model(
        "frames",
        architecture=None,
        weights=None,
        modality="video",
        uses={"id": "image-model", "sha256": "b" * 64},
        preprocess={"max_frames": 4, "crop_px": 128, "crops_per_frame": 1},
    )

    loaded = registry.load_detectors(folder.parent)

    assert list(loaded.by_kind) == [MediaKind.IMAGE]
    assert "made for other weights" in loaded.problems[0]
    assert video.name in loaded.problems[0]


def test_an_empty_directory_has_no_models(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No models could be loaded!\nTrain models using"):
        registry.load_detectors(tmp_path)


def test_a_missing_directory_has_no_models(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No models could be loaded!"):
        registry.load_detectors(tmp_path / "absent")


def test_a_file_with_one_flipped_bit_is_refused_before_it_is_parsed(make_model: MakeModel) -> None:
    folder = make_model("m")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)

    assert "weights.sha256" in problem_of(folder)


def test_a_cut_file_is_refused(make_model: MakeModel) -> None:
    folder = make_model("m")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])

    assert "weights.bytes" in problem_of(folder)


def test_missing_weights_are_named(make_model: MakeModel) -> None:
    folder = make_model("m")
    (folder / "model.safetensors").unlink()

    assert "model.safetensors: cannot be read" in problem_of(folder)


def test_a_pickle_in_disguise_is_refused_and_not_opened(make_model: MakeModel) -> None:
    folder = make_model("m")
    replace_weights(folder, pickle.dumps({"a": _Bomb()}))

    assert "pickle" in problem_of(folder)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (3,)


def test_a_missing_a_strange_and_a_misshapen_tensor_are_all_named(make_model: MakeModel) -> None:
    folder = make_model("m")
    tensors = weights_of(folder)
    del tensors["head.1.bias"]
    tensors["extra"] = torch.zeros(1)
    tensors["head.1.weight"] = torch.zeros(1, 2)
    replace_weights(folder, safetensors.torch.save(tensors))

    text = problem_of(folder)

    assert "missing: head.1.bias" in text
    assert "unexpected: extra" in text
    assert "wrong shape: head.1.weight (1, 2)" in text


def test_weights_that_are_not_numbers_are_refused(make_model: MakeModel) -> None:
    folder = make_model("m")
    tensors = weights_of(folder)
    tensors["head.1.bias"] = torch.tensor([float("nan")])
    replace_weights(folder, safetensors.torch.save(tensors))

    assert "not finite: head.1.bias" in problem_of(folder)


def test_a_model_of_an_architecture_that_was_removed_says_so(make_model: MakeModel) -> None:
    folder = make_model("old", architecture={"name": "meso4", "params": {}})

    assert "architecture.name: 'meso4' is not supported any more" in problem_of(folder)


def test_weights_of_another_training_fail_the_self_test(make_model: MakeModel) -> None:
    folder = make_model("m", seed=0)
    other = make_model("other", seed=9)
    replace_weights(folder, (other / "model.safetensors").read_bytes())

    loaded = registry.load_detectors(folder.parent)

    assert loaded.cards[0].name == "other"
    assert "selftest" in loaded.problems[0]


def test_an_inverted_class_order_fails_the_self_test(make_model: MakeModel) -> None:
    folder = make_model(
        "m", output={"activation": "sigmoid", "classes": ["fake", "real"], "fake_index": 0}
    )

    assert "selftest" in problem_of(folder)


@pytest.mark.parametrize(
    ("first", "second", "prefer", "winner"),
    [
        pytest.param({"version": "1.9"}, {"version": "1.10"}, (), "b", id="higher version"),
        pytest.param({"version": "9"}, {"grade": "published"}, (), "b", id="higher grade"),
        pytest.param(
            {"grade": "demo"}, {"grade": "published", **RAW}, (), "a", id="calibrated before grade"
        ),
        pytest.param({**RAW}, {"grade": "published", **RAW}, (), "b", id="both uncalibrated"),
        pytest.param({}, {"version": "2", **RAW}, ("b",), "b", id="named though uncalibrated"),
        pytest.param({}, {}, (), "a", id="name decides a tie"),
        pytest.param({"version": "2"}, {"version": "1"}, ("b",), "b", id="named by the user"),
    ],
)
def test_one_of_two_models_of_a_kind_is_chosen_by_rule(
    make_model: MakeModel,
    *,
    first: dict[str, Any],
    second: dict[str, Any],
    prefer: tuple[str, ...],
    winner: str,
) -> None:
    make_model("a", **first)
    models_dir = make_model("b", **second).parent

    assert registry.load_detectors(models_dir, prefer=prefer).cards[0].name == winner


def test_a_preferred_model_that_is_absent_stops_the_start(make_model: MakeModel) -> None:
    with pytest.raises(UsageError, match=r"not usable: b\nChoose from: a"):
        registry.load_detectors(make_model("a").parent, prefer=("b",))


def test_an_unknown_device_stops_the_start(make_model: MakeModel) -> None:
    with pytest.raises(UsageError, match="No such device: quantum"):
        registry.load_detectors(make_model("a").parent, device="quantum")


@pytest.mark.parametrize(
    ("device", "found"),
    [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda:2", ""), ("cudas", "")],
)
def test_of_two_gpus_there_is_no_third(
    monkeypatch: pytest.MonkeyPatch, device: str, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    if found:
        assert registry.chosen_device(device) == found
    else:
        with pytest.raises(UsageError, match=f"^No such device: {device}\n"):
            registry.chosen_device(device)


@pytest.mark.parametrize(("gpus", "chosen"), [(0, "cpu"), (2, "cuda:0")])
def test_auto_takes_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpus: int, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    assert registry.chosen_device("auto") == chosen


@pytest.mark.parametrize(("threads", "used"), [(0, 1), (2, 2)])
def test_a_short_pass_runs_on_one_thread_unless_a_number_is_given(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, threads: int, used: int
) -> None:
    monkeypatch.setattr(registry, "usable_cores", lambda: 4)
    before = torch.get_num_threads()
    try:
        loaded = registry.load_detectors(make_model("a").parent, threads=threads)
        detector = loaded.by_kind[MediaKind.IMAGE]
        detector.logits(self_test.unit(detector.card.sampling, seed=1))
        seen = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

    assert seen == used


def test_the_list_shows_the_chosen_models_and_the_broken_ones(make_model: MakeModel) -> None:
    make_model("a", version="1.0")
    make_model("b", version="2.0")
    models_dir = make_model("c", grade="perfect").parent

    entries = listing.list_models(models_dir)

    assert [(e.name, e.chosen, e.problem is None) for e in entries] == [
        ("a", False, True),
        ("b", True, True),
        ("c", False, False),
    ]


@pytest.mark.parametrize(
    ("second", "prefer", "why"),
    [
        pytest.param({"version": "0.1"}, ("a",), "preferred", id="named by the user"),
        pytest.param({"grade": "published", **RAW}, (), "calibrated", id="calibrated"),
        pytest.param({"grade": "demo"}, (), "higher grade", id="grade"),
        pytest.param({"grade": "experimental", "version": "0.9"}, (), "newer version", id="newer"),
        pytest.param({"grade": "experimental"}, (), "first by name", id="nothing"),
        pytest.param(None, (), "the only one", id="alone"),
    ],
)
def test_the_list_says_what_decided(
    make_model: MakeModel, second: dict[str, Any] | None, prefer: tuple[str, ...], why: str
) -> None:
    models_dir = make_model("a", grade="experimental").parent
    if second is not None:
        make_model("b", **second)

    entries = listing.list_models(models_dir, prefer=prefer)

    assert [(e.name, e.why) for e in entries if e.chosen] == [("a", why)]
    assert all(e.why == "" for e in entries if not e.chosen)
