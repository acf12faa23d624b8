"""ListObjectsV2. Pure: from sorted keys to a page, and from a page to XML.

S3 API reference, ListObjectsV2.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from detection_testing.aws.s3.errors import invalid_argument
from detection_testing.aws.s3.store import StoredObject
from detection_testing.aws.sqs.registry import ACCOUNT_ID

MAX_KEYS = 1000
_LAST = "\U0010ffff"
"""No character of a key comes after it."""
_TOKEN_TEXT = "The continuation token provided is incorrect"  # noqa: S105 - a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a page is asked of.

    Attributes:
        prefix: Keys start with it.
        delimiter: Keys that have it after the prefix are rolled up to what comes before; empty for
            none.
        after: Keys come after this one.
        limit: Most entries of the page, 0 to 1,000.
    """

    prefix: str
    delimiter: str
    after: str
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Keys and common prefixes, in order; ``next_token`` is empty on the last page."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...]
    next_token: str


def listing_of(parameters: Mapping[str, str]) -> Listing:
    """Read the parameters of a request.

    Raises:
        S3Error: ``InvalidArgument``.
    """
    limit = parameters.get("max-keys", str(MAX_KEYS))
    if not limit.isdecimal():
        text = "Provided max-keys not an integer or within integer range"
        raise invalid_argument(text, name="max-keys", value=limit)
    encoding = parameters.get("encoding-type", "url")
    if encoding != "url":
        text = "Invalid Encoding Method specified in Request"
        raise invalid_argument(text, name="encoding-type", value=encoding)
    token = parameters.get("continuation-token")
    return Listing(
        prefix=parameters.get("prefix", ""),
        delimiter=parameters.get("delimiter", ""),
        after=parameters.get("start-after", "") if token is None else _read_token(token),
        limit=min(int(limit), MAX_KEYS),
    )


def page_of(keys: Sequence[str], listing: Listing) -> Page:
    """Return the next entries of ``keys``, which are in order and start with the prefix."""
    shown: list[str] = []
    prefixes: list[str] = []
    last = ""
    for key in keys:
        group = _group(key, listing)
        if key.encode() <= listing.after.encode() or (group and group == last):
            continue
        if len(shown) + len(prefixes) >= listing.limit:
            # A page that ended with a common prefix is followed by what comes after all its keys.
            more = _token(last + _LAST * (last in prefixes)) if listing.limit else ""
            return Page(keys=tuple(shown), prefixes=tuple(prefixes), next_token=more)
        (prefixes if group else shown).append(group or key)
        last = group or key
    return Page(keys=tuple(shown), prefixes=tuple(prefixes), next_token="")


def render(
    bucket: str,
    page: Page,
    parameters: Mapping[str, str],
    find: Callable[[str], StoredObject],
) -> str:
    """Return the elements of the answer.

    Args:
        bucket: Name of the bucket.
        page: Its entries.
        parameters: The query of a request: some of it is repeated.
        find: Returns the object of a key.
    """
    coded = quote if parameters.get("encoding-type") == "url" else str
    owner = parameters.get("fetch-owner") == "true"
    echoed = {
        "Prefix": coded(parameters.get("prefix", "")),
        "Delimiter": coded(parameters.get("delimiter", "")),
        "StartAfter": coded(parameters.get("start-after", "")),
        "ContinuationToken": parameters.get("continuation-token", ""),
        "EncodingType": parameters.get("encoding-type", ""),
        "NextContinuationToken": page.next_token,
    }
    limit = listing_of(parameters).limit
    head = {
        "Name": bucket,
        **{name: text for name, text in echoed.items() if text or name == "Prefix"},
        "KeyCount": str(len(page.keys) + len(page.prefixes)),
        "MaxKeys": str(limit),
        "IsTruncated": "true" if page.next_token else "false",
    }
    entries = [_entry(coded(key), find(key), owner=owner) for key in page.keys]
    rolled = [f"<CommonPrefixes>{_elements({'Prefix': coded(p)})}</CommonPrefixes>"
              for p in page.prefixes]  # fmt: skip
    return _elements(head) + "".join(entries) + "".join(rolled)


def _group(key: str, listing: Listing) -> str:
    """Return the common prefix that a key is rolled up to, or nothing."""
    if not listing.delimiter:
        return ""
    head, found, _ = key[len(listing.prefix) :].partition(listing.delimiter)
    return listing.prefix + head + found if found else ""


def _entry(shown: str, stored: StoredObject, *, owner: bool) -> str:
    modified = datetime.fromtimestamp(stored.modified_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    algorithms = [name.rpartition("-")[2].upper() for name in stored.checksums]
    elements = {
        "Key": shown,
        "LastModified": modified,
        "ETag": f'"{stored.etag}"',
        **(
            {"ChecksumAlgorithm": algorithms[0], "ChecksumType": "FULL_OBJECT"}
            if algorithms
            else {}
        ),
        "Size": str(stored.size_bytes),
        "StorageClass": "STANDARD",
    }
    of_owner = f"<Owner>{_elements({'ID': ACCOUNT_ID})}</Owner>" if owner else ""
    return f"<Contents>{_elements(elements)}{of_owner}</Contents>"


def _elements(texts: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{escape(text)}</{name}>" for name, text in texts.items())


def _token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode("utf-8", "surrogateescape")).decode()


def _read_token(token: str) -> str:
    try:
        after = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        after = ""
    if not after:
        raise invalid_argument(_TOKEN_TEXT, name="continuation-token", value=token)
    return after
