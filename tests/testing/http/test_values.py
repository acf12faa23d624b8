"""Forms of requests, read as urllib reads them."""

import json
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus

from hypothesis import given
from hypothesis import strategies as st

from detection_testing.http.values import Request, unquoted


class _Client:
    gone = False


def form_of(body: bytes) -> dict[str, str]:
    return Request(method="POST", path="/", query="", headers={}, peer=_Client(), body=body).form()


json_texts = st.recursive(
    st.none() | st.booleans() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
).map(json.dumps)
texts = st.text() | st.text("%25BAc+&= ") | json_texts


@given(text=texts | texts.map(quote) | texts.map(quote_plus).map(quote_plus))
def test_text_is_decoded_as_urllib_decodes_it(text: str) -> None:
    assert unquoted(text) == unquote_plus(text)


@given(body=st.binary() | texts.map(str.encode))
def test_a_form_has_the_fields_that_urllib_finds(body: bytes) -> None:
    wanted = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    assert form_of(body) == wanted
