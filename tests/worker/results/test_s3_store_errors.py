"""The words of S3 about denied writes, which no emulator has."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from detection_worker.results.s3_store_errors import Bucket, explain_store

ROLE = "User: arn:aws:sts::123456789012:assumed-role/worker/i-1 is not authorized to perform: "
OBJECT = ' on resource: "arn:aws:s3:::results/out/r.json"'


def denied(message: str) -> ClientError:
    response: Any = {
        "Error": {"Code": "AccessDenied", "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {}},
    }
    return ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("message", "bucket", "words"),
    [
        pytest.param(
            f"{ROLE}s3:PutObject{OBJECT} because no identity-based policy allows the action",
            Bucket(name="results", owner="123456789012"),
            "Access Denied in bucket results; allow s3:PutObject on it in the policy of the "
            "worker's role (`detection-worker iam-policy` prints one)",
            id="role",
        ),
        pytest.param(
            f"{ROLE}s3:PutObject{OBJECT} with an explicit deny in a resource-based policy",
            Bucket(name="results"),
            "a policy denies it in bucket results (s3:PutObject); if the bucket demands "
            "encryption with a KMS key, name it by --results-kms-key-id",
            id="bucket policy that demands encryption",
        ),
        pytest.param(
            f"{ROLE}kms:GenerateDataKey on resource: arn:aws:kms:us-east-1:123456789012:key/1 "
            "because no resource-based policy allows the action",
            Bucket(name="results", kms_key_id="alias/results"),
            "the KMS key alias/results may not be used (kms:GenerateDataKey is not allowed); "
            "allow it in the policies of the worker's role and of the key",
            id="KMS key",
        ),
        pytest.param(
            f"{ROLE}kms:GenerateDataKey on this resource with an explicit deny",
            Bucket(name="results"),
            "the bucket's KMS key may not be used (kms:GenerateDataKey is not allowed)",
            id="KMS key of the bucket",
        ),
        pytest.param(
            "Access Denied",
            Bucket(name="results", owner="123456789012"),
            "; also check that the bucket belongs to account 123456789012, as "
            "--results-bucket-owner says",
            id="another owner",
        ),
    ],
)
def test_a_denied_write_says_who_denies_it_and_what_to_allow(
    message: str, bucket: Bucket, words: str
) -> None:
    error = explain_store(denied(message), bucket)

    assert words in error.message
    assert error.environment
    assert "123456789012:assumed-role" not in error.message
