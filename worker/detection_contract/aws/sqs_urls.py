"""Hosts of SQS queue URLs: the region that they name, and the endpoint to call."""

import re
from typing import Final
from urllib.parse import urlsplit

_REGION: Final = "[a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,2}"
_STANDARD: Final = (
    "amazonaws[.]com(?:[.]cn)?|amazonaws[.]eu"
    "|c2s[.]ic[.]gov|sc2s[.]sgov[.]gov|cloud[.]adc-e[.]uk|csp[.]hci[.]ic[.]gov"
)
_DUAL_STACK: Final = "api[.]aws|api[.]amazonwebservices[.](?:com[.]cn|eu)"
"""Domains of every partition, from botocore's endpoint data."""
_SUFFIX: Final = f"(?:{_STANDARD}|{_DUAL_STACK})"
_EMULATOR: Final = "localhost[.]localstack[.]cloud"
_PORT: Final = "(?::[0-9]+)?/"
URL_REGION_PATTERN: Final = (
    f"^https?://(?:[a-z0-9-]+[.])?(?:sqs|sqs-fips)[.]({_REGION})[.](?:vpce[.])?"
    f"(?:{_SUFFIX}|{_EMULATOR}){_PORT}"
    f"|^https?://({_REGION})[.]queue[.](?:{_STANDARD}|{_EMULATOR}){_PORT}"
    f"|^https?://queue[.]amazonaws[.]com{_PORT}"
)
"""Queue URLs whose host names a region: standard, FIPS, VPC endpoint, dual stack, every partition,
and the legacy forms. For RE2 too, and without backslashes, so that it can stand in a CEL rule."""
_LEGACY_REGION: Final = "us-east-1"
"""Region of ``queue.amazonaws.com``, the first host of SQS."""
_LEGACY_HOST: Final = f"(?:{_REGION}[.])?queue[.](?:{_STANDARD})"
_STANDARD_HOST: Final = re.compile(f"sqs[.]{_REGION}[.](?:{_STANDARD})|{_LEGACY_HOST}")
_PUBLIC_HOST: Final = re.compile(f"sqs(?:-fips)?[.]{_REGION}[.]{_SUFFIX}|{_LEGACY_HOST}")


def region_of_queue(url: str) -> str | None:
    """Return the AWS region that the host of a queue URL names; None if it names none."""
    found = re.match(URL_REGION_PATTERN, url)
    return found and (found[1] or found[2] or _LEGACY_REGION)


def own_endpoint(url: str) -> str | None:
    """Return the endpoint (scheme, host, port) of a queue URL if it is not the standard one.

    VPC, FIPS and dual-stack endpoints and emulators must be called at the URL's own host. None
    means the region's standard endpoint, which also serves the legacy hosts.
    """
    parts = urlsplit(url)
    if not parts.hostname or _STANDARD_HOST.fullmatch(parts.hostname):
        return None
    return f"{parts.scheme}://{parts.netloc}"


def is_same_queue(one: str, other: str) -> bool:
    """Return whether two queue URLs have account, name, and region or host in common."""
    (ours, our_place), (theirs, their_place) = map(_path_and_place, (one, other))
    return ours == theirs and our_place == their_place


def _path_and_place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.path.rstrip("/"), region_of_queue(url) or parts.netloc.lower()


def is_public_endpoint(url: str) -> bool:
    """Return whether a URL has a public SQS host: not a VPC endpoint and not an emulator."""
    return bool(_PUBLIC_HOST.fullmatch(urlsplit(url).hostname or ""))
