"""``train --demo``: small detectors from whatever media are there."""

import argparse
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detection_contract.media_types import MediaKind
from detection_training.audio.dataset import read_clips
from detection_training.audio.making.channels import CHANNELS
from detection_training.cli import commands
from detection_training.pipeline import locked, package, small
from detection_training.pipeline.presets import Order
from detection_training.pipeline.sources import NoMediaError
from detection_training.pipeline.splits import Split
from detection_worker.cli.command import Command
from detection_worker.detectors import registry, self_test
from detection_worker.detectors.registry import LoadedDetectors
from detection_worker.errors import UsageError

LEAST_MINUTES = 0.05


@pytest.fixture(autouse=True, scope="module")
def _no_downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is not in the cache cannot be had: neither apt-get nor an index for pip is there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", str(tmp_path_factory.mktemp("no programs")))
        patched.setenv("PIP_CONFIG_FILE", os.devnull)
        patched.setenv("PIP_NO_INDEX", "1")
        yield


def order_of(cache: Path, output: Path) -> Order:
    return Order(preset="small", cache=cache, output=output, minutes=LEAST_MINUTES)


@pytest.fixture(scope="module")
def made(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Everything that the shortest training makes, and what it said."""
    root = tmp_path_factory.mktemp("made")
    said: list[str] = []
    order = order_of(packages, root / "models")
    missing = small.train_small(order, root / "work", processes=1, log=said.append)
    assert missing == []
    return root, said


@pytest.fixture(scope="module")
def loaded(made: tuple[Path, list[str]]) -> LoadedDetectors:
    return registry.load_detectors(made[0] / "models")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_shortest_training_yields_three_models_that_load(
    made: tuple[Path, list[str]], loaded: LoadedDetectors
) -> None:
    output = made[0] / "models"
    assert loaded.problems == []
    assert list(loaded.by_kind) == list(MediaKind)
    for kind, card in zip(MediaKind, loaded.cards, strict=True):
        logits = loaded.by_kind[kind].logits(self_test.unit(card.sampling, seed=9))
        assert np.isfinite(logits).all()
        assert card.grade == "demo"
        text = (output / card.name / "MODEL_CARD.md").read_text()
        assert "Do not use its scores" in text
        assert "Weights: Apache-2.0" in text
        assert "{" not in text
        evaluation = json.loads((output / card.name / "eval.json").read_text())
        assert all(0 <= row["auc"] <= 1 for row in evaluation["rows"].values())
    package.check_free(output, tuple(card.name for card in loaded.cards), force=False)


@pytest.mark.slow
def test_models_keep_what_they_were_made_from(made: tuple[Path, list[str]]) -> None:
    output = made[0] / "models"
    listed = {
        "audio-lfb-demo": "`asterisk-core-sounds-es-g722` (speech): CC-BY-SA-3.0",
        "image-residual-demo": "`scikit-learn`: CC-BY-2.0",
        "video-frames-demo": "`scikit-learn`: CC-BY-2.0",
    }
    for name, line in listed.items():
        manifest = json.loads((output / name / "manifest.json").read_text())
        assert manifest["training"]["preset"] == "small"
        assert len(manifest["training"]["data_lock"]) == 64
        assert manifest["license"] == "Apache-2.0"
        assert f"- {line}" in (output / name / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_a_second_run_does_nothing_but_write_a_model_that_is_gone(
    made: tuple[Path, list[str]], packages: Path
) -> None:
    root, _ = made
    weights = (root / "models/audio-lfb-demo/model.safetensors").read_bytes()
    shutil.rmtree(root / "models/audio-lfb-demo")
    order = order_of(packages, root / "models")
    said: list[str] = []

    small.train_small(order, root / "work", processes=1, log=said.append)

    done = [line.split(":")[0] for line in said if ": done in" in line]
    assert done == ["audio-package"]
    assert (root / "models/audio-lfb-demo/model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_clips_of_both_classes_have_the_same_lengths_and_channels_are_drawn_for_both(
    made: tuple[Path, list[str]],
) -> None:
    clips = read_clips(made[0] / "work/audio/audio-build", Split.TRAIN)

    real = [row for row in clips.rows if not row.fake]
    fake = [row for row in clips.rows if row.fake]
    assert {row.family for row in fake} == {"griffin-lim", "source-filter"}
    assert len(fake) == 2 * len(real) > 0
    assert {row.samples for row in real} == {row.samples for row in fake}
    assert {row.channel for row in real} <= set(CHANNELS)
    assert len({row.channel for row in fake}) > 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_speech_pictures_are_still_trained(
    made: tuple[Path, list[str]], packages: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    # With the autoencoders and pictures that the whole training made of the same photographs.
    shutil.copytree(packages, cache, ignore=shutil.ignore_patterns("asterisk-*", "fillets-*"))

    missing = small.train_small(
        order_of(cache, tmp_path / "models"), tmp_path / "work", processes=1, log=lambda _: None
    )

    assert [m.partition(":")[0] for m in missing] == ["audio model"]
    loaded = registry.load_detectors(tmp_path / "models")
    assert list(loaded.by_kind) == [MediaKind.IMAGE, MediaKind.VIDEO]


def test_without_any_media_the_error_says_what_to_do(tmp_path: Path) -> None:
    order = order_of(tmp_path / "cache", tmp_path / "models")

    with pytest.raises(NoMediaError, match=r"Not enough training media!\n"):
        small.train_small(order, tmp_path / "work", processes=1, log=lambda _: None)


@pytest.mark.parametrize("kind", ["audio", "image"])
def test_a_folder_of_somebody_else_is_refused_before_anything_is_fetched(
    tmp_path: Path, kind: str
) -> None:
    order = order_of(tmp_path / "cache", tmp_path)
    (tmp_path / "audio-lfb-demo").mkdir()
    (tmp_path / "video-frames-demo").mkdir()

    with pytest.raises(UsageError, match=r"not overwritten: .*\n.*--force"):
        small.train_small(order, tmp_path / "work", only=[kind], processes=1, log=lambda _: None)

    assert not (tmp_path / "cache").exists()
    package.check_free(tmp_path, ("audio-lfb-demo",), force=True)


def parse(command: Command, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


def test_training_without_demo_says_what_to_use() -> None:
    with pytest.raises(UsageError, match=r"Use: detection-worker train --demo"):
        commands.TRAIN.run(parse(commands.TRAIN))


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "1e9"])
def test_impossible_minutes_are_refused(minutes: str) -> None:
    with pytest.raises(UsageError, match="--minutes"):
        commands.TRAIN.run(parse(commands.TRAIN, "--demo", "--minutes", minutes))


def test_a_disk_that_fills_up_is_told_with_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "clips.npy")

    monkeypatch.setattr(locked.Media, "fetch", fill)
    words = ("--demo", "--output", str(tmp_path), "--work-dir", str(tmp_path / "work"))

    with pytest.raises(UsageError, match=r"disk of clips.npy!\n.*again: finished steps are kept"):
        commands.TRAIN.run(parse(commands.TRAIN, *words))


def test_five_minutes_are_the_default() -> None:
    assert parse(commands.TRAIN, "--demo").minutes == 5
    assert parse(commands.TRAIN, "--demo").preset == "small"
    assert parse(commands.TRAIN, "--demo").output == Path("models")
