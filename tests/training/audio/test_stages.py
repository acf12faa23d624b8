import json
from pathlib import Path

import numpy as np
import pytest

from detection_contract.media_types import MediaKind
from detection_training.audio import stages
from detection_training.audio.plan import PLANS
from detection_training.audio.sound import RATE_HZ, encode
from detection_training.pipeline.locked import FOLDER, Locked, write_lock
from detection_training.pipeline.presets import Order
from detection_training.pipeline.steps import run_stages
from detection_worker.detectors import registry

PACKAGES = (
    "asterisk-core-sounds-es-g722",
    "asterisk-core-sounds-it-g722",
    "asterisk-core-sounds-en-g722",
)


def speech(rng: np.random.Generator, *, seconds: float) -> bytes:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = (
        2 * np.pi * np.cumsum(110 * rng.uniform(0.8, 1.8) * (1 + 0.1 * np.sin(9 * t))) / RATE_HZ
    )
    sound = 0.002 * rng.standard_normal(len(t))
    for k in range(1, 20):
        sound += 0.05 * np.sin(k * phase) / k * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t + k))
    return encode(sound.astype(np.float32), "g722", "g722")


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """An order whose packages are in the cache already, each with one made voice."""
    rng = np.random.default_rng(5)
    packages = []
    for i, name in enumerate(PACKAGES):
        sha256 = f"{i:064x}"
        folder = tmp_path / "cache" / FOLDER / f"{name}-{sha256[:16]}" / "sounds"
        folder.mkdir(parents=True)
        for j in range(20):
            (folder / f"{j}.g722").write_bytes(speech(rng, seconds=1.5))
        packages.append(
            Locked(
                name=name,
                kind="deb",
                version="1",
                sha256=sha256,
                holds="speech",
                license="CC0-1.0",
            )
        )
    write_lock(tmp_path / "some.lock.json", packages)
    return Order(preset="tiny", cache=tmp_path / "cache", output=tmp_path / "models")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_steps_lead_from_packages_to_a_model_that_loads(order: Order, tmp_path: Path) -> None:
    for name in PLANS["tiny"].needs:
        pytest.importorskip(name)
    said: list[str] = []
    steps = stages.stages(order, lock=tmp_path / "some.lock.json")

    done = run_stages(steps, tmp_path / "work", log=said.append)

    loaded = registry.load_detectors(order.output)
    (card,) = loaded.cards
    assert (card.kind, card.name) == (MediaKind.AUDIO, "audio-lfb-resnet-s")
    assert card.thresholds is not None
    folder = order.output / card.name
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json",
        "model.safetensors",
        "MODEL_CARD.md",
        "eval.json",
        "splits.csv.gz",
        "DATA_CARD.json",
    }
    card_of_data = json.loads((folder / "DATA_CARD.json").read_text())
    assert {p["name"]: p["clips"] for p in card_of_data["packages"]} == dict.fromkeys(PACKAGES, 3)
    assert "Research model" in (folder / "MODEL_CARD.md").read_text()
    assert not (done["audio-train"] / stages.PROGRESS_NAME).exists()

    run_stages(steps, tmp_path / "work", log=said.append)

    assert said[-6:] == [f"{stage.name}: nothing changed, skipped" for stage in steps]
