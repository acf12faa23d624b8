"""Files with C2PA manifests, signed by certificates made here."""

import datetime
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """A signer and its issuer.

    Attributes:
        root: The issuer's certificate, PEM: what a trust list holds.
        signer: Signs manifests.
    """

    root: bytes
    signer: c2pa.Signer


def signatory(organisation: str = "Example Generator") -> Signatory:
    """Return a signer with a certificate of the profile that C2PA asks for (2.2, section 14.5)."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("Example root", "Example authority")
    root = _certificate(issuer, issuer, root_key.public_key(), root_key, authority=True)
    leaf = _certificate(
        _name("Example signer", organisation), issuer, key.public_key(), root_key, authority=False
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = c2pa.C2paSignerInfo(
        alg=b"es256", sign_cert=_pem(leaf) + _pem(root), private_key=private, ta_url=None
    )
    return Signatory(root=_pem(root), signer=c2pa.Signer.from_info(info))


def _name(common: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
        ]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 365 * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(issuer_id, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if not authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def action(
    source_type: str | None, *, name: str = "c2pa.created", agent: str = "Example Model"
) -> dict[str, Any]:
    """Return an action of a manifest; ``source_type`` is a code of IPTC."""
    told: dict[str, Any] = {"action": name, "softwareAgent": {"name": agent}}
    if name == "c2pa.opened":
        told["parameters"] = {"ingredientIds": ["parentOf"]}
    if source_type is not None:
        told["digitalSourceType"] = SOURCE_TYPES + source_type
    return told


def signed(
    data: bytes,
    mime_type: str,
    by: Signatory,
    *,
    actions: Sequence[Mapping[str, Any]],
    ingredients: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a file with a manifest.

    Args:
        data: The file.
        mime_type: Its type.
        by: Who signs.
        actions: From ``action``.
        ingredients: JPEGs by their relationship, as ``parentOf``.
    """
    manifest = {
        "claim_generator_info": [{"name": "Example Writer", "version": "2.0"}],
        "format": mime_type,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}],
    }
    builder = c2pa.Builder(json.dumps(manifest))
    for relationship, content in (ingredients or {}).items():
        about = dict.fromkeys(("title", "relationship", "instance_id"), relationship)
        builder.add_ingredient(json.dumps(about), "image/jpeg", io.BytesIO(content))
    out = io.BytesIO()
    builder.sign(by.signer, mime_type, io.BytesIO(data), out)
    return out.getvalue()
