"""The ``Range`` header. Pure."""

import re

from detection_testing.aws.s3.errors import S3Error

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and last byte asked for (RFC 9110, 14.1.2), or None for the whole.

    Raises:
        S3Error: ``InvalidRange`` if the object, ``size`` bytes long, has none of these bytes.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first_text, last_text = match.groups()
    if not first_text:
        first, last = max(0, size - int(last_text)), size - 1
    else:
        first = int(first_text)
        last = min(int(last_text), size - 1) if last_text else size - 1
        if last_text and int(last_text) < first:
            return None
    if first >= size:
        raise _unsatisfiable(header or "", size)
    return first, last


def _unsatisfiable(header: str, size: int) -> S3Error:
    details = {"RangeRequested": header, "ActualObjectSize": str(size)}
    text = "The requested range is not satisfiable"
    headers = {"Content-Range": f"bytes */{size}"}
    return S3Error("InvalidRange", text, status=416, details=details, headers=headers)
