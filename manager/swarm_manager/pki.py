"""The cluster's certificate authority: pure functions from (CA, request, time) to certificates.

Subject of every certificate: CN = node id, OU = role, O = cluster id (`swarm_api.identity` reads it back).
The request only proves that the node holds its key: whatever subject it asks for is ignored.

Errors
    PkiError(ValueError)   the request cannot be granted; the text says why
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from swarm_api.identity import (
    ROLE_MANAGER,
    ROLES,
    key_to_pem,
    load_certificate,
    load_key,
)
from swarm_api.ids import base36
from swarm_api.join_token import SECRET_DIGITS

DEFAULT_VALIDITY = timedelta(days=90)
CA_VALIDITY = timedelta(days=7300)
CLOCK_SKEW = timedelta(hours=1)  # a node whose clock is behind must accept a fresh certificate
MANAGER_NAME = "swarm-manager"  # the name gRPC clients expect of any manager
_SUBJECT_LIMIT = 64  # X.520's upper bound for CN, OU and O


class PkiError(ValueError):
    """A certificate cannot be made from what was asked."""


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """The CA's certificate and private key, PEM.  The key never appears in a repr."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def create_ca(cluster_id: str, now: datetime) -> CertificateAuthority:
    """A new self-signed CA of this cluster, valid for 20 years, which may sign leaves only (pathlen 0)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("swarm-ca", None, cluster_id)
    builder = _builder(name, name, key.public_key(), now, now + CA_VALIDITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return CertificateAuthority(certificate.public_bytes(Encoding.PEM), key_to_pem(key))


def issue_from_csr(
    ca: CertificateAuthority,
    csr_pem: bytes,
    *,
    node_id: str,
    role: str,
    cluster_id: str,
    now: datetime,
    validity: timedelta = DEFAULT_VALIDITY,
) -> bytes:
    """A certificate (PEM) for the key that signed the request; PkiError when the request is no good."""
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        public_key = csr.public_key()
        proven = csr.is_signature_valid
    except Exception as error:
        raise PkiError(f"the certificate request cannot be read: {error}") from error
    if not proven:
        raise PkiError("the certificate request is not signed by the key it names")
    return _issue(ca, _p256(public_key), node_id, role, cluster_id, now, validity)


def issue_for_public_key(
    ca: CertificateAuthority,
    public_key_pem: bytes,
    *,
    node_id: str,
    role: str,
    cluster_id: str,
    now: datetime,
    validity: timedelta = DEFAULT_VALIDITY,
) -> bytes:
    """A certificate (PEM) for a P-256 public key whose possession the caller has checked already."""
    try:
        public_key = load_pem_public_key(public_key_pem)
    except Exception as error:
        raise PkiError(f"the public key cannot be read: {error}") from error
    return _issue(ca, _p256(public_key), node_id, role, cluster_id, now, validity)


def renew_at(certificate_pem: bytes) -> datetime:
    """When a certificate should be renewed: after two thirds of its life."""
    certificate = load_certificate(certificate_pem)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_before_utc + life * 2 / 3


def new_secret() -> str:
    """A fresh secret for a join token: 25 base-36 digits, 128 bits of randomness."""
    return base36(secrets.randbits(128), SECRET_DIGITS)


def _issue(
    ca: CertificateAuthority,
    public_key: ec.EllipticCurvePublicKey,
    node_id: str,
    role: str,
    cluster_id: str,
    now: datetime,
    validity: timedelta,
) -> bytes:
    if role not in ROLES:
        raise PkiError(f"there is no role {role!r}; the roles are {', '.join(sorted(ROLES))}")
    issuer, key = load_certificate(ca.certificate_pem), load_key(ca.key_pem)
    until = min(now + validity, issuer.not_valid_after_utc)
    if until <= now:
        raise PkiError("the certificate would be expired at birth: check the validity and the CA's own end")
    builder = _builder(_name(node_id, role, cluster_id), issuer.subject, public_key, now, until)
    for extension, critical in _leaf_extensions(node_id, role, key.public_key()):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _leaf_extensions(
    node_id: str, role: str, ca_key: ec.EllipticCurvePublicKey
) -> list[tuple[x509.ExtensionType, bool]]:
    names = [node_id] + ([MANAGER_NAME] if role == ROLE_MANAGER else [])
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(purposes), False),
        (x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key), False),
    ]


def _p256(public_key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP256R1):
        raise PkiError("only ECDSA P-256 keys are certified")
    return public_key


def _name(common_name: str, role: str | None, cluster_id: str) -> x509.Name:
    for value in (common_name, cluster_id):
        if not value or len(value) > _SUBJECT_LIMIT or not value.isascii() or not value.isprintable():
            raise PkiError(f"{value!r} cannot stand in a certificate: 1 to 64 printable ASCII characters")
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id)]
    if role is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role))
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(until)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
