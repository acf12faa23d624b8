import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.signing import InvalidSignature, decode_secret, headers, sign, verify

SPEC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW_S = 1_735_732_800
BODY = '{"label":"FAKE","n":"é"}'.encode()
ID = "msg_059f36b4-87a3-44ab-83d2-661975830a7d_0"


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


OLD = secret_of(bytes(range(32)))
NEW = secret_of(bytes(range(32, 96)))


@pytest.mark.parametrize(
    ("secret", "webhook_id", "timestamp_s", "body", "signature"),
    [
        pytest.param(
            SPEC_SECRET,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            id="published example",
        ),
        pytest.param(
            OLD,
            ID,
            NOW_S,
            BODY,
            "v1,HxBI7hFwjcyLOqQEOBxP/sW9ODWrgTFGjgYgORTYipw=",
            id="made with standardwebhooks 1.1.0",
        ),
    ],
)
def test_signatures_are_those_of_standard_webhooks(
    secret: str, webhook_id: str, timestamp_s: int, body: bytes, signature: str
) -> None:
    made = sign(secret, webhook_id=webhook_id, timestamp_s=timestamp_s, body=body)

    assert made == signature


def test_every_secret_signs_during_a_rotation() -> None:
    made = headers([NEW, OLD], webhook_id=ID, timestamp_s=NOW_S, body=BODY)

    assert made["webhook-id"] == ID
    assert made["webhook-timestamp"] == "1735732800"
    assert len(made["webhook-signature"].split(" ")) == 2
    for secret in (OLD, NEW):
        verify([secret], made, BODY, now_s=NOW_S)


def test_without_a_secret_there_is_no_signature() -> None:
    made = headers([], webhook_id=ID, timestamp_s=NOW_S, body=BODY)

    assert made == {"webhook-id": ID, "webhook-timestamp": "1735732800"}
    with pytest.raises(InvalidSignature, match="webhook-signature"):
        verify([OLD], made, BODY, now_s=NOW_S)


@given(body=st.binary(max_size=200), key=st.binary(min_size=24, max_size=64))
def test_what_was_signed_is_verified_and_nothing_else(body: bytes, key: bytes) -> None:
    secret = secret_of(key)
    made = headers([secret], webhook_id=ID, timestamp_s=NOW_S, body=body)

    verify([OLD, secret], {k.title(): v for k, v in made.items()}, body, now_s=NOW_S + 300)

    with pytest.raises(InvalidSignature, match="no signature fits"):
        verify([secret], made, body + b" ", now_s=NOW_S)


@pytest.mark.parametrize(
    ("changes", "now_s", "reason"),
    [
        pytest.param({}, NOW_S + 301, "300 s off", id="old"),
        pytest.param({}, NOW_S - 301, "300 s off", id="from the future"),
        pytest.param({"webhook-timestamp": "1735732801"}, NOW_S, "no signature", id="other time"),
        pytest.param({"webhook-timestamp": "soon"}, NOW_S, "malformed", id="time in words"),
        pytest.param({"webhook-id": "msg_other"}, NOW_S, "no signature", id="other id"),
        pytest.param({"webhook-id": "a.b"}, NOW_S, "malformed", id="full stop in the id"),
        pytest.param({"webhook-signature": ""}, NOW_S, "no signature", id="empty"),
        pytest.param({"webhook-signature": "v1,"}, NOW_S, "no signature", id="nothing signed"),
        pytest.param({"webhook-signature": "v1,\udc80é"}, NOW_S, "no signature", id="no ASCII"),
    ],
)
def test_a_forged_or_replayed_callback_is_refused(
    changes: dict[str, str], now_s: float, reason: str
) -> None:
    made = headers([OLD], webhook_id=ID, timestamp_s=NOW_S, body=BODY) | changes

    with pytest.raises(InvalidSignature, match=reason):
        verify([OLD], made, BODY, now_s=now_s)


def test_no_secret_verifies_nothing() -> None:
    made = headers([OLD], webhook_id=ID, timestamp_s=NOW_S, body=BODY)

    with pytest.raises(InvalidSignature, match="no signature fits"):
        verify([], made, BODY, now_s=NOW_S)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        pytest.param("hunter2hunter2", "begin with whsec_", id="no prefix"),
        pytest.param("whsec_hunter2!hunter2", "base64", id="not base64"),
        pytest.param("whsec_hunter2é", "base64", id="not ASCII"),
        pytest.param(secret_of(b"hunter2" * 3), "24 to 64 bytes, not 21", id="short"),
        pytest.param(secret_of(b"hunter2" * 10), "24 to 64 bytes, not 70", id="long"),
    ],
)
def test_a_bad_secret_is_refused_without_being_shown(secret: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        decode_secret(secret)

    assert secret.removeprefix("whsec_") not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_read_from_a_file_may_end_in_a_line_feed() -> None:
    assert decode_secret(f"{OLD}\n") == bytes(range(32))


@pytest.mark.parametrize("webhook_id", ["", "a.b", "a b", "é", "a\nb", "a" * 257])
def test_an_id_that_would_break_the_signature_is_refused(webhook_id: str) -> None:
    with pytest.raises(ValueError, match="webhook id"):
        sign(OLD, webhook_id=webhook_id, timestamp_s=NOW_S, body=BODY)
