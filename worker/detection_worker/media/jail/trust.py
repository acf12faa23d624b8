"""The list of issuers of trusted C2PA signatures, checked before any child is started with it."""

import ssl
from pathlib import Path

from detection_worker.errors import UsageError
from detection_worker.settings import ProvenanceSettings


def trust_list_of(settings: ProvenanceSettings) -> Path | None:
    """Return the trust list that decoders are to have.

    Raises:
        UsageError: Declarations are to be trusted, but there is no list of whom to trust.
    """
    if settings.trust_declared and settings.trust_list is None:
        raise UsageError(
            "--trust-declared needs a list of whom to trust\nAnyone can sign that a file was made "
            "by AI: name the certificates of trusted issuers with --trust-list FILE."
        )
    return settings.trust_list


def check_trust_list(path: Path) -> None:
    """Check that a file holds certificates in PEM.

    Raises:
        UsageError: It cannot be read, or holds none.
    """
    try:
        text = path.read_text(encoding="ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as exc:  # ssl's own error is an OSError
        why = getattr(exc, "strerror", None) or exc
        raise UsageError(
            f"The trust list cannot be read: {path} ({why})\n"
            "Name a PEM file with one or more certificates (BEGIN CERTIFICATE)."
        ) from exc
