"""Log output of worker and operator: plain lines as in the guide, or one JSON object per line.

Records of libraries are included. Everything goes to standard error, with secrets masked.
"""

import json
import logging
import math
import os
import re
import sys
from collections.abc import Mapping
from typing import Final, Literal, cast

from detection_contract.environment import IN_CLUSTER, LOG_FORMAT
from detection_contract.results import iso_of

LogFormat = Literal["plain", "json"]

PLAIN_FORMAT: Final = "%(asctime)s - %(levelname)s - %(message)s"
_LEVELS: Final = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
# Their debug lines hold whole requests with signed headers; their info lines are about themselves.
_TALKATIVE: Final = ("PIL", "boto3", "botocore", "s3transfer", "urllib3")
_FIXED: Final = frozenset({"ts", "level", "logger", "message", "error", "stack"})
# kopf's own bookkeeping, of no use to a reader.
_NO_FACTS: Final = frozenset({"k8s_skip", "settings"})
_OF_EVERY_RECORD: Final = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
)

_MASK: Final = "***"
_MAX_DEPTH: Final = 6
_MASKED_NAMES: Final = (
    r"(?:proxy-)?authorization|(?:aws_)?secret_?access_?key|(?:aws_)?session_?token"
    r"|x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signing_secrets?"
)
_IS_SECRET: Final = re.compile(_MASKED_NAMES, re.IGNORECASE)
_SECRETS: Final = (
    # A header's value has spaces; it ends with its quote or line.
    re.compile(r"(authorization['\"]?\s*[:=]\s*b?['\"]?)[^'\"\r\n}]+", re.IGNORECASE),
    re.compile(
        rf"((?:{_MASKED_NAMES})['\"]?\s*(?:[:=]|%3D)\s*b?['\"]?)[^&\s'\",;<>)}}\]]+", re.IGNORECASE
    ),
    re.compile(r"(\bsignature(?:=|%3D))[^&\s'\",;<>)}\]]+", re.IGNORECASE),
    re.compile(r"(whsec_)[A-Za-z0-9+/=_-]+"),
    re.compile(r"(://[^/\s:@'\"]*:)[^/\s@'\"]+(?=@)"),
)

log = logging.getLogger(__name__)


def configure(*, level: str, fmt: LogFormat, to_console: bool = True, facts: bool = False) -> None:
    """Send every log record of the process to standard error; may be called again.

    A level or format that does not exist is replaced by INFO or ``plain``, and a warning says so.

    Args:
        level: Lowest level that is shown, in any case.
        fmt: ``plain`` is the guide's; ``json`` has ``ts`` (UTC), ``level``, ``logger``,
            ``message``, the record's ``extra`` facts, and ``error`` with the traceback.
        to_console: False shows nothing.
        facts: Plain lines end with the record's ``extra`` facts, as ``name=value``.
    """
    known = _LEVELS.get(level.strip().upper(), logging.INFO)
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Console | _Nowhere)]:
        root.removeHandler(handler)
        handler.close()
    console = _Console() if to_console else _Nowhere()
    plain = FactsFormatter(PLAIN_FORMAT) if facts else PlainFormatter(PLAIN_FORMAT)
    console.setFormatter(JsonFormatter() if fmt == "json" else plain)
    root.addHandler(console)
    root.setLevel(known)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(
            logging.INFO if known <= logging.DEBUG else max(known, logging.WARNING)
        )
    logging.captureWarnings(capture=True)
    if level.strip().upper() not in _LEVELS:
        log.warning("unknown log level %r: INFO is used", level)
    if fmt not in {"plain", "json"}:
        log.warning("unknown log format %r: plain is used", fmt)


def log_format_from_environment(
    environ: Mapping[str, str] | None = None, *, is_terminal: bool | None = None
) -> LogFormat:
    """Return the format that ``LOG_FORMAT`` names, else a default.

    The default is ``plain`` at a terminal, ``json`` in a Kubernetes pod, ``plain`` elsewhere.

    Args:
        environ: None means the environment of the process.
        is_terminal: Standard error is a terminal; None asks the operating system.
    """
    variables = os.environ if environ is None else environ
    chosen = variables.get(LOG_FORMAT, "").strip().lower()
    if chosen in {"plain", "json"}:
        return cast("LogFormat", chosen)
    terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
    suited: LogFormat = "json" if IN_CLUSTER in variables and not terminal else "plain"
    if chosen:
        log.warning("%s is %r, not plain or json: %s is used", LOG_FORMAT, chosen, suited)
    return suited


def redact(text: str) -> str:
    """Return ``text`` with everything that looks like a signature, key or password masked."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{_MASK}", text)
    return text


class PlainFormatter(logging.Formatter):
    """The guide's lines, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if there is one."""
        return redact(super().format(record))


class FactsFormatter(PlainFormatter):
    """The guide's lines with the record's facts behind the message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's
        """Return the line without a traceback."""
        facts = (
            f" {name}={' '.join(str(value).split())}"
            for name, value in _facts(record).items()
            if value not in (None, "", []) and not isinstance(value, Mapping)
        )
        return super().formatMessage(record) + "".join(facts)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; a fact that is not JSON is shown as text."""
        entry: dict[str, object] = {
            "ts": iso_of(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _facts(record).items():
            entry[f"{name}_" if name in _FIXED else name] = value
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        return json.dumps(_shown(entry, depth=0), allow_nan=False)


class _Console(logging.Handler):
    """Writes to the current ``sys.stderr``, which tests and daemons replace."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - a log line must never stop the work
            self.handleError(record)


class _Nowhere(logging.NullHandler):
    """Keeps ``logging`` from falling back to its handler of last resort."""


def _facts(record: logging.LogRecord) -> dict[str, object]:
    """Return what came with a record as ``extra``."""
    found: dict[str, object] = {
        name: value
        for name, value in vars(record).items()
        if name not in _OF_EVERY_RECORD and name not in _NO_FACTS
    }
    return found


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # A wrong format must not lose the record.
        return f"{record.msg} {record.args}"


def _shown(value: object, *, depth: int) -> object:
    """Return ``value`` as JSON can show it, secrets masked."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        return {
            str(name): _MASK if _IS_SECRET.fullmatch(str(name)) else _shown(v, depth=depth + 1)
            for name, v in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
        return [_shown(v, depth=depth + 1) for v in value]
    return redact(str(value))
