import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling
from detection_worker.core.verdict import Pooling
from detection_worker.detectors import architectures, registry, self_test
from detection_worker.detectors.importing import checkpoint, from_checkpoint
from detection_worker.detectors.importing.published import PUBLISHED, Published
from detection_worker.detectors.model_folder import folders, listing
from detection_worker.detectors.model_folder.manifest import ModelError

MakeModel = Callable[..., Path]
Tensors = dict[str, torch.Tensor]

SMALL = Published(
    architecture="audio_lfb",
    kind=MediaKind.AUDIO,
    classes=("real", "fake"),
    sampling=AudioSampling(window=8_000, hop=8_000),
    pooling=Pooling(),
    paper="none",
    max_bytes=8 << 20,
)
"""A quick network in place of a published one."""
BIAS = "head.1.bias"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    torch.manual_seed(3)
    return dict(architectures.build_network("audio_lfb", {}, where="test").state_dict())


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def bring_in(
    path: Path, models_dir: Path, *, published: Published = SMALL, **options: Any
) -> from_checkpoint.Imported:
    chosen: dict[str, Any] = {"name": "brought", "license_text": "MIT"} | options
    return from_checkpoint.import_checkpoint(
        path, published=[published], models_dir=models_dir, **chosen
    )


def refusal(data: bytes, models_dir: Path, **options: Any) -> str:
    path = models_dir.with_name("file.pth")
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        bring_in(path, models_dir, **options)
    assert not models_dir.exists() or not any(models_dir.iterdir())
    text = str(caught.value)
    assert text.startswith(str(path))
    return text


def logit(models_dir: Path, seed: int = 5) -> float:
    detector = registry.load_detectors(models_dir).by_kind[MediaKind.AUDIO]
    return float(detector.logits(self_test.unit(detector.card.sampling, seed=seed))[0])


def expected(tensors: Tensors, seed: int = 5) -> float:
    network = architectures.build_network("audio_lfb", {}, where="test").eval()
    network.load_state_dict(tensors)
    with torch.inference_mode():
        unit = torch.from_numpy(self_test.unit(SMALL.sampling, seed=seed))
        return float(network(unit)[0])


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("lay_out", "wrapper", "prefix"),
    [
        pytest.param(saved, (), "", id="bare"),
        pytest.param(safetensors.torch.save, (), "", id="safetensors"),
        pytest.param(
            lambda t: saved(t, _use_new_zipfile_serialization=False), (), "", id="before torch 1.6"
        ),
        pytest.param(
            lambda t: saved({"epoch": 3, "state_dict": t}), ("state_dict",), "", id="state_dict"
        ),
        pytest.param(
            lambda t: saved({"model": {"net": prefixed(t, "module.")}, "args": {"lr": 0.1}}),
            ("model", "net"),
            "module.",
            id="twice wrapped",
        ),
        pytest.param(
            lambda t: saved({"ema": prefixed(t, "module.backbone.")}),
            ("ema",),
            "module.backbone.",
            id="two prefixes",
        ),
        pytest.param(
            lambda t: saved(
                {n: torch.nn.Parameter(v, v.is_floating_point()) for n, v in t.items()}
            ),
            (),
            "",
            id="parameters",
        ),
        pytest.param(
            lambda t: saved({n: v.double() if v.ndim else v for n, v in t.items()}),
            (),
            "",
            id="double precision",
        ),
    ],
)
def test_weights_score_alike_however_they_were_saved(
    tensors: Tensors,
    models_dir: Path,
    lay_out: Callable[[Tensors], bytes],
    wrapper: tuple[str, ...],
    prefix: str,
) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(lay_out(tensors))

    made = bring_in(path, models_dir)

    assert (made.wrapper, made.prefix) == (wrapper, prefix)
    assert made.report.complete
    assert made.report.matched == len(tensors)
    assert logit(models_dir) == pytest.approx(expected(tensors), abs=1e-5)


def test_an_import_says_where_it_comes_from(tensors: Tensors, models_dir: Path) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))

    made = bring_in(path, models_dir, license_text="CC BY-NC 4.0")

    manifest = json.loads((made.folder / "manifest.json").read_text())
    card = (made.folder / "MODEL_CARD.md").read_text()
    assert manifest["grade"] == "published"
    assert manifest["license"] == "CC BY-NC 4.0"
    assert manifest["training"]["checkpoint"] == "file.pth"
    assert manifest["training"]["checkpoint_sha256"] in card
    assert "CC BY-NC 4.0" in card
    assert len(manifest["selftest"]) == 2
    assert sorted(p.name for p in models_dir.iterdir()) == ["brought"]


def test_the_class_order_is_that_of_the_published_weights(
    tensors: Tensors, models_dir: Path
) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))

    bring_in(path, models_dir, published=replace(SMALL, classes=("fake", "real")))

    assert logit(models_dir) == pytest.approx(-expected(tensors), abs=1e-5)


def test_an_imported_model_scores_beside_a_calibrated_one_only_if_it_is_preferred(
    tensors: Tensors, make_model: MakeModel
) -> None:
    models_dir = make_model("a-demo", kind="audio", version="9.0").parent
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))

    bring_in(path, models_dir)

    assert registry.load_detectors(models_dir).cards[0].name == "a-demo"
    assert registry.load_detectors(models_dir, prefer=["brought"]).cards[0].name == "brought"


class _RunsACommand:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": {"a": x}}])
def test_code_in_a_checkpoint_is_not_run(
    models_dir: Path, tmp_path: Path, wrap: Callable[[Any], Any], *, zipped: bool
) -> None:
    proof = tmp_path / "it-ran"
    content = wrap(_RunsACommand(f"touch {proof}"))

    text = refusal(saved(content, _use_new_zipfile_serialization=zipped), models_dir)

    assert "posix.system" in text
    assert "it was not opened" in text
    assert not proof.exists()


def test_a_bare_pickle_is_not_run(models_dir: Path, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"

    refusal(pickle.dumps(_RunsACommand(f"touch {proof}")), models_dir)

    assert not proof.exists()


def test_a_whole_module_is_refused(models_dir: Path) -> None:
    network = architectures.build_network("audio_lfb", {}, where="test")

    text = refusal(saved(network), models_dir)

    assert "detection_worker.detectors.networks.audio.audio_lfb.AudioLfb" in text
    assert "state_dict()" in text


def archive(*names: str, data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(
            archive("m/data.pkl", "m/constants.pkl", "m/code/net.py"),
            "TorchScript",
            id="TorchScript",
        ),
        pytest.param(archive("best.pth"), "no PyTorch checkpoint\nUnpack it", id="zip"),
        pytest.param(
            archive("m/data.pkl", "m/data/0", data=bytes(5 << 20)), "have at most", id="zip bomb"
        ),
        pytest.param(
            b"\x89HDF\r\n\x1a\n" + bytes(99),
            "HDF5 file, as Keras writes, which is not supported",
            id="Keras",
        ),
        pytest.param(b"", "damaged", id="empty"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "damaged", id="LFS pointer"),
        pytest.param(b"PK\x03\x04" + bytes(50), "damaged", id="no archive"),
        pytest.param(saved([1, 2]), "no table of named tensors but list", id="list"),
        pytest.param(saved({}), "no table of named tensors", id="nothing"),
        pytest.param(saved({"a": torch.ones(1), "b": "x"}), "not plain tensors: b", id="text"),
        pytest.param(saved({3: torch.ones(1)}), "not plain tensors: 3", id="number as name"),
        pytest.param(
            saved({"a": torch.ones(2).to_sparse()}), "not plain tensors: a", id="sparse tensor"
        ),
    ],
)
def test_other_files_are_refused(models_dir: Path, data: bytes, said: str) -> None:
    assert said in refusal(data, models_dir)


def in_itself(*keys: str) -> dict[str, Any]:
    """Return a checkpoint that is found again inside itself, under one key after the other."""
    content: dict[str, Any] = {"epoch": 3}
    inner = content
    for key in keys[:-1]:
        inner[key] = {}
        inner = inner[key]
    inner[keys[-1]] = content
    return content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(in_itself("model"), id="in itself"),
        pytest.param(in_itself("net", "state_dict"), id="in itself after a step"),
    ],
)
def test_a_checkpoint_that_lies_in_itself_is_refused(
    models_dir: Path, content: dict[str, Any]
) -> None:
    text = refusal(saved(content), models_dir)

    assert "more than 4 tables deep" in text
    assert "network.state_dict()" in text


def test_weights_four_tables_deep_are_found(tensors: Tensors, models_dir: Path) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved({"model": {"net": {"ema": {"state_dict": tensors}}}}))

    assert bring_in(path, models_dir).wrapper == ("model", "net", "ema", "state_dict")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("lay_out", [saved, safetensors.torch.save])
def test_a_truncated_checkpoint_is_refused(
    tensors: Tensors, models_dir: Path, lay_out: Callable[[Tensors], bytes], share: float
) -> None:
    data = lay_out(tensors)

    said = refusal(data[: int(len(data) * share)], models_dir)

    assert "damaged" in said
    assert said.endswith("\nDownload it again and compare its size.")


def changed(tensors: Tensors, **changes: torch.Tensor | None) -> Tensors:
    return {n: t for n, t in (tensors | changes).items() if t is not None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {BIAS: None}, "144 of 145 tensors match; 1 missing: head.1.bias", id="missing"
        ),
        pytest.param({"extra": torch.ones(1)}, "1 unexpected: extra", id="extra"),
        pytest.param(
            {BIAS: torch.ones(2)}, "head.1.bias float[2] instead of float[1]", id="other shape"
        ),
        pytest.param(
            {BIAS: torch.ones(1, dtype=torch.int8)}, "int8[1] instead of float[1]", id="integers"
        ),
        pytest.param(
            {BIAS: torch.tensor([np.nan])},
            "values that are not finite: head.1.bias\nIts training failed, or the file is damaged",
            id="NaN",
        ),
        pytest.param({BIAS: torch.tensor([np.inf])}, "not finite: head.1.bias", id="infinite"),
        pytest.param(
            {"a\x1b[31m\n": torch.ones(1)}, r"1 unexpected: a\x1b[31m\n", id="name for a terminal"
        ),
    ],
)
def test_every_tensor_must_have_its_place(
    tensors: Tensors, models_dir: Path, changes: dict[str, Any], said: str
) -> None:
    text = refusal(saved(changed(tensors, **changes)), models_dir)

    assert said.replace("144 of 145", f"{len(tensors) - 1} of {len(tensors)}") in text


def test_weights_that_make_no_numbers_are_refused(tensors: Tensors, models_dir: Path) -> None:
    huge = {"head.1.weight": tensors["head.1.weight"] * 3e38, BIAS: torch.tensor([3e38])}
    broken = {n: -torch.ones_like(t) for n, t in tensors.items() if n.endswith("running_var")}

    assert "not numbers" in refusal(saved(tensors | huge | broken), models_dir)


def test_weights_that_tell_nothing_apart_are_refused(tensors: Tensors, models_dir: Path) -> None:
    blank = {name: torch.zeros_like(value) for name, value in tensors.items()}

    assert "same score" in refusal(saved(blank), models_dir)


def test_the_wrong_architecture_is_refused_and_the_right_one_named(models_dir: Path) -> None:
    network = architectures.build_network("aasist-l", {}, where="test")

    text = refusal(saved(network.state_dict()), models_dir, published=PUBLISHED["aasist"][0])

    assert "does not fit aasist: 136 of 229 tensors match" in text
    assert text.endswith("It fits --architecture aasist-l.")


def test_a_file_that_is_too_large_is_refused_unread(models_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(ModelError, match="1099511627776 bytes; weights of this architecture"):
        bring_in(path, models_dir)


@pytest.mark.parametrize(
    ("name", "said"), [("absent.pth", "No such file"), (".", "not a regular file")]
)
def test_what_is_no_file_is_refused(models_dir: Path, name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        bring_in(models_dir.parent / name, models_dir)


def test_a_model_is_replaced_only_by_force(tensors: Tensors, models_dir: Path) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))
    bring_in(path, models_dir)
    before = logit(models_dir)
    path.write_bytes(saved(tensors | {BIAS: tensors[BIAS] + 1}))

    with pytest.raises(ModelError, match="--force"):
        bring_in(path, models_dir)
    kept = logit(models_dir)
    bring_in(path, models_dir, force=True)

    assert kept == before
    assert logit(models_dir) > before + 0.1
    assert [p.name for p in models_dir.iterdir()] == ["brought"]


def test_a_refused_checkpoint_leaves_the_model_that_it_was_to_replace(
    tensors: Tensors, models_dir: Path
) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))
    bring_in(path, models_dir)
    path.write_bytes(saved(tensors)[:-200])

    with pytest.raises(ModelError, match="damaged"):
        bring_in(path, models_dir, force=True)

    assert logit(models_dir) == pytest.approx(expected(tensors), abs=1e-5)


def test_a_folder_that_is_no_model_is_never_replaced(tensors: Tensors, models_dir: Path) -> None:
    (models_dir / "brought").mkdir(parents=True)
    (models_dir / "brought" / "thesis.txt").write_text("years of work")
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))

    with pytest.raises(ModelError, match="no model folder"):
        bring_in(path, models_dir, force=True)

    assert (models_dir / "brought" / "thesis.txt").exists()


def test_a_place_that_cannot_be_written_is_a_clear_error(tensors: Tensors, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file.pth"
    path.write_bytes(saved(tensors))

    with pytest.raises(ModelError, match="cannot be written: Not a directory"):
        bring_in(path, tmp_path / "file" / "models")


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "Upper", "a" * 65, "a\n"])
def test_a_name_that_leads_elsewhere_is_refused(
    tensors: Tensors, models_dir: Path, name: str
) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))

    with pytest.raises(ModelError, match="Not a model's name"):
        bring_in(path, models_dir, name=name)
    with pytest.raises(ModelError, match="Not a model's name"):
        folders.remove(models_dir, name)


def test_a_manifest_of_a_newer_program_is_not_guessed_at(
    tensors: Tensors, models_dir: Path
) -> None:
    path = models_dir.with_name("file.pth")
    path.write_bytes(saved(tensors))
    manifest = bring_in(path, models_dir).folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 2}))

    [entry] = listing.list_models(models_dir)

    assert "newer than this program reads (1)" in str(entry.problem)
    folders.remove(models_dir, "brought")
    assert listing.list_models(models_dir) == ()


def test_a_removed_model_is_gone_and_its_neighbour_is_not(make_model: MakeModel) -> None:
    make_model("a")
    models_dir = make_model("b").parent

    folders.remove(models_dir, "a")

    assert [p.name for p in models_dir.iterdir()] == ["b"]


def test_a_model_whose_weights_another_uses_stays(make_model: MakeModel) -> None:
    folder = make_model("owner")
    sha256 = json.loads((folder / "manifest.json").read_text())["weights"]["sha256"]
    user = make_model(
        "user",
        architecture=None,
        weights=None,
        modality="video",
        uses={"id": "owner", "sha256": sha256},
        preprocess={"max_frames": 4, "crop_px": 128, "crops_per_frame": 1},
    )

    with pytest.raises(ModelError, match="lends its weights to user"):
        folders.remove(folder.parent, "owner")

    folders.remove(folder.parent, user.name)
    folders.remove(folder.parent, "owner")


def test_what_is_no_model_folder_is_not_removed(models_dir: Path, tmp_path: Path) -> None:
    (models_dir / "notes").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "manifest.json").write_text("{}")
    (models_dir / "link").symlink_to(elsewhere)

    for name in ("notes", "link", "absent"):
        with pytest.raises(ModelError, match="No such model"):
            folders.remove(models_dir, name)
    assert (elsewhere / "manifest.json").exists()


def test_the_models_of_the_program_are_not_removed() -> None:
    bundled = listing.bundled_models_dir()
    before = sorted(bundled.iterdir())

    for entry in listing.list_models(bundled):
        with pytest.raises(ModelError, match="ships with the program"):
            folders.remove(bundled, entry.name)
    assert sorted(bundled.iterdir()) == before


SEEDS = (
    saved({"a": torch.arange(3.0), "b": {"c": torch.zeros(2, 2)}}),
    saved({"a": torch.arange(3.0)}, _use_new_zipfile_serialization=False),
    safetensors.torch.save({"a": torch.arange(3.0)}),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4))),
    length=st.integers(0, 2000),
)
def test_any_damage_is_a_clear_error(
    tmp_path: Path, data: bytes, changes: list[tuple[int, bytes]], length: int
) -> None:
    damaged = bytearray(data)
    for at, patch in changes:
        damaged[at : at + len(patch)] = patch
    path = tmp_path / "file.pth"
    path.write_bytes(bytes(damaged[: max(length, 1)]))

    try:
        found = checkpoint.read_checkpoint(path, max_bytes=1 << 16)
    except ModelError as exc:
        assert "\x1b" not in str(exc).removeprefix(str(path))  # noqa: PT017 - either outcome is fine
    else:
        assert all(isinstance(t, torch.Tensor) for t in found.tensors.values())
