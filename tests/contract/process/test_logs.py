import io
import json
import logging
import math
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.process.logs import (
    JsonFormatter,
    configure,
    log_format_from_environment,
    redact,
)

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in ("botocore", "urllib3", "kopf")}
    yield
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        handler.close()
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def fail(text: str) -> NoReturn:
    raise ValueError(text)


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def formatted(**changes: Any) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": "m"} | changes)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    entry: dict[str, Any] = json.loads(line)
    return entry


def test_plain_lines_of_the_operator_end_with_their_facts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(level="INFO", fmt="plain", facts=True)
    facts = {"namespace": "default", "queue": "video", "error": "a\nb", "none": None}

    logging.getLogger("any").info("replicas set", extra={**facts, "pods": ["a", "b"]})
    logging.getLogger("any").info("sent", extra={"authorization": "Bearer 123", "k8s_ref": {}})

    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(
        "INFO - replicas set namespace=default queue=video error=a b pods=['a', 'b']"
    )
    assert "123" not in second
    assert "k8s_ref" not in second


def test_plain_lines_are_those_of_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="INFO", fmt="plain")

    logging.getLogger("any").info("Received %d message(s)", 1, extra={"count": 1})

    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - INFO - Received 1 message\(s\)\n", err
    )
    assert out == ""


def test_json_lines_hold_time_level_logger_message_and_facts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(level="info", fmt="json")

    logging.getLogger("worker").warning("slow %s", "poll", extra={"queue": "q", "seconds": 2.5})

    (entry,) = json_lines(capsys.readouterr().err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("ts"))
    assert entry == {
        "level": "WARNING",
        "logger": "worker",
        "message": "slow poll",
        "queue": "q",
        "seconds": 2.5,
    }


def test_a_traceback_is_one_field_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="INFO", fmt="json")

    try:
        fail("first\nsecond")
    except ValueError:
        logging.getLogger("worker").exception("failed")

    (entry,) = json_lines(capsys.readouterr().err)
    assert entry["message"] == "failed"
    assert entry["error"].startswith("Traceback")
    assert entry["error"].endswith("ValueError: first\nsecond")


def test_a_stack_is_one_field_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="INFO", fmt="json")

    logging.getLogger("worker").warning("here", stack_info=True)

    (entry,) = json_lines(capsys.readouterr().err)
    assert entry["stack"].startswith("Stack (most recent call last):")
    assert "test_a_stack_is_one_field_of_one_line" in entry["stack"]


def test_a_line_that_cannot_be_written_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(level="INFO", fmt="plain")
    monkeypatch.setattr(logging, "raiseExceptions", False)
    closed = io.StringIO()
    closed.close()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", closed)
        logging.getLogger("worker").info("lost")

    logging.getLogger("worker").info("kept")

    assert capsys.readouterr().err.endswith("INFO - kept\n")


def test_foreign_records_and_warnings_have_the_same_shape(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(level="INFO", fmt="json")

    logging.getLogger("urllib3.connectionpool").warning("pool is full")
    logging.getLogger("framework.objects").info(
        "seen", extra={"k8s_ref": {"name": "q"}, "settings": 1}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    pool, seen, old = json_lines(capsys.readouterr().err)
    assert (pool["logger"], pool["message"]) == ("urllib3.connectionpool", "pool is full")
    assert seen["k8s_ref"] == {"name": "q"}
    assert "settings" not in seen
    assert "DeprecationWarning: old" in old["message"]


def test_libraries_that_log_requests_are_kept_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="DEBUG", fmt="plain")

    logging.getLogger("botocore.auth").debug("signed request")
    logging.getLogger("worker").debug("ours")

    assert "signed request" not in (err := capsys.readouterr().err)
    assert "ours" in err


def test_each_line_is_written_once_however_often_logging_is_set_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for fmt in ("plain", "json", "json"):
        configure(level="INFO", fmt=fmt)

    logging.getLogger("worker").info("once")

    assert [e["message"] for e in json_lines(capsys.readouterr().err)] == ["once"]


def test_without_a_console_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="INFO", fmt="plain", to_console=False)

    logging.getLogger("worker").error("unseen")

    assert capsys.readouterr() == ("", "")


def test_levels_and_formats_that_do_not_exist_are_replaced_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(level="LOUD", fmt="xml")  # type: ignore[arg-type]  # what a caller without types may do

    logging.getLogger("worker").debug("hidden")
    logging.getLogger("worker").info("shown")

    level, fmt, shown = capsys.readouterr().err.splitlines()
    assert level.endswith("WARNING - unknown log level 'LOUD': INFO is used")
    assert fmt.endswith("WARNING - unknown log format 'xml': plain is used")
    assert shown.endswith("INFO - shown")


@pytest.mark.parametrize(
    ("environ", "is_terminal", "expected"),
    [
        pytest.param({}, True, "plain", id="terminal"),
        pytest.param({}, False, "plain", id="pipe"),
        pytest.param(POD, False, "json", id="pod"),
        pytest.param(POD, True, "plain", id="terminal in a pod"),
        pytest.param({"LOG_FORMAT": " JSON "}, True, "json", id="json asked for"),
        pytest.param(POD | {"LOG_FORMAT": "plain"}, False, "plain", id="plain asked for"),
        pytest.param({"LOG_FORMAT": ""}, False, "plain", id="empty"),
    ],
)
def test_the_format_suits_the_place(
    environ: dict[str, str],
    is_terminal: bool,  # noqa: FBT001 - a column of the table
    expected: str,
) -> None:
    assert log_format_from_environment(environ, is_terminal=is_terminal) == expected


def test_a_format_that_does_not_exist_is_named(caplog: pytest.LogCaptureFixture) -> None:
    chosen = log_format_from_environment({"LOG_FORMAT": "xml"} | POD, is_terminal=False)

    assert chosen == "json"
    assert "LOG_FORMAT is 'xml'" in caplog.text


SECRETS = [
    pytest.param("https://b.s3.amazonaws.com/k?X-Amz-Signature=SECRET&versionId=1", id="signed"),
    pytest.param("…?x-amz-credential=SECRET%2F2025&X-Amz-Security-Token=SECRET", id="credential"),
    pytest.param("?AWSAccessKeyId=SECRET&Signature=SECRET%3D&Expires=1", id="version 2"),
    pytest.param("to=https%3A%2F%2Fx%3FX-Amz-Signature%3DSECRET", id="URL in a URL"),
    pytest.param(
        "Authorization: AWS4-HMAC-SHA256 Credential=SECRET, Signature=SECRET", id="header"
    ),
    pytest.param("{'Authorization': b'Bearer SECRET', 'Host': 'h'}", id="header in a dict"),
    pytest.param('{"proxy-authorization":"Basic SECRET"}', id="header in JSON"),
    pytest.param("aws_secret_access_key = SECRET", id="configuration file"),
    pytest.param("AwsSettings(secret_access_key='SECRET', session_token='SECRET')", id="repr"),
    pytest.param("DETECTION_CALLBACK_SIGNING_SECRETS=SECRET", id="variable"),
    pytest.param("secret whsec_SECRET+/= is too short", id="signing secret"),
    pytest.param("https://user:SECRET@example.com/cb", id="password in a URL"),
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_masked_wherever_they_are_logged(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for fmt in ("plain", "json"):
        configure(level="INFO", fmt=fmt)
        try:
            fail(text)
        except ValueError:
            logging.getLogger("any").exception("seen: %s", text, extra={"fact": [text]})

    err = capsys.readouterr().err
    assert "SECRET" not in err.replace("SIGNING_SECRETS", "")
    assert "***" in err


def test_facts_with_secret_names_are_masked() -> None:
    entry = formatted(headers={"Authorization": "a", "Host": "h"}, session_token=None)

    assert entry["headers"] == {"Authorization": "***", "Host": "h"}
    assert entry["session_token"] == "***"


@pytest.mark.parametrize(
    "text",
    [
        "Processing deepfake detection for: s3://bucket/k (ID: r)",
        "no signature fits",
        "https://example.com:8443/cb?x=1",
        "AuthorizationHeaderMalformed",
    ],
)
def test_ordinary_lines_are_left_alone(text: str) -> None:
    assert redact(text) == text


def test_a_fact_never_hides_the_fields_of_every_line() -> None:
    entry = formatted(level="x", ts="y", error="z", logger="w")

    assert (entry["level"], entry["logger"]) == ("INFO", "n")
    assert (entry["level_"], entry["ts_"], entry["error_"], entry["logger_"]) == (
        "x",
        "y",
        "z",
        "w",
    )


def test_facts_that_are_not_json_are_shown_as_text() -> None:
    endless: list[object] = []
    endless.append(endless)

    entry = formatted(a=math.nan, b={1: {2}}, c=ValueError("v"), d=endless, e="\ud800")

    assert (entry["a"], entry["b"], entry["c"]) == ("nan", {"1": [2]}, "v")
    assert "..." in json.dumps(entry["d"])
    assert entry["e"] == "\ud800"


def test_a_mistake_in_a_format_does_not_cost_the_line() -> None:
    assert formatted(msg="%d messages", args=("no number",))["message"].startswith("%d messages")


@given(
    message=st.text(),
    fact=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
        max_leaves=6,
    ),
)
def test_every_record_becomes_one_json_line(message: str, fact: object) -> None:
    entry = formatted(msg=message, fact=fact)

    assert entry["message"] == redact(message)
    assert "fact" in entry
