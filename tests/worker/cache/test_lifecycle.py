"""The lifecycle rules that ship with the chart, as S3 takes them."""

import json
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest

FOLDER = Path(__file__).parents[3] / "charts" / "detection-queue" / "files" / "lifecycle"


@pytest.mark.parametrize(("name", "prefix"), [("cache", "cache/"), ("results", "results/")])
def test_a_bucket_takes_the_rules_and_expires_what_they_are_for(
    name: str, prefix: str, moto_server: str
) -> None:
    rules: Any = json.loads((FOLDER / f"{name}.json").read_text())
    s3 = boto3.client(
        "s3",
        endpoint_url=moto_server,
        region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="secret",
    )
    bucket = f"expiring-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)

    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)

    kept = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    s3.close()
    assert {rule["Filter"]["Prefix"] for rule in kept} == {prefix}
    assert {rule["Status"] for rule in kept} == {"Enabled"}
    assert [rule["Expiration"].get("Days", 0) > 0 for rule in kept] == [True, False]
    # S3 refuses both in one rule.
    assert all(
        set(rule["Expiration"]) <= {"Days"} or "Days" not in rule["Expiration"] for rule in kept
    )
