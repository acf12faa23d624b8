"""The journal of S3: what was carried out, with what answer; refused requests are not in it."""

import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws


def test_every_request_is_in_the_journal_with_its_answer() -> None:
    with LocalAws.in_thread() as aws:
        aws.put_object("media", "uploads/a b.png", b"abc")
        s3 = aws.s3()
        known = len(aws.s3_journal())
        etag = s3.get_object(Bucket="media", Key="uploads/a b.png", Range="bytes=0-1")["ETag"]
        with pytest.raises(ClientError):
            s3.get_object(Bucket="media", Key="uploads/a b.png", IfNoneMatch=etag)
        with pytest.raises(ClientError):
            s3.get_object(Bucket="media", Key="missing")
        aws.inject(Fault(operation="s3.*", kind="access_denied"))
        with pytest.raises(ClientError):
            s3.get_object(Bucket="media", Key="uploads/a b.png")

        found = aws.s3_journal(since=known)

    assert [(each.operation, each.bucket, each.key, each.status) for each in found] == [
        ("GetObject", "media", "uploads/a b.png", 206),
        ("GetObject", "media", "uploads/a b.png", 304),
        ("GetObject", "media", "missing", 404),
    ]
    assert [each.at_s for each in found] == sorted(each.at_s for each in found)
