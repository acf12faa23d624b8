"""The list of issuers of trusted C2PA signatures, checked before any child is started with it."""

import fcntl
import os
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


def held_trust_list(path: Path) -> int:
    """Return the descriptor of a copy of a file that holds certificates in PEM.

    Decoders are started as long as a worker runs: later changes of the file are not for them, and
    none of them can write to what the next one trusts.

    Raises:
        UsageError: The file cannot be read, or holds none.
    """
    try:
        content = path.read_bytes()
        text = content.decode("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as exc:  # ssl's own error is an OSError
        why = getattr(exc, "strerror", None) or exc
        raise UsageError(
            f"The trust list cannot be read: {path} ({why})\n"
            "Name a PEM file with one or more certificates (BEGIN CERTIFICATE)."
        ) from exc
    if not hasattr(os, "memfd_create"):
        return os.open(path, os.O_RDONLY)
    fd = os.memfd_create("trust-list", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(fd, "wb", closefd=False) as copy:
        copy.write(content)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd
