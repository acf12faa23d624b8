"""What destinations send without botocore is, byte for byte in meaning, what botocore sends."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.arns import Service, parse_destination_arn
from detection_worker.aws_session import client, make_session
from detection_worker.results.base import Notification
from detection_worker.results.destinations import DESTINATIONS
from detection_worker.settings import AwsSettings

ACCOUNT = "us-east-1:123456789012"
ARNS = [
    f"arn:aws:sns:{ACCOUNT}:results",
    f"arn:aws:sns:{ACCOUNT}:results.fifo",
    f"arn:aws:sqs:{ACCOUNT}:results",
    f"arn:aws:sqs:{ACCOUNT}:results.fifo",
    f"arn:aws:events:{ACCOUNT}:event-bus/results",
]
ANSWERS = {
    Service.SNS: b"<PublishBatchResponse><PublishBatchResult/></PublishBatchResponse>",
    Service.SQS: b"{}",
    Service.EVENTBRIDGE: b"{}",
}
texts = st.text(min_size=1, max_size=20)
notes = st.builds(
    Notification,
    id=texts,
    kind=st.sampled_from(["finished", "failed"]),
    body=texts,
    attributes=st.dictionaries(st.sampled_from(["label", "queue", "request_id"]), texts),
    media_arn=st.none() | texts,
)


class Both:
    """A destination that sends nothing: what it would send, and what botocore would."""

    def __init__(self, arn: str) -> None:
        parts = parse_destination_arn(arn)
        aws = AwsSettings(access_key_id="A", secret_access_key="s", endpoint_url="http://h:1")
        self.bodies: list[bytes] = []
        made = client(make_session(aws), parts.service.value, aws, read_timeout_s=1.0)
        made.meta.events.register("before-send", self._answer)
        self._content = ANSWERS[parts.service]
        quick: Any = SimpleNamespace(post=self.bodies.append)  # which returns None
        self.destination = DESTINATIONS[parts.service](made, quick, parts)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        body = request.body
        self.bodies.append(body if isinstance(body, bytes) else body.encode())
        raw: Any = SimpleNamespace(stream=lambda **_: iter([self._content]))
        return AWSResponse(request.url, 200, {}, raw)


@pytest.fixture(scope="module")
def destinations() -> Mapping[str, Both]:
    return {arn: Both(arn) for arn in ARNS}


@pytest.mark.parametrize("arn", ARNS)
@given(batch=st.lists(notes, min_size=1, max_size=3))
def test_a_request_says_what_botocores_says(
    arn: str, batch: list[Notification], destinations: Mapping[str, Both]
) -> None:
    both = destinations[arn]
    both.bodies.clear()

    both.destination.send(batch)

    ours, theirs = both.bodies
    read = form_of if ":sns:" in arn else json.loads
    assert read(ours) == read(theirs)


def form_of(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
