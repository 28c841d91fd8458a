"""The certificate authority: what it signs, and what it refuses."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from swarm_api.identity import (
    ROLE_MANAGER,
    ROLE_WORKER,
    identify,
    load_certificate,
    load_key,
    make_token,
    new_key,
    new_key_and_csr,
    utc_now,
)
from swarm_api.join_token import JoinToken
from swarm_manager import pki

NOW = utc_now().replace(microsecond=0)
CA = pki.create_ca("cluster1", NOW)


def issue(csr: bytes, node_id: str = "node1", role: str = ROLE_WORKER, cluster_id: str = "cluster1") -> bytes:
    return pki.issue_from_csr(CA, csr, node_id=node_id, role=role, cluster_id=cluster_id, now=NOW)


def test_the_ca_signs_itself_and_may_not_delegate() -> None:
    cert = load_certificate(CA.certificate_pem)
    cert.verify_directly_issued_by(cert)
    limits = cert.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert b"PRIVATE" not in repr(CA).encode()


def test_a_manager_answers_to_its_id_and_to_swarm_manager_a_worker_only_to_its_id() -> None:
    for role, names in ((ROLE_MANAGER, ["node1", "swarm-manager"]), (ROLE_WORKER, ["node1"])):
        cert = load_certificate(issue(new_key_and_csr()[1], role=role))
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert san.get_values_for_type(x509.DNSName) == names
        usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
        assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_validity_starts_an_hour_ago_lasts_90_days_and_renews_after_two_thirds() -> None:
    pem = issue(new_key_and_csr()[1])
    cert = load_certificate(pem)
    assert cert.not_valid_before_utc == NOW - timedelta(hours=1)
    assert cert.not_valid_after_utc == NOW + timedelta(days=90)
    assert NOW + timedelta(days=59) < pki.renew_at(pem) < NOW + timedelta(days=61)


def test_a_leaf_never_outlives_its_ca() -> None:
    pem = pki.issue_from_csr(
        CA,
        new_key_and_csr()[1],
        node_id="n",
        role=ROLE_WORKER,
        cluster_id="c",
        now=NOW,
        validity=timedelta(days=36500),
    )
    assert load_certificate(pem).not_valid_after_utc == load_certificate(CA.certificate_pem).not_valid_after_utc
    with pytest.raises(pki.PkiError, match="expired at birth"):
        pki.issue_from_csr(
            CA,
            new_key_and_csr()[1],
            node_id="n",
            role=ROLE_WORKER,
            cluster_id="c",
            now=NOW + pki.CA_VALIDITY,
        )


def test_the_request_cannot_choose_its_subject() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wish = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ROLE_MANAGER)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(wish).sign(key, hashes.SHA256())
    who = identify(issue(csr.public_bytes(Encoding.PEM)), CA.certificate_pem)
    assert (who.role, who.node_id) == (ROLE_WORKER, "node1")


def test_a_request_signed_by_another_key_is_refused() -> None:
    pem = new_key_and_csr()[1]
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(pki.PkiError, match="signed by"):
        issue(forged)


def test_other_kinds_of_keys_are_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(pki.PkiError, match="P-256"):
        issue(csr.public_bytes(Encoding.PEM))


@pytest.mark.parametrize("junk", [b"", b"junk", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"\x00" * 100])
def test_junk_is_no_request(junk: bytes) -> None:
    with pytest.raises(pki.PkiError, match="cannot be read"):
        issue(junk)
    with pytest.raises(pki.PkiError, match="cannot be read"):
        pki.issue_for_public_key(CA, junk, node_id="n", role=ROLE_WORKER, cluster_id="c", now=NOW)


def test_names_that_no_subject_can_hold_are_refused() -> None:
    csr = new_key_and_csr()[1]
    for bad in ("", "x" * 65, "a\nb", "ü"):
        with pytest.raises(pki.PkiError, match="printable"):
            issue(csr, node_id=bad)
    with pytest.raises(pki.PkiError, match="no role"):
        issue(csr, role="emperor")


def test_a_certificate_for_a_public_key() -> None:
    key = load_key(new_key())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    cert = pki.issue_for_public_key(CA, pem, node_id="n", role=ROLE_WORKER, cluster_id="c", now=NOW)
    assert load_certificate(cert).public_key() == key.public_key()


def test_secrets_fit_tokens_and_differ() -> None:
    secrets = {pki.new_secret() for _ in range(50)}
    assert len(secrets) == 50
    for secret in secrets:
        assert JoinToken.parse(str(make_token(CA.certificate_pem, secret))).secret == secret
