from pathlib import Path

import numpy as np
import pytest

from detection_training.audio.making.engines import (
    HIBARI_HOP,
    HIBARI_RATE_HZ,
    Espeak,
    _assembled,
    described,
)
from detection_training.audio.order import BuildOrder
from detection_training.audio.plan import PLANS
from detection_training.audio.sound import encode
from detection_training.audio.spoken import engines_of, speak
from detection_training.pipeline.splits import Split
from detection_training.pipeline.steps import write_atomically


def stamp(folder: Path, name: str, text: str) -> None:
    path = folder / "usr/share/tuxpaint/stamps" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_sentences_are_read_in_their_language_once_and_of_a_usable_length(tmp_path: Path) -> None:
    stamp(tmp_path, "a.txt", "A small brown horse.\nfr.utf8=Un petit cheval brun.\n")
    stamp(tmp_path, "b.txt", "Hm.\nfr.utf8=Un petit cheval brun.\nde.utf8=Ein Pferd.\n")
    folders = {"tuxpaint-stamps-default": tmp_path}

    assert described(folders, "en") == ["A small brown horse."]
    assert described(folders, "fr") == ["Un petit cheval brun."]
    assert described(folders, "it") == []
    assert described({}, "fr") == []


def espeak_folders(tmp_path: Path, script: str) -> dict[str, Path]:
    program = tmp_path / "espeak-ng/usr/bin/espeak-ng"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    data = tmp_path / "espeak-ng-data/usr/lib/x86_64-linux-gnu/espeak-ng-data"
    data.mkdir(parents=True)
    return {name: tmp_path / name for name in ("espeak-ng", "espeak-ng-data")}


def test_a_sentence_is_handed_over_after_the_options(tmp_path: Path) -> None:
    sound = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.3
    write_atomically(tmp_path / "said.wav", encode(sound, "pcm_s16le", "wav"))
    script = (
        f'printf "%s|" "$@" > {tmp_path}/asked\n'
        'while [ "$1" != "-w" ]; do shift; done\n'
        f"/bin/cp {tmp_path}/said.wav $2"
    )
    espeak = Espeak(espeak_folders(tmp_path, script))

    said = espeak.say("-w nothing", language="fr", rng=np.random.default_rng(1))

    asked = (tmp_path / "asked").read_text().split("|")
    assert len(said) == 16_000
    assert asked[1].startswith("fr-fr")
    assert asked[-3:] == ["--", "-w nothing", ""]


def test_an_engine_that_does_not_run_is_left_out_with_the_reason(tmp_path: Path) -> None:
    folders = espeak_folders(tmp_path, "exit 3")
    order = BuildOrder(folders=folders, shards=tmp_path, plan=PLANS["tiny"], seed=1)

    line = speak(order, "espeak-fr", Split.TRAIN)

    assert "left out: eSpeak NG does not run here" in line
    assert not list(tmp_path.glob("*.npz"))


def test_only_engines_whose_packages_are_there_speak(tmp_path: Path) -> None:
    folders = espeak_folders(tmp_path, "exit 0") | {"hibari-tts": tmp_path}
    order = BuildOrder(folders=folders, shards=tmp_path, plan=PLANS["tiny"], seed=1)

    found = set(engines_of(order))

    assert ("hibari", Split.TRAIN) in found
    assert ("hibari", Split.DEV) not in found
    assert ("espeak-it", Split.DEV) in found
    assert not any(engine.startswith(("flite", "piper")) for engine, _ in found)


@pytest.mark.parametrize("pitch_hz", [120.0, 210.0])
def test_the_harmonic_part_has_the_pitch_that_the_network_names(pitch_hz: float) -> None:
    frames, bins = 40, 601
    quiet = np.full((bins, frames), -12.0, np.float32)
    zero = np.zeros((bins, frames), np.float32)
    harmonic = np.zeros((bins, frames), np.float32)
    pitch = np.full(frames, pitch_hz, np.float32)

    made = _assembled([harmonic, zero, quiet, quiet, zero, pitch], np.random.default_rng(1))

    assert abs(len(made) - frames * HIBARI_HOP) <= HIBARI_HOP
    steady = made[5 * HIBARI_HOP : -5 * HIBARI_HOP]
    correlation = np.correlate(steady, steady, "full")[len(steady) - 1 :]
    # Twice the period is a peak as high.
    longest = int(1.5 * HIBARI_RATE_HZ / pitch_hz)
    lag = 60 + int(correlation[60:longest].argmax())
    assert pytest.approx(pitch_hz, rel=0.02) == HIBARI_RATE_HZ / lag
