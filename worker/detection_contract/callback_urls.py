"""URLs that results may be posted to."""

import ipaddress
import re
from typing import Final

MAX_CALLBACK_URL_CHARS: Final = 2048

HIDDEN: Final = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Control characters, line separators, and marks that reorder or hide text in a log; as a part of
a set in a regular expression."""
# Hosts in their wire form: a name beyond ASCII is written in Punycode. No IGNORECASE: it would
# take the long s for an s.
_CALLBACK_URL: Final = re.compile(
    r"[hH][tT][tT][pP][sS]?://"
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    rf"(?::(?P<port>[0-9]{{1,5}}))?(?:[/?#][^ \\{HIDDEN}]*)?"
)


def is_callback_url(text: str) -> bool:
    """Return whether ``text`` is an http or https URL with a host and without user information."""
    found = _CALLBACK_URL.fullmatch(text) if len(text) <= MAX_CALLBACK_URL_CHARS else None
    return (
        found is not None
        and 0 < int(found["port"] or 80) < 65536
        and _is_ipv6(found["ipv6"] or "::")
    )


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
