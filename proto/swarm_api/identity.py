"""Who somebody is: keys, certificate requests, join tokens, and the role a certificate proves.

Theory of operation
    A member of a cluster holds an X.509 certificate of the cluster's CA (ECDSA P-256): CN is its node id,
    OU its role, O the cluster's id.  Somebody who has no certificate yet holds a *join token* (join_token.py):
    the digest of the CA's certificate and the secret of a role.

    The digest lets the joiner recognise the cluster before it sends anything (`JoinToken.check_digest`).  From
    the secret both sides derive the same P-256 key.  The joiner uses it as a tiny CA of its own, with a
    subject fixed per role, and signs itself a leaf (`joiner_leaf`); the managers trust the same tiny CA
    (`joiner_anchor`).  So the secret never crosses the wire, and whoever knows neither a token nor a
    certificate does not get past the TLS handshake.

    TLS only says that *one* of the trusted keys signed.  `identify` says which, by checking the signature
    itself: a leaf below a joiner's anchor is a joiner of that role, whatever its subject claims.

Errors
    IdentityError(ValueError)   (join_token.py)
      TokenError                the text is no join token, or belongs to another cluster (join_token.py)
      CertificateError          a certificate or key cannot be read, or nobody we trust signed it
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from swarm_api.join_token import SECRET_DIGITS, IdentityError, JoinToken, check_digits

ROLE_MANAGER = "swarm-manager"
ROLE_WORKER = "swarm-worker"
ROLE_ADMIN = "swarm-admin"
ROLES = frozenset({ROLE_MANAGER, ROLE_WORKER, ROLE_ADMIN})
JOINER_MANAGER = "joiner-manager"
JOINER_WORKER = "joiner-worker"
JOINER_ROLES = frozenset({JOINER_MANAGER, JOINER_WORKER})

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CLOCK_SKEW = timedelta(hours=1)
_JOINER_VALIDITY = timedelta(days=1)
_ANCHOR_VALIDITY = timedelta(days=3650)


class CertificateError(IdentityError):
    """A certificate, key or request is unreadable, or nobody we trust signed it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate proves.  `node_id` and `cluster_id` are empty for a joiner."""

    node_id: str
    role: str
    cluster_id: str
    not_after: datetime


# ---------------------------------------------------------------------------------------------- tokens


def make_token(ca_pem: bytes, secret: str) -> JoinToken:
    """The token that admits a holder of `secret` (25 base-36 digits) to the cluster of this CA."""
    check_digits("secret", secret, SECRET_DIGITS)
    return JoinToken(ca_digest(ca_pem), secret)


def ca_digest(ca_pem: bytes) -> bytes:
    """sha256 of the certificate's DER form: 32 bytes."""
    return hashlib.sha256(load_certificate(ca_pem).public_bytes(Encoding.DER)).digest()


# ------------------------------------------------------------------------------------ keys and requests


def new_key() -> bytes:
    """A fresh P-256 private key, PEM (PKCS#8, not encrypted)."""
    return key_to_pem(ec.generate_private_key(ec.SECP256R1()))


def make_csr(key_pem: bytes) -> bytes:
    """A certificate request that proves possession of the key; the CA alone decides the subject."""
    key = load_key(key_pem)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(Encoding.PEM)


def new_key_and_csr() -> tuple[bytes, bytes]:
    """(private key PEM, certificate request PEM)."""
    key_pem = new_key()
    return key_pem, make_csr(key_pem)


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as PEM, PKCS#8, not encrypted: keep it in files of mode 0600 only."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in `key_pem`, or CertificateError."""
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"the private key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError("the private key is not an ECDSA P-256 key")
    return key


def load_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate in `pem`, or CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CertificateError(f"the certificate cannot be read: {error}") from error


# ----------------------------------------------------------------------------------------------- joiner


def joiner_key(secret: str, joiner_role: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key both sides derive from a token's secret (HKDF-SHA256), one per role."""
    if joiner_role not in JOINER_ROLES:
        raise IdentityError(f"{joiner_role!r} is no joiner's role")
    info = f"raftswarm {joiner_role}".encode()
    material = HKDF(hashes.SHA256(), length=48, salt=None, info=info).derive(secret.encode())
    # 384 bits reduced modulo a 256-bit order: the bias is below 2^-128.
    return ec.derive_private_key(int.from_bytes(material, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def joiner_anchor(secret: str, joiner_role: str, now: datetime) -> bytes:
    """The certificate (PEM) that managers trust for holders of this token, besides the cluster's CA."""
    key = joiner_key(secret, joiner_role)
    name = _joiner_name(joiner_role)
    builder = _builder(name, name, key.public_key(), now, _ANCHOR_VALIDITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def joiner_leaf(secret: str, joiner_role: str, now: datetime) -> tuple[bytes, bytes]:
    """(certificate PEM, key PEM) that a holder of the token presents as TLS client, valid for a day."""
    signer = joiner_key(secret, joiner_role)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, joiner_role)])
    builder = _builder(subject, _joiner_name(joiner_role), leaf_key.public_key(), now, _JOINER_VALIDITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(authority, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM), key_to_pem(leaf_key)


def _joiner_name(joiner_role: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"raftswarm {joiner_role}")])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    validity: timedelta,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _CLOCK_SKEW).not_valid_after(now + validity)


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


# ------------------------------------------------------------------------------------------------- role


def identify(
    certificate_pem: bytes,
    ca_pem: bytes,
    anchors: Mapping[str, bytes] | None = None,
    *,
    now: datetime | None = None,
) -> Identity:
    """Who the holder of this certificate is.

    Signed by the CA: the subject's node id, role and cluster.  Signed by one of `anchors` ({joiner role:
    anchor PEM}): that joiner role, whatever the subject claims.  Anything else raises CertificateError, as
    does a role we do not know.  Validity is checked only when `now` is given (TLS checks it otherwise).
    """
    certificate = load_certificate(certificate_pem)
    if now is not None:
        _check_validity(certificate, now)
    not_after = certificate.not_valid_after_utc
    if _is_signed_by(certificate, load_certificate(ca_pem)):
        return _member(certificate)
    for role, anchor_pem in (anchors or {}).items():
        if _is_signed_by(certificate, load_certificate(anchor_pem)):
            return Identity("", role, "", not_after)
    raise CertificateError(
        "the certificate was not signed by this cluster: it is of another cluster, or its token was revoked"
    )


def _member(certificate: x509.Certificate) -> Identity:
    role = _attribute(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if role not in ROLES:
        raise CertificateError(f"the certificate names the role {role!r}, which does not exist")
    node_id = _attribute(certificate, NameOID.COMMON_NAME)
    cluster_id = _attribute(certificate, NameOID.ORGANIZATION_NAME)
    return Identity(node_id, role, cluster_id, certificate.not_valid_after_utc)


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    if len(values) != 1 or not values[0].value:
        raise CertificateError("the certificate's subject must have exactly one CN, OU and O")
    return str(values[0].value)


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_validity(certificate: x509.Certificate, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise CertificateError(f"the certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: "
            "check this machine's clock"
        )


# ------------------------------------------------------------------------------------------------ files


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """A node's certificate, key and the CA's certificate, as PEM."""

    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes

    def save(self, folder: Path) -> None:
        """Write ca.crt, node.crt and node.key (all 0600), each atomically; the certificate last."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / "ca.crt", self.ca_pem)
        write_private(folder / "node.key", self.key_pem)
        write_private(folder / "node.crt", self.certificate_pem)

    @staticmethod
    def load(folder: Path) -> "NodeCredentials":
        """Read what `save` wrote; FileNotFoundError when there is none, CertificateError when unusable."""
        credentials = NodeCredentials(
            (folder / "ca.crt").read_bytes(),
            (folder / "node.crt").read_bytes(),
            (folder / "node.key").read_bytes(),
        )
        load_certificate(credentials.ca_pem)
        certificate = load_certificate(credentials.certificate_pem)
        if certificate.public_key() != load_key(credentials.key_pem).public_key():
            raise CertificateError(f"node.crt and node.key in {folder} do not belong together")
        return credentials

    def identity(self) -> Identity:
        """Who these credentials say we are; CertificateError when our CA did not sign them."""
        return identify(self.certificate_pem, self.ca_pem)


def write_private(path: Path, data: bytes) -> None:
    """Replace the file by `data` with mode 0600, atomically and durably (fsync of file and folder)."""
    handle, temporary = tempfile.mkstemp(prefix=path.name + ".", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:  # mkstemp made it 0600
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def utc_now() -> datetime:
    """The time as certificates count it."""
    return datetime.now(UTC)
