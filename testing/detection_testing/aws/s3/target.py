"""What an S3 request is about: operation, bucket and key."""

import re
from typing import NamedTuple
from urllib.parse import unquote

from detection_testing.http.values import Request

# BUCKET.s3.amazonaws.com, BUCKET.s3.REGION.amazonaws.com, BUCKET.localhost.
_VIRTUAL_HOST = re.compile(r"(?P<bucket>.+?)\.(?:s3[.-].+|localhost)")
_SUBRESOURCES = {
    "list-type": "List",
    "versioning": "Versioning",
    "location": "Location",
    "notification": "Notification",
    "delete": "Delete",
}
# Parameters of operations on an object that are not implemented here.
_UNKNOWN = frozenset({"uploads", "uploadId", "partNumber", "tagging", "acl", "retention"})
_OPERATIONS = {
    ("GET", "Object"): "GetObject",
    ("HEAD", "Object"): "HeadObject",
    ("PUT", "Object"): "PutObject",
    ("DELETE", "Object"): "DeleteObject",
    ("PUT", "Bucket"): "CreateBucket",
    ("HEAD", "Bucket"): "HeadBucket",
    ("DELETE", "Bucket"): "DeleteBucket",
    ("GET", "List"): "ListObjectsV2",
    ("POST", "Delete"): "DeleteObjects",
    ("PUT", "Versioning"): "PutBucketVersioning",
    ("GET", "Location"): "GetBucketLocation",
    ("PUT", "Notification"): "PutBucketNotificationConfiguration",
    ("GET", "Notification"): "GetBucketNotificationConfiguration",
    ("GET", "Buckets"): "ListBuckets",
}


class S3Target(NamedTuple):
    """What a request is about."""

    operation: str
    bucket: str
    key: str


def target_of(request: Request) -> S3Target:
    """Return the operation, bucket and key of a request, in either style of address."""
    host = request.headers.get("host", "").partition(":")[0]
    virtual = _VIRTUAL_HOST.fullmatch(host)
    path = request.path[1:]
    bucket, key = (virtual["bucket"], path) if virtual else path.partition("/")[::2]
    bucket, key = unquote(bucket), unquote(key)
    parameters = request.parameters()
    if key:
        name = "Unknown" if _UNKNOWN & parameters.keys() else "Object"
    elif bucket:
        name = next((n for p, n in _SUBRESOURCES.items() if p in parameters), "Bucket")
    else:
        name = "Buckets"
    return S3Target(_OPERATIONS.get((request.method, name), "Unknown"), bucket, key)
