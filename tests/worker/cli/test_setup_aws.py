"""``setup-aws`` at a terminal, in scripts, online and offline."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.sts.credentials import LOCAL

GOOD, BAD = LOCAL.access_key_id, "AKIABADBADBADBAD"
SECRET = LOCAL.secret_access_key
NOWHERE = "http://127.0.0.1:1"

pytestmark = pytest.mark.slow  # every test starts a process


def saved(home: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((home / "aws_config.json").read_text())
    return document


def test_keys_typed_at_a_terminal_are_checked_and_saved_for_this_user_alone(
    at_terminal: Callable[..., Any], home: Path, local_aws: LocalAws
) -> None:
    terminal = at_terminal("setup-aws", "--endpoint-url", local_aws.endpoint_url)

    terminal.answer("AWS access key id:", GOOD)
    terminal.answer("AWS secret access key:", SECRET)
    terminal.answer("AWS region [us-east-1]:", "eu-west-1")
    code = terminal.end()

    assert code == 0
    assert saved(home)["aws"] == {
        "access_key_id": GOOD,
        "secret_access_key": SECRET,
        "region": "eu-west-1",
        "session_token": None,
    }
    assert stat.S_IMODE((home / "aws_config.json").stat().st_mode) == 0o600
    assert "valid, arn:aws:" in terminal.seen
    assert "Examples:" in terminal.seen
    assert SECRET not in terminal.seen
    assert [p.name for p in home.iterdir()] == ["aws_config.json"]


def test_a_wrong_answer_is_asked_again(at_terminal: Callable[..., Any], home: Path) -> None:
    terminal = at_terminal("setup-aws", "--no-check")

    terminal.answer("AWS access key id:", "nonsense!")
    terminal.answer("An access key id is 16 to 128", GOOD)
    terminal.answer("AWS secret access key:", "")
    terminal.expect("It is needed.")
    terminal.answer("AWS secret access key:", SECRET)
    terminal.answer("AWS region [us-east-1]:", "Mars")
    terminal.answer("A region looks like us-east-1.", "")

    assert terminal.end() == 0
    assert saved(home)["aws"]["region"] == "us-east-1"


def test_a_temporary_key_is_asked_for_its_token(
    at_terminal: Callable[..., Any], home: Path
) -> None:
    terminal = at_terminal("setup-aws", "--no-check")

    terminal.answer("AWS access key id:", "ASIATEMPTEMPTEMP")
    terminal.answer("AWS secret access key:", SECRET)
    terminal.answer("AWS session token:", "token-token")
    terminal.answer("AWS region", "")

    assert terminal.end() == 0
    assert saved(home)["aws"]["session_token"] == "token-token"


def test_ctrl_c_leaves_with_130_and_no_file(at_terminal: Callable[..., Any], home: Path) -> None:
    terminal = at_terminal("setup-aws")

    terminal.answer("AWS access key id:", GOOD)
    terminal.expect("AWS secret access key:")
    terminal.interrupt()

    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert list(home.iterdir()) == []


def test_the_end_of_input_leaves_without_a_file(run_cli: Callable[..., Any], home: Path) -> None:
    ended = run_cli("setup-aws", stdin=f"{GOOD}\n")

    assert ended.code == 2
    assert "The input ended at the question 'AWS secret access key'" in ended.err
    assert "Traceback" not in ended.text
    assert list(home.iterdir()) == []


def test_an_existing_file_is_kept_unless_the_user_agrees(
    run_cli: Callable[..., Any], home: Path
) -> None:
    (home / "aws_config.json").write_text('{"aws": {}}')

    ended = run_cli("setup-aws", stdin="n\n")

    assert (ended.code, saved(home)) == (1, {"aws": {}})
    assert "Nothing was changed." in ended.out


def test_other_sections_of_an_existing_file_survive(
    run_cli: Callable[..., Any], home: Path
) -> None:
    (home / "aws_config.json").write_text(
        '{"aws": {"access_key_id": "old", "secret_access_key": "old"},'
        ' "data": {"temp_dir": "/x"}, "logging": {"log_to_console": false}}'
    )

    ended = run_cli("setup-aws", "--no-check", stdin=f"y\n{GOOD}\n{SECRET}\n\n")

    assert ended.code == 0
    assert saved(home)["aws"]["access_key_id"] == GOOD
    assert saved(home)["data"] == {"temp_dir": "/x"}
    assert saved(home)["logging"] == {"log_to_console": False}


@pytest.mark.parametrize(
    ("key", "said", "answer", "code"),
    [
        pytest.param(BAD, "not accepted (InvalidClientTokenId)", "", 1, id="refused keys"),
        pytest.param(BAD, "not accepted (InvalidClientTokenId)", "y", 0, id="refused, insisted"),
    ],
)
def test_refused_keys_are_saved_only_on_request(
    run_cli: Callable[..., Any],
    home: Path,
    local_aws: LocalAws,
    *,
    key: str,
    said: str,
    answer: str,
    code: int,
) -> None:
    ended = run_cli(
        "setup-aws",
        "--endpoint-url",
        local_aws.endpoint_url,
        stdin=f"{key}\n{SECRET}\n\n{answer}\n",
    )

    assert (ended.code, (home / "aws_config.json").exists()) == (code, code == 0)
    assert said in ended.out


def test_offline_keys_are_saved_unchecked(run_cli: Callable[..., Any], home: Path) -> None:
    ended = run_cli(
        "setup-aws",
        "--yes",
        "--aws-access-key-id",
        GOOD,
        "--aws-secret-access-key",
        SECRET,
        env={"DETECTION_ENDPOINT_URL": NOWHERE},
    )

    assert ended.code == 0
    assert "no answer (EndpointConnectionError); not checked" in ended.out
    assert saved(home)["aws"]["access_key_id"] == GOOD
    assert SECRET not in ended.text


def test_a_script_without_keys_is_told_what_is_missing(run_cli: Callable[..., Any]) -> None:
    ended = run_cli("setup-aws", "--yes")

    assert ended.code == 2
    assert "With --yes give --aws-access-key-id and --aws-secret-access-key." in ended.err


def test_status_masks_the_key_and_asks_aws(
    run_cli: Callable[..., Any], home: Path, local_aws: LocalAws
) -> None:
    path = home / "aws_config.json"
    path.write_text(json.dumps({"aws": {"access_key_id": GOOD, "secret_access_key": SECRET}}))
    path.chmod(0o644)

    ended = run_cli("setup-aws", "--status", "--endpoint-url", local_aws.endpoint_url)

    assert ended.code == 0
    assert "AKIA…0001" in ended.out
    assert f"others can read it: chmod 600 {path}" in ended.out
    assert "valid, arn:aws:" in ended.out
    assert SECRET not in ended.text
    assert GOOD not in ended.text


@pytest.mark.parametrize("command", [("setup-aws", "--status"), ("predict", "--setup-aws")])
def test_without_credentials_the_status_says_what_to_do(
    run_cli: Callable[..., Any], command: tuple[str, ...]
) -> None:
    ended = run_cli(*command)

    assert ended.code == 1
    assert "AWS credentials not found!\nSet AWS_ACCESS_KEY_ID" in ended.out
    assert "Traceback" not in ended.text


def test_examples_are_shown(run_cli: Callable[..., Any]) -> None:
    ended = run_cli("setup-aws", "--show-examples")

    assert ended.code == 0
    assert "detection-worker predict s3://BUCKET/image.jpg" in ended.out


def test_a_folder_that_cannot_be_written_is_named_before_any_question(
    run_cli: Callable[..., Any], home: Path
) -> None:
    ended = run_cli("setup-aws", "--config", "gone/aws_config.json")

    assert ended.code == 2
    assert f"Cannot write {home}/gone/aws_config.json" in ended.err
