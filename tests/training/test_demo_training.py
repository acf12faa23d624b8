import argparse
import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection_contract.media_types import MediaKind
from detection_training.cli import commands
from detection_training.demo import demo
from detection_training.demo.audio_training import AudioPlan
from detection_training.image.training import ImagePlan
from detection_training.pipeline import package
from detection_worker.cli.command import Command
from detection_worker.detectors import registry, self_test
from detection_worker.errors import UsageError

TINY = demo.DemoPlan(
    image=ImagePlan(patches=6, autoencoder_steps=1, steps=2, seconds=9, pictures=2, clips=2),
    audio=AudioPlan(per_voice=2, held_out_per_voice=2, steps=2, seconds=9),
)


@pytest.fixture
def order(packages: dict[str, Path], tmp_path: Path) -> demo.Order:
    return demo.Order(
        folders=packages,
        output=tmp_path / "models",
        work=TINY,
        cache=tmp_path / "cache",
        provenance={"data_lock": "0" * 64, "seed": 1},
        log=lambda _: None,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tiny_training_yields_three_models_that_load(order: demo.Order) -> None:
    missing = demo.make_models(order, processes=1)

    loaded = registry.load_detectors(order.output)
    assert missing == []
    assert loaded.problems == []
    assert list(loaded.by_kind) == list(MediaKind)
    for kind, card in zip(MediaKind, loaded.cards, strict=True):
        logits = loaded.by_kind[kind].logits(self_test.unit(card.sampling, seed=9))
        assert np.isfinite(logits).all()
        assert card.grade == "demo"
        assert "Do not use its scores" in (order.output / card.name / "MODEL_CARD.md").read_text()
        evaluation = json.loads((order.output / card.name / "eval.json").read_text())
        assert all(0 <= row["auc"] <= 1 for row in evaluation["rows"].values())
    package.check_free(order.output, demo.IDS, force=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_speech_pictures_are_still_trained(order: demo.Order) -> None:
    photographs = {k: v for k, v in order.folders.items() if k.startswith("scikit")}

    missing = demo.make_models(replace(order, folders=photographs), processes=1)

    assert [m.partition(":")[0] for m in missing] == ["audio model"]
    loaded = registry.load_detectors(order.output)
    assert list(loaded.by_kind) == [MediaKind.IMAGE, MediaKind.VIDEO]


def test_without_any_media_the_error_says_what_to_do(order: demo.Order) -> None:
    with pytest.raises(UsageError, match=r"Not enough training media!\n"):
        demo.make_models(replace(order, folders={}), processes=1)


def test_a_folder_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / demo.IDS[0]).mkdir()

    with pytest.raises(UsageError, match=r"not overwritten: .*\n.*--force"):
        package.check_free(tmp_path, demo.IDS, force=False)
    package.check_free(tmp_path, demo.IDS, force=True)


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

    monkeypatch.setattr(demo, "train_demo", fill)

    with pytest.raises(
        UsageError, match=r"disk of clips.npy!\n.*again: what was downloaded is kept"
    ):
        commands.TRAIN.run(parse(commands.TRAIN, "--demo", "--output", str(tmp_path)))


def test_five_minutes_are_the_default() -> None:
    assert parse(commands.TRAIN, "--demo").minutes == 5
    assert parse(commands.TRAIN, "--demo").output == Path("models")
