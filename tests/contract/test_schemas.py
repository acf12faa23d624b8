import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from detection_contract.messages import InvalidMessage, parse_body
from detection_contract.schemas import load_schema

URL = "s3://bucket/file.png"
VALIDATOR = Draft202012Validator(load_schema("message"))


def is_accepted(message: object) -> bool:
    try:
        return parse_body(json.dumps(message)).kind == "plain"
    except InvalidMessage:
        return False


def test_the_message_schema_is_valid_itself_and_accepts_its_examples() -> None:
    schema = load_schema("message")
    examples = schema["examples"]

    Draft202012Validator.check_schema(schema)
    assert isinstance(examples, list)
    assert examples
    assert all(VALIDATOR.is_valid(example) and is_accepted(example) for example in examples)


@pytest.mark.parametrize(
    ("message", "good"),
    [
        pytest.param({"sqs_to_ml_url": URL}, True, id="URL alone"),
        pytest.param({"sqs_to_ml_url": URL, "other": [1]}, True, id="unknown field"),
        pytest.param({"sqs_to_ml_url": URL, "confidence_threshold": 1}, True, id="integer"),
        pytest.param({"sqs_to_ml_url": URL, "callback_url": None}, True, id="null is absent"),
        pytest.param({}, False, id="nothing"),
        pytest.param([], False, id="array"),
        pytest.param({"sqs_to_ml_url": "/tmp/a.png"}, False, id="local path"),
        pytest.param({"sqs_to_ml_url": None}, False, id="null URL"),
        pytest.param({"sqs_to_ml_url": URL, "confidence_threshold": "0.7"}, False, id="text"),
        pytest.param({"sqs_to_ml_url": URL, "confidence_threshold": True}, False, id="boolean"),
        pytest.param({"sqs_to_ml_url": URL, "confidence_threshold": 1.1}, False, id="over 1"),
        pytest.param({"sqs_to_ml_url": URL, "metadata": []}, False, id="metadata list"),
        pytest.param({"sqs_to_ml_url": URL, "request_id": ""}, False, id="empty id"),
        pytest.param({"sqs_to_ml_url": URL, "request_id": "a\n"}, False, id="id with line feed"),
        pytest.param({"sqs_to_ml_url": URL, "callback_url": "x"}, False, id="no callback URL"),
        pytest.param(
            {"sqs_to_ml_url": URL, "callback_url": "https://u:p@h/"}, False, id="user information"
        ),
        pytest.param(
            {"sqs_to_ml_url": URL, "callback_url": "https://h.example/\n"}, False, id="line feed"
        ),
    ],
)
def test_schema_and_parser_judge_alike(message: object, good: bool) -> None:  # noqa: FBT001 - a column of the table
    assert VALIDATOR.is_valid(message) is good
    assert is_accepted(message) is good


json_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
awkward = st.text(
    st.sampled_from("aZ9 ._-~:/?#@[]\\%\n\x00\x1c\x7f\x85\xa0\u200b\u2028\u202e\u3000é\u212a")
)
hosts = st.from_regex(r"[A-Za-z0-9_.-]{0,8}", fullmatch=True) | awkward
callback_urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTPS", "ftp", "http\u017f"]),
    hosts | st.sampled_from(["[::1]", "h.example", "user@h", "h", "10.0.0.1."]),
    st.sampled_from(["", ":8080", ":", ":99x"]),
    st.sampled_from(["", "/", "/cb", "?a=b"]) | awkward.map("/{}".format),
)
messages: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"sqs_to_ml_url": st.just(URL)},
    optional={
        "callback_url": callback_urls | json_values,
        "request_id": awkward | st.text(max_size=4) | json_values,
        "confidence_threshold": st.floats(-0.1, 1.1) | json_values,
        "metadata": json_values,
        "unknown": json_values,
    },
)


@settings(max_examples=500)
@given(messages)
def test_schema_and_parser_agree_on_any_plain_message(message: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(message) == is_accepted(message)
