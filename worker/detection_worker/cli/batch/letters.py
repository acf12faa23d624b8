"""Dead letters as text and JSON, without secrets."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from detection_contract.aws.s3_urls import redact_url
from detection_contract.messages import InvalidMessage, parse_body
from detection_contract.process.logs import redact
from detection_contract.results import iso_of
from detection_worker.batch.dead_letters import DeadLetter, Group
from detection_worker.cli.terminal import shown
from detection_worker.report.texts import printable

MAX_TEXT: Final = 2_000
"""Longer texts of a body are cut."""
_HIDDEN: Final = "[redacted]"
_SECRET: Final = re.compile(
    r"token|secret|password|passwd|authorization|signature|credential|api[-_]?key", re.IGNORECASE
)
_GROUP: Final = "{code:<22}  {count:>6}  {oldest:<24}  {example}"
_MESSAGE: Final = "{id:<36}  {sent:<24}  {count:>8}  {about}"


def groups(found: Sequence[Group]) -> str:
    """Return a table of reasons, each with an example."""
    lines = [_GROUP.format(code="Code", count="Count", oldest="Oldest", example="Example")]
    for group in found:
        oldest = group.oldest
        lines += [
            _GROUP.format(
                code=printable(group.code),
                count=group.count,
                oldest=_sent(oldest),
                example=oldest.message.message_id,
            ),
            f"    {printable(redact(oldest.reason))}",
            f"    {about(oldest)}",
        ]
    return "\n".join(lines)


def messages(letters: Sequence[DeadLetter]) -> str:
    """Return a table of messages."""
    head = _MESSAGE.format(id="Id", sent="Sent", count="Receives", about="About")
    rows = [
        _MESSAGE.format(
            id=letter.message.message_id,
            sent=_sent(letter),
            count=letter.message.receive_count,
            about=about(letter),
        )
        for letter in letters
    ]
    return "\n".join([head, *rows])


def whole(letter: DeadLetter) -> str:
    """Return one message in full, as lines."""
    facts = _facts(letter)
    lines = [f"{name + ':':<20}{printable(str(value))}" for name, value in facts.items() if value]
    return "\n".join([*lines, "", _body(letter)])


def shown_json(letter: DeadLetter) -> str:
    """Return one message in full, as JSON."""
    return _dumped({**_facts(letter), "body": safe(_parsed(letter))})


def as_json(found: Sequence[Group] | Sequence[DeadLetter]) -> str:
    """Return groups or messages as JSON."""
    return _dumped(
        [
            {"code": f.code, "count": f.count, "oldest": _facts(f.oldest)}
            if isinstance(f, Group)
            else _facts(f)
            for f in found
        ]
    )


def about(letter: DeadLetter) -> str:
    """Return what a message is about: the object, else the beginning of its body."""
    try:
        requests = parse_body(letter.message.body).requests
        url = requests[0].sqs_to_ml_url if requests else ""
    except InvalidMessage as exc:
        url = exc.sqs_to_ml_url or ""
    if url:
        return shown(url)
    body = _parsed(letter)
    if isinstance(body, dict) and {"webhook_id", "url"} <= body.keys():  # an entry of an outbox
        to = _safe_text(str(body["url"]), "url")
        return printable(f"callback of {body.get('request_id')} to {to}")
    return printable(redact(json.dumps(safe(_parsed(letter)), ensure_ascii=False))[:100])


def safe(value: object, *, name: str = "") -> object:
    """Return a JSON value without queries of URLs, paths of callbacks and named secrets."""
    if isinstance(value, Mapping):
        return {k: safe(v, name=str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [safe(v, name=name) for v in value]
    if name and _SECRET.search(name) and value is not None:
        return _HIDDEN
    return _safe_text(value, name) if isinstance(value, str) else value


def _safe_text(text: str, name: str) -> object:
    if text.startswith("{"):  # an entry of an outbox holds a whole result as text
        with suppress(ValueError, RecursionError):
            return safe(json.loads(text))
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text)} characters)"
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        return redact(text)
    if name in ("callback_url", "url") and text.lower().startswith("http"):
        # The path of a callback may be its secret.
        scheme, _, rest = redact_url(text).partition("://")
        return f"{scheme}://{rest.partition('/')[0]}/…"
    cut = redact_url(text)
    return f"{cut}?…" if "?" in text and not text.startswith("s3://") else cut


def _facts(letter: DeadLetter) -> dict[str, object]:
    message = letter.message
    return {
        "id": message.message_id,
        "original_id": letter.original_id,
        "code": letter.code,
        "reason": redact(letter.reason),
        "sent": _sent(letter),
        "receives": message.receive_count,
        "group": message.group_id,
        "about": about(letter),
        "attributes": {
            name: safe(a.value, name=name) if isinstance(a.value, str) else f"{len(a.value)} bytes"
            for name, a in message.attributes.items()
        },
    }


def _body(letter: DeadLetter) -> str:
    return _dumped(safe(_parsed(letter)))


def _parsed(letter: DeadLetter) -> object:
    try:
        return json.loads(letter.message.body)
    except (ValueError, RecursionError):
        return letter.message.body


def _sent(letter: DeadLetter) -> str:
    at_s = letter.message.sent_at_s
    return "-" if at_s is None else iso_of(at_s)


def _dumped(value: object) -> str:
    # Escaped: a body may hold control characters and text that reorders a line.
    return json.dumps(value, indent=2)
