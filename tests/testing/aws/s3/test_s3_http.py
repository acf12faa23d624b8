"""S3 as boto3 sees it, and as a signed-upload or virtual-host client does."""

import base64
import http.client
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.services import LocalOptions

DATA = bytes(range(256)) * 4


@pytest.fixture
def s3(aws: LocalAws) -> Any:
    return aws.s3()


@pytest.fixture
def bucket(s3: Any, name: str) -> str:
    s3.create_bucket(Bucket=f"bucket-{name}")
    return f"bucket-{name}"


def failure(call: Callable[[], object]) -> tuple[str, int]:
    """Make a call that must fail; return code and status."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def raw(
    aws: LocalAws, method: str, path: str, *, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request without boto3; underscores in header names stand for hyphens."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(aws.endpoint_url.rpartition(":")[2]), timeout=10
    )
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent["Authorization"] = f"Credential={aws.credentials.access_key_id}/x"
    try:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        shown = {name.lower(): value for name, value in response.getheaders()}
        return response.status, shown, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "key", ["a.jpg", "folder/a b+c.jpg", "ünï/é.mp4", "a%20b", "..", "a//b", "tail/", "?&=#"]
)
def test_an_object_comes_back_as_it_was_stored(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(
        Bucket=bucket, Key=key, Body=DATA, ContentType="image/jpeg", Metadata={"who": "me"}
    )

    got = s3.get_object(Bucket=bucket, Key=key)

    assert got["Body"].read() == DATA
    assert (got["ContentType"], got["ContentLength"]) == ("image/jpeg", len(DATA))
    assert got["Metadata"] == {"who": "me"}
    assert got["ETag"] == s3.head_object(Bucket=bucket, Key=key)["ETag"]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


@pytest.mark.parametrize(
    ("asked", "answered", "first", "last"),
    [
        pytest.param("bytes=0-9", "bytes 0-9/1024", 0, 10, id="first ten"),
        pytest.param("bytes=1000-", "bytes 1000-1023/1024", 1000, 1024, id="open end"),
        pytest.param("bytes=-24", "bytes 1000-1023/1024", 1000, 1024, id="last 24"),
        pytest.param("bytes=0-8388607", "bytes 0-1023/1024", 0, 1024, id="beyond the end"),
        pytest.param("bytes=-9999", "bytes 0-1023/1024", 0, 1024, id="more than all from behind"),
    ],
)
def test_a_range_is_answered_with_206_and_its_place(
    s3: Any, bucket: str, asked: str, answered: str, first: int, last: int
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)

    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)

    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == answered
    assert got["Body"].read() == DATA[first:last]


@pytest.mark.parametrize(
    ("size", "asked"), [(0, "bytes=0-9"), (0, "bytes=-5"), (10, "bytes=10-"), (10, "bytes=-0")]
)
def test_a_range_without_a_byte_is_416(
    aws: LocalAws, s3: Any, bucket: str, size: int, asked: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * size)

    assert failure(lambda: s3.get_object(Bucket=bucket, Key="k", Range=asked)) == (
        "InvalidRange",
        416,
    )
    _, headers, _ = raw(aws, "GET", f"/{bucket}/k", Range=asked)
    assert headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"])
def test_a_range_that_means_nothing_is_ignored(s3: Any, bucket: str, asked: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)

    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)

    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (200, DATA)


def test_conditions_on_the_etag_are_kept(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)["Body"].read() == b"one"
    assert failure(lambda: s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)) == ("304", 304)

    s3.put_object(Bucket=bucket, Key="k", Body=b"two")

    assert failure(lambda: s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)) == (
        "PreconditionFailed",
        412,
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            lambda s3, b: s3.get_object(Bucket=b, Key="x"), ("NoSuchKey", 404), id="no key"
        ),
        pytest.param(
            lambda s3, b: s3.head_object(Bucket=b, Key="x"), ("404", 404), id="head of no key"
        ),
        pytest.param(
            lambda s3, b: s3.get_object(Bucket=b + "-no", Key="x"),
            ("NoSuchBucket", 404),
            id="no bucket",
        ),
        pytest.param(
            lambda s3, b: s3.get_object(Bucket=b, Key="x", ExpectedBucketOwner="999999999999"),
            ("AccessDenied", 403),
            id="another owner",
        ),
        pytest.param(
            lambda s3, b: s3.get_object(Bucket=b, Key="x", VersionId="nope"),
            ("NoSuchVersion", 404),
            id="no version",
        ),
        pytest.param(
            lambda s3, b: s3.create_multipart_upload(Bucket=b, Key="x"),
            ("NotImplemented", 501),
            id="not implemented",
        ),
    ],
)
def test_errors_have_s3_s_codes(
    s3: Any, bucket: str, call: Callable[[Any, str], object], expected: tuple[str, int]
) -> None:
    assert failure(lambda: call(s3, bucket)) == expected


def test_versions_are_kept_where_asked(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"two")
    s3.delete_object(Bucket=bucket, Key="k")

    assert s3.get_object(Bucket=bucket, Key="k", VersionId=one)["Body"].read() == b"one"
    assert failure(lambda: s3.get_object(Bucket=bucket, Key="k")) == ("NoSuchKey", 404)


def test_listing_goes_on_page_by_page(s3: Any, bucket: str) -> None:
    for n in range(5):
        s3.put_object(Bucket=bucket, Key=f"p/{n}", Body=b"")
    s3.put_object(Bucket=bucket, Key="q", Body=b"")

    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="p/", PaginationConfig={"PageSize": 2}
    )

    assert [[o["Key"] for o in p["Contents"]] for p in pages] == [
        ["p/0", "p/1"],
        ["p/2", "p/3"],
        ["p/4"],
    ]


def test_a_wrong_checksum_is_refused(s3: Any, bucket: str) -> None:
    wrong = base64.b64encode(b"\0\0\0\0").decode()

    assert failure(
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumCRC32=wrong)
    ) == ("BadDigest", 400)


@pytest.mark.parametrize("good", [True, False])
def test_an_aws_chunked_upload_is_decoded_and_its_trailer_verified(
    aws: LocalAws, s3: Any, bucket: str, *, good: bool
) -> None:
    crc = zlib.crc32(DATA if good else b"other").to_bytes(4, "big")
    body = b"200\r\n" + DATA[:512] + b"\r\n200;chunk-signature=0\r\n" + DATA[512:] + b"\r\n0\r\n"
    body += b"x-amz-checksum-crc32:" + base64.b64encode(crc) + b"\r\n\r\n"

    status, _, answer = raw(
        aws,
        "PUT",
        f"/{bucket}/k",
        body=body,
        Content_Encoding="aws-chunked",
        x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_decoded_content_length="1024",
        x_amz_trailer="x-amz-checksum-crc32",
    )

    if good:
        assert (status, s3.get_object(Bucket=bucket, Key="k")["Body"].read()) == (200, DATA)
    else:
        assert (status, b"BadDigest" in answer) == (400, True)


@pytest.mark.parametrize(
    "host",
    ["{}.localhost:1", "{}.s3.localhost", "{}.s3.amazonaws.com", "{}.s3.eu-west-1.amazonaws.com"],
)
def test_the_bucket_may_stand_in_the_host(aws: LocalAws, s3: Any, bucket: str, host: str) -> None:
    s3.put_object(Bucket=bucket, Key="a/b c", Body=DATA)

    status, _, body = raw(aws, "GET", "/a/b%20c", Host=host.format(bucket))

    assert (status, body) == (200, DATA)


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_presigned_url_works_until_it_expires(version: str) -> None:
    with LocalAws.in_thread() as aws:
        aws.put_object("b", "k", DATA)
        client = boto3.client(
            "s3",
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id=aws.credentials.access_key_id,
            aws_secret_access_key=aws.credentials.secret_access_key,
            config=Config(signature_version=version),
        )
        url = client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}, 600)
        client.close()

        before = unsigned(aws, url.removeprefix(aws.endpoint_url))
        aws.advance(601)
        after = unsigned(aws, url.removeprefix(aws.endpoint_url))

    assert before == (200, DATA)
    assert after[0] == 403
    assert b"AccessDenied" in after[1]


def test_an_unsigned_request_is_refused(aws: LocalAws, bucket: str) -> None:
    status, body = unsigned(aws, f"/{bucket}/k")

    assert (status, b"AccessDenied" in body) == (403, True)


def unsigned(aws: LocalAws, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(aws.endpoint_url.rpartition(":")[2]))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def folder_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    top = tmp_path_factory.mktemp("top")
    folder = top / "objects"
    (folder / "media" / "sub").mkdir(parents=True)
    (folder / "media" / "sub" / "big.bin").write_bytes(DATA * 2048)
    (folder / "other").mkdir()
    (folder / "other" / "k").write_bytes(b"old")
    (top / "secret").write_bytes(b"secret")
    with LocalAws.in_thread(LocalOptions(s3_folder=folder)) as aws:
        yield aws.s3()


def test_a_file_is_an_object(folder_s3: Any) -> None:
    got = folder_s3.get_object(Bucket="media", Key="sub/big.bin")
    part = folder_s3.get_object(Bucket="media", Key="sub/big.bin", Range="bytes=256-511")

    assert got["Body"].read() == DATA * 2048
    assert part["Body"].read() == DATA[:256]
    assert [o["Key"] for o in folder_s3.list_objects_v2(Bucket="media")["Contents"]] == [
        "sub/big.bin"
    ]


@pytest.mark.parametrize("key", ["../../secret", "/etc/passwd", "sub", "sub/../../../secret"])
def test_nothing_outside_the_folder_is_an_object(folder_s3: Any, key: str) -> None:
    assert failure(lambda: folder_s3.get_object(Bucket="media", Key=key))[1] == 404


def test_what_is_put_hides_the_file(folder_s3: Any) -> None:
    folder_s3.put_object(Bucket="other", Key="k", Body=b"new")

    assert folder_s3.get_object(Bucket="other", Key="k")["Body"].read() == b"new"
