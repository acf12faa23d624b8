import argparse
from pathlib import Path

import pytest

from detection_training.cli import commands
from detection_training.pipeline import presets
from detection_training.pipeline.presets import PIPELINES, STEPS, Order, stages_of
from detection_worker.errors import UsageError

ORDER = Order(preset="full", cache=Path("cache"), output=Path("models"))


@pytest.mark.parametrize("only", PIPELINES)
def test_steps_come_in_their_order_and_read_only_earlier_ones(only: str) -> None:
    found = stages_of(ORDER, only=[only])

    names = [stage.name for stage in found]
    places = [STEPS.index(stage.step) for stage in found]
    assert places == sorted(places)
    assert set(places) == set(range(len(STEPS)))
    assert all(name.startswith(f"{only}-") for name in names)
    for i, stage in enumerate(found):
        assert set(stage.after) <= set(names[:i])


def test_until_leaves_the_later_steps_out() -> None:
    found = stages_of(ORDER, only=["audio"], until="build")

    assert [stage.name for stage in found] == ["audio-fetch", "audio-build"]


def test_presets_do_not_share_work() -> None:
    full, tiny = (
        stages_of(Order(preset=name, cache=Path("c"), output=Path("m")), only=["audio"])
        for name in ("full", "tiny")
    )

    assert full[1].inputs != tiny[1].inputs


@pytest.mark.parametrize(
    ("only", "until", "message"),
    [
        pytest.param(["smell"], "train", r"--only smell: unknown\n.*audio", id="kind"),
        pytest.param([], "ship", r"--until ship: no such step\n.*fetch, build", id="step"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    only: list[str], until: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        stages_of(ORDER, only=only, until=until)


def test_the_command_takes_demo_or_a_preset_and_not_both(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    commands.TRAIN.configure(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(["--demo", "--preset", "full"])

    assert "not allowed with" in capsys.readouterr().err
    chosen = parser.parse_args(["--preset", presets.PRESETS[0], "--only", "audio"])
    assert chosen.only == ["audio"]
