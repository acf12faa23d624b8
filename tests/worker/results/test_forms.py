from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detection_worker.results.forms import encode_form_once, form, quoted

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text('{}[]":,%+ \\/az09~_.-')


@given(TEXTS)
@example('{"a": [1, "50 %+x"], "b\\n": null}')
@example("%2B")
@example("a\n")
def test_texts_are_quoted_as_python_does(text: str) -> None:
    assert quoted(text) == quote_plus(text)


@given(st.dictionaries(TEXTS, TEXTS, max_size=4))
def test_forms_are_encoded_as_python_does(fields: dict[str, str]) -> None:
    assert form(fields) == urlencode(fields)


@pytest.mark.parametrize("body", [b"x", "x", {"a": 1}, {"a": ["b"]}], ids=repr)
def test_other_bodies_are_left_to_botocore(body: Any) -> None:
    params = {"body": body}
    encode_form_once(params, model=None)
    assert params == {"body": body}


def test_a_body_is_encoded_before_it_is_signed() -> None:
    params: dict[str, Any] = {"body": {"Action": "PublishBatch", "Message": '{"a": 1}'}}
    encode_form_once(params, model=None)
    assert params == {"body": b"Action=PublishBatch&Message=%7B%22a%22%3A+1%7D"}
