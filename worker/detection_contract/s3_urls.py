"""S3 URLs: every documented form to bucket and key."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """Where an object is.

    Attributes:
        bucket: Bucket name, or the ARN or alias of an access point.
        key: Object key, decoded exactly once, never normalised; not empty.
        version_id: Of the object; None means the latest.
        region: If the URL names one, else None.
    """

    bucket: str
    key: str
    version_id: str | None = None
    region: str | None = None
