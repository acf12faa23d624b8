"""URLs that boto3 itself makes lead back to the object that it was asked for."""

from typing import Any

import boto3
import pytest
from botocore.config import Config

from detection_contract.aws.s3_urls import parse_s3_url

ACCOUNT = "123456789012"
KEYS = ["path/to/file.png", "a+b c%20d#e?f&g=h", "漢/e\u0301//.", "~!*'()@:,;$"]
POINT = f"arn:aws:s3:us-west-2:{ACCOUNT}:accesspoint/point"
OUTPOST = f"arn:aws:s3-outposts:us-west-2:{ACCOUNT}:outpost/op-01ac5d28a6a232904/accesspoint/point"
LAMBDA = f"arn:aws:s3-object-lambda:us-west-2:{ACCOUNT}:accesspoint/point"


@pytest.mark.parametrize(
    ("region", "bucket", "s3", "version"),
    [
        pytest.param("us-east-1", "bucket", {}, "s3v4", id="virtual host"),
        pytest.param("us-east-1", "bucket", {}, "s3", id="signature version 2"),
        pytest.param("eu-west-3", "a.b.c", {}, "s3v4", id="dots"),
        pytest.param("eu-west-3", "bucket", {"addressing_style": "path"}, "s3v4", id="path"),
        pytest.param("eu-west-3", "bucket", {"use_dualstack_endpoint": True}, "s3v4", id="dual"),
        pytest.param("eu-west-3", "bucket", {"use_accelerate_endpoint": True}, "s3v4", id="fast"),
        pytest.param("cn-north-1", "bucket", {}, "s3v4", id="China"),
        pytest.param("us-gov-west-1", "bucket", {}, "s3v4", id="GovCloud"),
        pytest.param("us-isob-east-1", "bucket", {}, "s3v4", id="isolated"),
        pytest.param("us-west-2", POINT, {}, "s3v4", id="access point"),
        pytest.param("us-west-2", LAMBDA, {}, "s3v4", id="object lambda"),
        pytest.param("us-west-2", OUTPOST, {}, "s3v4", id="outpost"),
    ],
)
def test_a_url_presigned_by_boto3_names_its_object(
    region: str, bucket: str, s3: dict[str, Any], version: str
) -> None:
    client = boto3.client(
        "s3",
        region_name=region,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="example",
        config=Config(s3=s3, signature_version=version),
    )

    found = []
    for key in KEYS:
        asked = {"Bucket": bucket, "Key": key, "VersionId": "v+1.x"}
        location = parse_s3_url(client.generate_presigned_url("get_object", Params=asked))
        found.append((location.bucket, location.key, location.version_id))

    assert found == [(bucket, key, "v+1.x") for key in KEYS]
