"""Keys of stored results: the template that a user sets, filled in for one result."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from detection_contract.aws.s3_urls import MAX_KEY_BYTES
from detection_contract.media_types import kind_of_name

DEFAULT_TEMPLATE: Final = "{date}/{request_id}.json"
FIELDS: Final = ("date", "request_id", "message_id", "index", "bucket", "key")
"""Placeholders of a template."""
MAX_TEMPLATE_BYTES: Final = 256
MAX_PREFIX_BYTES: Final = 512
"""The other half of a key stays for what the template makes."""
ALLOWED_TEMPLATE: Final = (
    "a key below the prefix with {request_id}, or {message_id} and {index}, such as "
    "{date}/{request_id}.json; also {bucket} and {key} of the media; no ?, no other braces, no "
    f"empty, . or .. folders, at most {MAX_TEMPLATE_BYTES} bytes"
)
"""What is allowed, as it follows ``Allowed:`` in an error."""
ENVELOPE_SUFFIX: Final = ".json"
PAGE_SUFFIX: Final = ".html"
"""A page lies beside its envelope, under the same key but for this end."""
_SEGMENT: Final = f"([^/?{{}}]|[{{]({'|'.join(FIELDS)})[}}])+"
TEMPLATE_PATTERN: Final = f"^{_SEGMENT}(/{_SEGMENT})*$"
"""Every template matches; for RE2 too. ``is_key_template`` says the rest."""
MESSAGE_ID: Final = "detection-message-id"
INDEX: Final = "detection-index"
SHA256: Final = "detection-sha256"
"""User metadata of a stored result: whose it is, and a digest of its bytes."""
MARKS: Final = (MESSAGE_ID, INDEX, SHA256)
NO_MEDIA: Final = "-"
"""Bucket and key of a message that names no object; no bucket is called so."""
NO_DATE: Final = "undated"
"""Date of a message of which SQS did not say when it was sent."""

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_TEMPLATE: Final = re.compile(TEMPLATE_PATTERN)
_SAFE: Final = "!-_.*'()"
"""Beside letters and digits: S3 user guide, "Naming Amazon S3 objects", safe characters."""
_CUT_ESCAPE: Final = re.compile(r"%[0-9A-F]?$")
_LOOKS: Final = {"date": r"(?:\d{4}/\d{2}/\d{2}|undated)", "key": ".+"}
_DOTS: Final = re.compile(r"^\.+")
_DIGEST_CHARS: Final = 32


def is_key_template(text: str) -> bool:
    """Return whether ``text`` makes a key of its own for every result, and one that is safe."""
    if not text.isprintable() or text != text.strip() or not _TEMPLATE.fullmatch(text):
        return False
    fields = set(_PLACEHOLDER.findall(text))
    own = "request_id" in fields or {"message_id", "index"} <= fields
    short = len(text.encode()) <= MAX_TEMPLATE_BYTES
    return own and short and not {".", ".."} & set(text.split("/"))


def is_plain(prefix: str) -> bool:
    """Return whether URLs of the objects below a prefix name them, and no others."""
    return "?" not in prefix and not {".", ".."} & set(prefix.split("/"))


def names_media(template: str) -> bool:
    """Return whether results of events end like media: as ``{key}``, or with such an extension.

    Request ids that workers make for events have no extension.
    """
    return template.endswith("{key}") or kind_of_name(template) is not None


def page_template(template: str) -> str | None:
    """Return the template of pages; None if they could not be told from envelopes.

    Only where every envelope ends with ``.json`` no page can take the place of one.
    """
    if not template.endswith(ENVELOPE_SUFFIX):
        return None
    return template.removesuffix(ENVELOPE_SUFFIX) + PAGE_SUFFIX


def page_key(key: str) -> str:
    """Return the key of the page beside an envelope.

    Raises:
        ValueError: The envelope's key does not end with ``.json``.
    """
    if not key.endswith(ENVELOPE_SUFFIX):
        raise ValueError(f"{key} does not end with {ENVELOPE_SUFFIX}")
    return key.removesuffix(ENVELOPE_SUFFIX) + PAGE_SUFFIX


def result_key(
    template: str,
    *,
    prefix: str,
    request_id: str,
    message_id: str,
    index: int,
    sent_at_s: float | None,
    media: tuple[str, str] | None,
) -> str:
    """Return the key of one result: the same for every delivery of its message.

    Letters, digits and what S3 calls safe stand for themselves, everything else is
    percent-encoded, so that different ids never share a key and none leaves its folder. A key
    that would be too long ends in a digest instead.

    Args:
        template: One that ``is_key_template`` accepts.
        prefix: Empty, or ends with ``/``; at most ``MAX_PREFIX_BYTES`` in UTF-8.
        request_id: Any text.
        message_id: SQS message id.
        index: Position of the job in its message, from 0.
        sent_at_s: When the message was sent, Unix seconds.
        media: Bucket and key of the object that was analysed.
    """
    bucket, key = media or (NO_MEDIA, NO_MEDIA)
    values = {
        "date": _date(sent_at_s),
        "request_id": encoded(request_id),
        "message_id": encoded(message_id),
        "index": str(index),
        "bucket": encoded(bucket),
        "key": _encoded_path(key),
    }
    return prefix + _shortened(
        _filled(template, values),
        tail=template.rpartition("}")[2],
        max_bytes=MAX_KEY_BYTES - len(prefix.encode()),
    )


def key_pattern(template: str) -> re.Pattern[str]:
    """Return what the keys of a template look like, without their prefix."""
    parts = _PLACEHOLDER.split(template)
    # Literal text and names of placeholders take turns.
    return re.compile(
        "".join(
            _LOOKS.get(part, "[^/]+") if at % 2 else re.escape(part)
            for at, part in enumerate(parts)
        ),
        re.DOTALL,
    )


def encoded(text: str) -> str:
    """Return ``text`` as one segment of a key, in ASCII; different texts stay different."""
    found = quote(text.encode("utf-8", "surrogatepass"), safe=_SAFE).replace("~", "%7E")
    # A segment of dots alone means another folder to much that reads keys.
    return _DOTS.sub(lambda dots: "%2E" * len(dots[0]), found)


def _encoded_path(key: str) -> str:
    """Return a key whose single slashes stay, so that results lie in the folders of the media."""
    first, *others = map(encoded, key.split("/"))
    joined, before = first, first
    for segment in others:
        joined += ("/" if before and segment else "%2F") + segment
        before = segment
    return joined


def _date(sent_at_s: float | None) -> str:
    if sent_at_s is None:
        return NO_DATE
    try:
        return f"{datetime.fromtimestamp(sent_at_s, tz=UTC):%Y/%m/%d}"
    except (ValueError, OverflowError, OSError):
        return NO_DATE


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def _shortened(text: str, *, tail: str, max_bytes: int) -> str:
    """Return ``text`` in at most ``max_bytes``, with a digest of it before its ``tail``.

    ``text`` is ASCII but for the literal parts of the template.
    """
    whole = text.encode()
    if len(whole) <= max_bytes:
        return text
    end = f"-{hashlib.sha256(whole).hexdigest()[:_DIGEST_CHARS]}{tail}"
    kept = whole[: max_bytes - len(end.encode())].decode("utf-8", "ignore")
    return _CUT_ESCAPE.sub("", kept).rstrip("/") + end
