"""Quick reads: signed as botocore signs, sent where botocore sends, and left to it otherwise."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.quick.signing import Keys, sign
from detection_worker.aws_session import client, make_session
from detection_worker.settings import AwsSettings
from detection_worker.storage.s3_quick import QuickCalls

NOW = datetime(2026, 11, 30, 8, 15, 2, tzinfo=UTC)
KEY = "a b/ä+~(1)%41/./x.jpg"


@given(
    key=st.text(min_size=1, max_size=60),
    version=st.none() | st.text("abcXYZ019._-+/=", min_size=1, max_size=40),
    token=st.none() | st.text("abc/+=09", min_size=1, max_size=40),
    host=st.sampled_from(
        [
            "bucket.s3.eu-west-1.amazonaws.com",
            "127.0.0.1:9000/bucket",
            "s3.cn-north-1.amazonaws.com.cn/b",
        ]
    ),
    region=st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1"]),
    owner=st.none() | st.just("123456789012"),
    body=st.none() | st.binary(max_size=20),
)
def test_it_signs_as_botocore_does(
    key: str,
    version: str | None,
    token: str | None,
    host: str,
    region: str,
    owner: str | None,
    body: bytes | None,
) -> None:
    path = quote(key, safe="/~", errors="replace")
    url = f"https://{host}/{path}"
    if version is not None:
        url += f"?versionId={quote(version, safe='')}"
    headers = {"if-none-match": '"e"', "range": "bytes=0-0", "user-agent": "u"}
    if owner is not None:
        headers["x-amz-expected-bucket-owner"] = owner
    method = "GET" if body is None else "PUT"
    if body is not None:
        headers |= {"content-type": "application/json", "x-amz-meta-detection-index": "0"}

    ours = sign(
        url,
        headers,
        keys=Keys(access_key="AKID", secret_key="secret/+", token=token),
        region=region,
        now=NOW,
        method=method,
        body=body or b"",
    )

    theirs = AWSRequest(method, url, headers=headers)
    theirs.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    signer = botocore.auth.S3SigV4Auth(Credentials("AKID", "secret/+", token), "s3", region)
    theirs.headers["host"] = ours["host"]
    theirs.headers["x-amz-date"] = ours["x-amz-date"]
    theirs.headers["x-amz-content-sha256"] = ours["x-amz-content-sha256"]
    if token:
        theirs.headers["x-amz-security-token"] = token
    _only_what_we_sign(theirs)
    request = signer.canonical_request(theirs)
    text = signer.string_to_sign(theirs, request)
    assert ours["authorization"].endswith(f"Signature={signer.signature(text, theirs)}")
    assert f"Credential={signer.scope(theirs)}," in ours["authorization"]


def _only_what_we_sign(request: AWSRequest) -> None:
    """Leave headers that a signature may cover, and ours does not, out of botocore's."""
    for name in ("if-none-match", "range"):
        del request.headers[name]


@pytest.fixture
def asked(aws: AwsSettings) -> Iterator[Callable[..., Any]]:
    """Make quick reads and the client that they go with."""
    clients: list[Any] = []

    def make(**options: Any) -> tuple[QuickCalls, Any]:
        session = make_session(aws)
        clients.append(client(session, "s3", aws, read_timeout_s=30.0, attempts=1))
        return QuickCalls(session, clients[-1], **options), clients[-1]

    yield make
    for each in clients:
        each.close()


def answer_of(response: Any) -> int:
    """Read a whole answer, so that its connection is free again; return its status."""
    assert response.content is not None
    return int(response.status_code)


def test_a_bucket_is_first_asked_by_botocore(s3: Any, asked: Callable[..., Any]) -> None:
    s3.put("/media/a.jpg", b"x" * 100)
    quick, s3_client = asked()
    assert quick.get("media", "a.jpg") is None
    assert s3.requests == []

    s3_client.get_object(Bucket="media", Key="a.jpg", Range="bytes=0-0")["Body"].read()

    answer = quick.get("media", "a.jpg", range="bytes=0-9")
    assert (answer.status_code, answer.content) == (206, b"x" * 10)
    assert quick.get("other", "a.jpg") is None
    assert len(s3.requests) == 2


@pytest.mark.parametrize("version", [None, "v+1/=."])
@pytest.mark.parametrize("key", [KEY, "../a", "a//b/", "x?versionId=1", "%2F", "日本.png"])
def test_it_asks_for_the_same_path_as_botocore(
    key: str, version: str | None, s3: Any, asked: Callable[..., Any]
) -> None:
    quick, s3_client = asked()
    named = {"VersionId": version} if version else {}
    for _ in range(2):
        with pytest.raises(s3_client.exceptions.ClientError):
            s3_client.get_object(Bucket="media", Key=key, Range="bytes=0-0", **named)
    assert answer_of(quick.get("media", key, version_id=version)) == 404

    _, (theirs, their_headers), (ours, our_headers) = s3.requests
    assert ours == theirs
    assert our_headers["user-agent"] == their_headers["User-Agent"]
    assert our_headers["host"] == their_headers["Host"]


OF_ONE_REQUEST = {"amz-sdk-invocation-id", "amz-sdk-request", "authorization", "x-amz-date"}


@pytest.mark.parametrize("condition", [{}, {"IfNoneMatch": "*"}, {"IfMatch": '"one"'}], ids=str)
@pytest.mark.parametrize("owner", [None, "123456789012"])
def test_it_writes_what_botocore_writes(
    condition: dict[str, str], owner: str | None, s3: Any, asked: Callable[..., Any]
) -> None:
    quick, s3_client = asked(expected_bucket_owner=owner)
    metadata = {"detection-index": "0", "detection-message-id": "a%20b"}
    parameters = {
        "ContentType": "application/json",
        "ChecksumAlgorithm": "SHA256",
        "ChecksumSHA256": "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "alias/results",
        **condition,
    }
    owned = {"ExpectedBucketOwner": owner} if owner else {}
    body = b"foo"
    assert quick.put("media", KEY, body, parameters=parameters) is None
    s3_client.put_object(
        Bucket="media", Key=KEY, Body=body, Metadata=metadata, **parameters, **owned
    )

    answer = quick.put("media", KEY, body, parameters=parameters, metadata=metadata)

    assert (answer.status_code, answer.headers["etag"]) == (200, '"one"')
    (their_path, theirs), (our_path, ours) = s3.requests
    assert our_path == their_path
    assert s3.objects[our_path] == (body, '"one"')
    assert _shared(ours) == _shared(theirs)


def _shared(headers: dict[str, str]) -> dict[str, str]:
    """Return headers in lower case without those that differ from request to request."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lower.items() if name not in OF_ONE_REQUEST}


def test_headers_that_are_not_ascii_are_left_to_botocore(
    s3: Any, asked: Callable[..., Any]
) -> None:
    quick, s3_client = asked()
    s3_client.put_object(Bucket="media", Key="k", Body=b"")

    assert quick.put("media", "k", b"", parameters={"SSEKMSKeyId": "clé"}) is None
    assert quick.put("media", "k", b"", parameters={}).status_code == 200


def test_the_owner_of_the_bucket_is_checked(s3: Any, asked: Callable[..., Any]) -> None:
    s3.put("/media/a.jpg", b"x")
    quick, s3_client = asked(expected_bucket_owner="123456789012")
    s3_client.get_object(Bucket="media", Key="a.jpg", Range="bytes=0-0")["Body"].read()

    assert quick.get("media", "a.jpg", range="bytes=0-0").content == b"x"

    _, headers = s3.requests[-1]
    assert headers["x-amz-expected-bucket-owner"] == "123456789012"
    assert "x-amz-expected-bucket-owner" in headers["authorization"]


@pytest.mark.parametrize(
    "change",
    [
        {"auth_type": "v4-s3express"},
        {"auth_type": "v4a"},
        {"auth_type": "none"},
        {"signing": {"region": "*", "signing_name": "s3-object-lambda"}},
        {"signing": {"signing_name": "s3"}},
        {"s3_redirect": None},
        {"s3_redirect": {"params": {"Bucket": "b", "Key": "other"}}},
    ],
    ids=str,
)
def test_what_is_signed_otherwise_is_left_to_botocore(
    change: dict[str, Any], asked: Callable[..., Any]
) -> None:
    quick, _ = asked()
    context = {
        "auth_type": "v4",
        "signing": {"region": "us-east-1", "signing_name": "s3"},
        "s3_redirect": {"params": {"Bucket": "b", "Key": "k"}},
    }
    request = AWSRequest("GET", "https://b.s3.amazonaws.com/k", headers={"User-Agent": "u"})
    request.context = {**context, **change}

    quick._learn(request)
    assert quick._places == {}
    request.context = context
    quick._learn(request)
    assert quick._places["b"].base == "https://b.s3.amazonaws.com"


def test_without_botocores_connections_everything_is_left_to_it(aws: AwsSettings) -> None:
    session = make_session(aws)
    s3_client = client(session, "s3", aws, read_timeout_s=30.0)
    endpoint, s3_client._endpoint = s3_client._endpoint, None
    quick = QuickCalls(session, s3_client)
    s3_client._endpoint = endpoint

    quick._places["b"] = None  # type: ignore[assignment] # never looked at
    assert quick.get("b", "k") is None
    s3_client.close()
