"""The command line as a whole: help, exit codes, and the sentences for what goes wrong."""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from detection_worker.__main__ import main
from detection_worker.cli import catalog
from detection_worker.config.table import SETTINGS
from detection_worker.errors import UsageError

Capture = pytest.CaptureFixture[str]

GUIDE_OPTIONS = {
    "predict": (
        "--input --threshold --output --aws-access-key-id --aws-secret-access-key --aws-region "
        "--config --setup-aws --verbose --help --list-models --models-dir --endpoint-url"
    ),
    "consume": (
        "--queue-url --poll-interval --max-messages --wait-time --visibility-timeout --models-dir "
        "--run-once --dry-run --stats-interval --aws-access-key-id --aws-secret-access-key "
        "--aws-region --create-test-message --validate-queue --endpoint-url --control-port "
        "--dead-letter-queue-url --config --verbose --help"
    ),
    "message": "--url --callback-url --threshold --queue-url --wait --yes --aws-region --help",
    "setup-aws": "--config --status --show-examples --help",
    "iam-policy": "--for --queue-url --allowed-buckets --results --kms-key --help",
    "models": "--models-dir --json --help",
    "demo": "--messages --keep --models-dir --help",
}


def parser_of(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, allow_abbrev=False)
    catalog.load(name).configure(parser)
    return parser


@pytest.mark.parametrize("name", GUIDE_OPTIONS)
def test_every_promised_option_is_there(name: str) -> None:
    known = {flag for a in parser_of(name)._actions for flag in a.option_strings}

    assert set(GUIDE_OPTIONS[name].split()) <= known


@pytest.mark.parametrize("name", [n for n in GUIDE_OPTIONS if n != "demo"])
def test_every_option_has_a_help_text(name: str) -> None:
    silent = [a.dest for a in parser_of(name)._actions if not a.help and a.dest != "action"]

    assert silent == []


def test_every_setting_that_an_option_offers_is_a_setting() -> None:
    offered = {a.dest for name in GUIDE_OPTIONS for a in parser_of(name)._actions}

    settings = {row.option for row in SETTINGS}
    assert {"aws_region", "wait_time", "control_port", "device"} <= offered & settings


def test_help_lists_all_commands_and_those_of_other_packages(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    assert caught.value.code == 0
    words = capsys.readouterr().out.split()
    for name in ("predict", "consume", "message", "setup-aws", "models", "demo", "train"):
        assert name in words


def test_version_is_that_of_the_distribution(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out.strip() == version("detection-queue")


def test_without_a_command_help_goes_to_stderr(capsys: Capture) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_a_misspelt_command_gets_the_nearest(capsys: Capture) -> None:
    assert main(["predcit"]) == 2
    assert "Did you mean 'predict'?" in capsys.readouterr().err


HEAVY = ("torch", "av", "cv2")
SLOW = ("boto3", "botocore", "pydantic", "numpy")


@pytest.mark.parametrize(
    ("command", "modules"),
    [
        ("predict", HEAVY + SLOW),
        ("consume", HEAVY + SLOW),
        ("message", HEAVY + SLOW),
        ("setup-aws", HEAVY + SLOW),
        ("iam-policy", HEAVY + SLOW),
        ("models", HEAVY),
        ("demo", HEAVY),
    ],
)
def test_help_loads_no_torch_no_decoder_and_little_else(
    command: str, modules: tuple[str, ...]
) -> None:
    program = (
        "import sys; from detection_worker.__main__ import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {modules} if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines()[-1] == "[]"
    assert f"usage: detection-worker {command}" in done.stdout


def test_help_of_everything_takes_under_a_second_of_cpu(run_cli: Callable[..., Any]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert run_cli("--help").code == 0

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 1


def test_a_missing_module_is_named_with_the_extra_that_holds_it() -> None:
    exc = ModuleNotFoundError("No module named 'torch'", name="torch")

    assert "pip install 'detection-queue[worker]'" in catalog.missing_module("predict", exc)
    assert "pip install 'detection-queue[train]'" in catalog.missing_module("train", exc)
    assert "pip install 'detection-queue[testing,worker]'" in catalog.missing_module("demo", exc)


def test_a_command_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="No such command: 'fly'"):
        catalog.load("fly")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "env", "text"),
    [
        pytest.param(
            ("predict", "x.png", "--config", "gone.json"),
            {},
            "Configuration file not found: ",
            id="config file",
        ),
        pytest.param(
            ("predict", "x.png", "--models-dir", "gone"),
            {},
            "No models could be loaded!\n",
            id="models folder",
        ),
        pytest.param(
            ("models", "list"), {"MODELS_DIR": "gone"}, "No models could be loaded!\n", id="list"
        ),
        pytest.param(("predict",), {}, "Nothing to analyse\nName a file", id="no input"),
        pytest.param(("consume",), {}, "No SQS queue URL given\nSet QUEUE_URL", id="no queue"),
        pytest.param(
            ("consume", "--queue-url", "http://h/1/q", "--max-messages", "11"),
            {},
            "--max-messages is '11'\nAllowed: a whole number from 1 to 10.",
            id="range",
        ),
        pytest.param(
            ("consume", "--create-test-message", "https://example.com/x.png"),
            {},
            "https://example.com/x.png",
            id="no S3 URL",
        ),
        pytest.param(
            ("predict", "x.png", "--output", "gone/r.json"),
            {},
            "Cannot write gone/r.json",
            id="out",
        ),
        pytest.param(
            ("message", "--yes"), {}, "No S3 URL given\nUse --url", id="message without URL"
        ),
        pytest.param(
            ("predict", "x.png"),
            {"LOG_LEVEL": "LOUD"},
            "LOG_LEVEL is 'LOUD'\nAllowed: DEBUG",
            id="bad variable",
        ),
    ],
)
def test_what_goes_wrong_is_said_with_the_next_step_and_no_traceback(
    run_cli: Callable[..., Any], args: tuple[str, ...], env: dict[str, str], text: str
) -> None:
    ended = run_cli(*args, env=env)

    assert ended.code == 2
    assert text in ended.err
    assert len(ended.err.strip().splitlines()) >= 2
    assert "Traceback" not in ended.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "mistake"),
    [
        (
            ("predict", "x.png", "--threshold", "1.5"),
            "argument --threshold: '1.5' is no number from 0 to 1",
        ),
        (("predict", "x.png", "--treshold", "1"), "unrecognized arguments: --treshold 1"),
        (("consume", "--queue-url"), "argument --queue-url: expected one argument"),
    ],
)
def test_a_mistake_is_told_first_and_in_one_line(
    run_cli: Callable[..., Any], args: tuple[str, ...], mistake: str
) -> None:
    ended = run_cli(*args)

    assert ended.code == 2
    see = f"See: detection-worker {args[0]} --help"
    assert ended.err.splitlines() == [f"Error: {mistake}", see]


@pytest.mark.parametrize("name", [*GUIDE_OPTIONS, "evaluate", "train"])
def test_help_fits_80_columns_and_shows_no_empty_default(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([name, "--help"])

    text = capsys.readouterr().out
    assert text.startswith(f"usage: detection-worker {name} [OPTIONS]")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "(())" not in text


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_command_quietly(
    home: Path, clean_environment: dict[str, str]
) -> None:
    command = f"{sys.executable} -m detection_worker setup-aws --show-examples; echo code $? >&2"

    done = subprocess.run(
        ["bash", "-c", f"( {command} ) | true"],
        capture_output=True,
        text=True,
        cwd=home,
        env=clean_environment,
        check=False,
        timeout=60,
    )

    assert "Traceback" not in done.stderr
    assert "BrokenPipeError" not in done.stderr
    assert done.stderr.strip() in ("code 141", "code 0")
