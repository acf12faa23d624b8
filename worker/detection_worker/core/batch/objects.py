"""Objects of a listing or a manifest, and which of them are media to analyse."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from detection_contract.aws.s3_urls import (
    InvalidS3Url,
    S3Location,
    object_location,
    parse_s3_url,
    s3_uri,
)
from detection_contract.media_types import kind_of_name


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What a listing or a manifest says about an object; None means that it does not say.

    Attributes:
        bucket: Bucket name.
        key: Decoded key.
        version_id: Version that is meant; None for the latest.
        etag: ETag without quotes.
        size_bytes: Size.
        last_modified: Time of the upload, with a time zone.
        archived: It must be restored before it can be read.
        removed: A delete marker, or a version that is not the latest.
    """

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size_bytes: int | None = None
    last_modified: datetime | None = None
    archived: bool = False
    removed: bool = False


class Skip(StrEnum):
    """Why an object is not analysed, in words that follow a count."""

    FOLDER = "folders (keys that end with /)"
    EMPTY = "empty objects"
    OTHER_TYPE = "objects of other types"
    LEFT_OUT = "objects left out by --include, --exclude or the prefix"
    OLD = "objects older than --since"
    ARCHIVED = "archived objects, to be restored first"
    REMOVED = "deleted or replaced versions"
    NO_URL = "keys that no message can name, such as those with control characters"


WILDCARD: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Pattern:
    """Several objects named by one URL.

    Attributes:
        url: As the user wrote it.
        bucket: Bucket name.
        prefix: What every key begins with.
        keys: Matches whole keys; None means every key that begins with the prefix.
    """

    url: str
    bucket: str
    prefix: str
    keys: re.Pattern[str] | None

    @property
    def folder(self) -> str:
        """The prefix up to its last ``/``."""
        return self.prefix[: self.prefix.rfind("/") + 1]

    def holds(self, *, bucket: str, key: str) -> bool:
        """Return whether an object is meant."""
        if bucket != self.bucket or not key.startswith(self.prefix):
            return False
        return self.keys is None or self.keys.fullmatch(key) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which objects are analysed.

    Attributes:
        within: Only these objects; None for any.
        include: Patterns of which one must match, if there are any, what follows the folder of
            ``within``; ``*`` matches ``/`` too.
        exclude: Patterns of which none may match.
        since: Only objects uploaded then or later; with a time zone.
        any_type: Also keys whose extension announces no media.
    """

    within: S3Pattern | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    since: datetime | None = None
    any_type: bool = False

    def why_not(self, item: StoredObject) -> Skip | None:
        """Return why an object is not analysed; None if it is.

        Raises:
            ValueError: ``since`` is set and the object has no time.
        """
        return self._by_name(item) or self._by_state(item)

    def _by_name(self, item: StoredObject) -> Skip | None:
        if not self._named(item):
            return Skip.LEFT_OUT
        if item.key.endswith("/"):
            return Skip.FOLDER
        if not self.any_type and kind_of_name(item.key) is None:
            return Skip.OTHER_TYPE
        return None if location_of(item) else Skip.NO_URL

    def _named(self, item: StoredObject) -> bool:
        name = item.key
        if self.within is not None:
            if not self.within.holds(bucket=item.bucket, key=item.key):
                return False
            name = item.key.removeprefix(self.within.folder)
        wanted = not self.include or any(fnmatchcase(name, p) for p in self.include)
        return wanted and not any(fnmatchcase(name, p) for p in self.exclude)

    def _by_state(self, item: StoredObject) -> Skip | None:
        if item.removed:
            return Skip.REMOVED
        if item.size_bytes == 0:
            return Skip.EMPTY
        if self.since is not None:
            if item.last_modified is None:
                raise ValueError("it does not say when its objects were uploaded")
            if item.last_modified < self.since:
                return Skip.OLD
        return Skip.ARCHIVED if item.archived else None


def location_of(item: StoredObject) -> S3Location | None:
    """Return where an object lies; None if no ``s3://`` URL means it and nothing else.

    A key with control characters has none, nor has one that ends like a version.
    """
    try:
        location = object_location(bucket=item.bucket, key=item.key, version_id=item.version_id)
        return location if parse_s3_url(s3_uri(location)) == location else None
    except InvalidS3Url:
        return None


def parse_pattern(url: str) -> S3Pattern | None:
    """Return the objects that a URL means if it means several, else None.

    These are ``s3://bucket``, ``s3://bucket/`` and ``s3://bucket/prefix/``, with everything
    below, and ``s3://`` URLs with a wildcard: ``*`` stands for any characters but ``/``, ``**``
    for any.
    """
    scheme, separator, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    if not separator or scheme.lower() != "s3" or bucket.startswith("arn:"):
        return None
    if path and not path.endswith("/") and WILDCARD not in path:
        return None
    try:
        object_location(bucket=bucket, key=path or "x")
    except InvalidS3Url:
        return None
    if WILDCARD not in path:
        return S3Pattern(url=url, bucket=bucket, prefix=path, keys=None)
    return S3Pattern(url=url, bucket=bucket, prefix=path.partition(WILDCARD)[0], keys=_regex(path))


def _regex(path: str) -> re.Pattern[str]:
    # A pattern that ends with / means what lies below, as without a wildcard.
    parts = re.split(r"(\*+)", path + ("**" if path.endswith("/") else ""))
    made = (
        (".*" if len(part) > 1 else "[^/]*") if part.startswith(WILDCARD) else re.escape(part)
        for part in parts
    )
    return re.compile("".join(made), re.DOTALL)
