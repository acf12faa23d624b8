"""What comes with an upload and comes back with the object; what S3 refuses."""

import base64
import hashlib
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.s3.checksums import DIGESTS

KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def s3(client: Callable[[str], Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any, name: str) -> str:
    s3.create_bucket(Bucket=f"uploads-{name}")
    return f"uploads-{name}"


def failure(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_metadata_type_and_cache_headers_come_back(s3: Any, bucket: str) -> None:
    s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"{}",
        ContentType="application/json",
        ContentEncoding="gzip",
        CacheControl="no-cache",
        ContentDisposition="inline",
        Metadata={"Detection-Message-Id": "m-1", "detection-index": "0"},
    )

    for got in (s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")):
        assert got["ContentType"] == "application/json"
        assert got["ContentEncoding"] == "gzip"
        assert got["CacheControl"] == "no-cache"
        assert got["ContentDisposition"] == "inline"
        assert got["Metadata"] == {"detection-message-id": "m-1", "detection-index": "0"}
        assert got["ContentLength"] == 2


def test_the_key_that_encrypts_an_object_is_told(s3: Any, bucket: str) -> None:
    put = s3.put_object(
        Bucket=bucket, Key="k", Body=b"1", ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY_ARN
    )

    for got in (put, s3.head_object(Bucket=bucket, Key="k")):
        assert got["ServerSideEncryption"] == "aws:kms"
        assert got["SSEKMSKeyId"] == KEY_ARN


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        pytest.param("CRC32", zlib.crc32(b"data").to_bytes(4, "big"), id="CRC32"),
        pytest.param("SHA1", hashlib.sha1(b"data", usedforsecurity=False).digest(), id="SHA1"),
        pytest.param("SHA256", hashlib.sha256(b"data").digest(), id="SHA256"),
    ],
)
def test_a_checksum_comes_back_when_it_is_asked_for(
    s3: Any, bucket: str, algorithm: str, digest: bytes
) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    plain = s3.head_object(Bucket=bucket, Key="k")

    assert put[f"Checksum{algorithm}"] == got[f"Checksum{algorithm}"] == b64(digest)
    assert got["Body"].read() == b"data"
    assert f"Checksum{algorithm}" not in plain


class TestStrict:
    """What moto takes and S3 refuses, or tells in another way."""

    @pytest.fixture
    def s3(self, aws: LocalAws) -> Any:
        return aws.s3()

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            pytest.param({"ChecksumSHA256": b64(bytes(32))}, "BadDigest", id="a wrong checksum"),
            pytest.param({"ChecksumSHA256": "AAAA"}, "InvalidRequest", id="no checksum at all"),
            pytest.param(
                {"ChecksumCRC32": b64(zlib.crc32(b"x").to_bytes(4, "big")), "ChecksumSHA1": "A"},
                "InvalidRequest",
                id="two checksums",
            ),
            pytest.param({"ContentMD5": b64(bytes(16))}, "BadDigest", id="a wrong MD5"),
            pytest.param({"ContentMD5": "no MD5"}, "InvalidDigest", id="no MD5 at all"),
            pytest.param(
                {"SSEKMSKeyId": KEY_ARN, "ServerSideEncryption": "AES256"},
                "InvalidArgument",
                id="a key without KMS",
            ),
            pytest.param(
                {"ServerSideEncryption": "rot13"}, "InvalidArgument", id="no such encryption"
            ),
            pytest.param(
                {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "no key!"},
                "KMS.NotFoundException",
                id="no such key",
            ),
            pytest.param({"Key": "k" * 1025}, "KeyTooLongError", id="a key of 1,025 bytes"),
            pytest.param({"Key": "é" * 513}, "KeyTooLongError", id="bytes and not characters"),
            pytest.param({"Metadata": {"a": "x" * 2048}}, "MetadataTooLarge", id="much metadata"),
        ],
    )
    def test_a_bad_upload_is_refused_and_stores_nothing(
        self, s3: Any, bucket: str, given: dict[str, Any], expected: str
    ) -> None:
        upload = {"Bucket": bucket, "Key": "k", "Body": b"x"} | given

        assert failure(lambda: s3.put_object(**upload)) == (expected, 400)
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0

    def test_a_key_of_1024_bytes_is_taken(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k" * 1024, Body=b"x")

        assert s3.head_object(Bucket=bucket, Key="k" * 1024)["ContentLength"] == 1

    def test_every_object_is_encrypted(self, s3: Any, bucket: str) -> None:
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"1")

        assert put["ServerSideEncryption"] == "AES256"
        assert put["ETag"] == f'"{hashlib.md5(b"1", usedforsecurity=False).hexdigest()}"'

    @pytest.mark.parametrize(
        ("key", "shown"),
        [
            (None, "arn:aws:kms:us-east-1:123456789012:key/"),
            ("1234abcd", "arn:aws:kms:us-east-1:123456789012:key/1234abcd"),
            ("alias/mine", "arn:aws:kms:us-east-1:123456789012:alias/mine"),
        ],
    )
    def test_a_key_of_kms_is_told_by_its_arn_and_the_etag_is_no_digest(
        self, s3: Any, bucket: str, key: str | None, shown: str
    ) -> None:
        given = {} if key is None else {"SSEKMSKeyId": key}
        puts = [
            s3.put_object(
                Bucket=bucket, Key="k", Body=b"1", ServerSideEncryption="aws:kms", **given
            )
            for _ in range(2)
        ]

        assert puts[0]["SSEKMSKeyId"].startswith(shown)
        digest = f'"{hashlib.md5(b"1", usedforsecurity=False).hexdigest()}"'
        assert len({puts[0]["ETag"], puts[1]["ETag"], digest}) == 3

    def test_the_payload_that_was_signed_is_the_one_that_is_stored(
        self, s3: Any, bucket: str
    ) -> None:
        def spoil(request: Any, **_: object) -> None:
            request.headers["X-Amz-Content-SHA256"] = "0" * 64

        s3.meta.events.register("before-send.s3.PutObject", spoil)
        try:
            found = failure(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x"))
        finally:
            s3.meta.events.unregister("before-send.s3.PutObject", spoil)

        assert found == ("XAmzContentSHA256Mismatch", 400)

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            # The check values of "123456789": CRC RevEng's catalogue of parametrised algorithms.
            ("x-amz-checksum-crc32", 0xCBF43926),
            ("x-amz-checksum-crc32c", 0xE3069283),
            ("x-amz-checksum-crc64nvme", 0xAE8B14860A799888),
        ],
    )
    def test_checksums_are_the_published_ones(self, header: str, value: int) -> None:
        assert int.from_bytes(DIGESTS[header](b"123456789"), "big") == value
