"""Identities: tokens, the role a certificate proves, the joiner's handshake, files."""

import socket
import ssl
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from swarm_api import identity as ids
from swarm_api.identity import (
    JOINER_MANAGER,
    JOINER_WORKER,
    CertificateError,
    NodeCredentials,
    ca_digest,
    identify,
    joiner_anchor,
    joiner_leaf,
    make_token,
    new_key_and_csr,
    utc_now,
)
from swarm_api.join_token import JoinToken, TokenError
from swarm_manager import pki

CLUSTER = "c" * 25
NODE = "n" * 25
NOW = utc_now()


@pytest.fixture(scope="module")
def ca() -> pki.CertificateAuthority:
    return pki.create_ca(CLUSTER, NOW)


def certify(ca: pki.CertificateAuthority, role: str = ids.ROLE_MANAGER, node_id: str = NODE) -> NodeCredentials:
    key, csr = new_key_and_csr()
    cert = pki.issue_from_csr(ca, csr, node_id=node_id, role=role, cluster_id=CLUSTER, now=NOW)
    return NodeCredentials(ca.certificate_pem, cert, key)


def one_sentence(text: str) -> bool:
    return bool(text) and "\n" not in text and not text.endswith(".") and len(text) < 250


# ------------------------------------------------------------------------------------------- tokens


def test_a_token_survives_its_text_form(ca: pki.CertificateAuthority) -> None:
    token = make_token(ca.certificate_pem, pki.new_secret())
    text = str(token)
    assert text.startswith("SWMTKN-1-") and len(text) == 9 + 50 + 1 + 25
    assert JoinToken.parse(f"  {text}\n") == token
    token.check_digest(ca_digest(ca.certificate_pem))
    assert token.secret not in repr(token)


def test_every_truncation_is_refused_in_one_sentence(ca: pki.CertificateAuthority) -> None:
    text = str(make_token(ca.certificate_pem, pki.new_secret()))
    for length in range(len(text)):
        with pytest.raises(TokenError) as caught:
            JoinToken.parse(text[:length])
        assert one_sentence(str(caught.value)), str(caught.value)


def test_every_altered_character_is_noticed_by_the_form_or_the_digest_or_the_secret(
    ca: pki.CertificateAuthority,
) -> None:
    secret = pki.new_secret()
    text = str(make_token(ca.certificate_pem, secret))
    for place in range(len(text)):
        altered = text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]
        try:
            token = JoinToken.parse(altered)
            token.check_digest(ca_digest(ca.certificate_pem))
        except TokenError as error:
            assert one_sentence(str(error))
        else:  # only the secret is left, and then the managers' anchor does not match
            assert token.secret != secret


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase, str.title])
def test_wrong_case_is_named(ca: pki.CertificateAuthority, change: object) -> None:
    text = str(make_token(ca.certificate_pem, "a" * 25))
    with pytest.raises(TokenError, match="case"):
        JoinToken.parse(change(text))  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "hello", "SWMTKN-1-", "SWMTKN-2-" + "0" * 50 + "-" + "0" * 25])
def test_something_else_is_no_token(text: str) -> None:
    with pytest.raises(TokenError, match="join token"):
        JoinToken.parse(text)


def test_a_digest_beyond_sha256_is_refused() -> None:
    with pytest.raises(TokenError, match="altered"):
        JoinToken.parse("SWMTKN-1-" + "z" * 50 + "-" + "0" * 25)


def test_foreign_letters_and_digits_are_refused() -> None:
    with pytest.raises(TokenError, match="0-9 and a-z"):
        JoinToken.parse("SWMTKN-1-" + "٣" * 50 + "-" + "0" * 25)


def test_a_token_of_another_cluster_is_named(ca: pki.CertificateAuthority) -> None:
    other = pki.create_ca("other", NOW)
    with pytest.raises(TokenError, match="another cluster"):
        make_token(ca.certificate_pem, pki.new_secret()).check_digest(ca_digest(other.certificate_pem))


# -------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize("role", sorted(ids.ROLES))
def test_the_certificate_names_node_role_and_cluster(ca: pki.CertificateAuthority, role: str) -> None:
    who = identify(certify(ca, role).certificate_pem, ca.certificate_pem, now=NOW)
    assert (who.node_id, who.role, who.cluster_id) == (NODE, role, CLUSTER)


def test_a_foreign_ca_of_the_same_name_is_not_believed(ca: pki.CertificateAuthority) -> None:
    foreign = pki.create_ca(CLUSTER, NOW)
    with pytest.raises(CertificateError, match="not signed by this cluster"):
        identify(certify(foreign).certificate_pem, ca.certificate_pem)


def test_a_joiner_is_a_joiner_whatever_its_subject_says(ca: pki.CertificateAuthority) -> None:
    secret = pki.new_secret()
    anchors = {JOINER_WORKER: joiner_anchor(secret, JOINER_WORKER, NOW)}
    signer = ids.joiner_key(secret, JOINER_WORKER)
    fake_ca = pki.CertificateAuthority(anchors[JOINER_WORKER], ids.key_to_pem(signer))
    posing = certify(fake_ca, ids.ROLE_MANAGER).certificate_pem
    who = identify(posing, ca.certificate_pem, anchors)
    assert (who.role, who.node_id) == (JOINER_WORKER, "")


def test_a_revoked_secret_or_another_roles_secret_does_not_match(ca: pki.CertificateAuthority) -> None:
    secret = pki.new_secret()
    leaf, _ = joiner_leaf(secret, JOINER_WORKER, NOW)
    for anchors in (
        {JOINER_WORKER: joiner_anchor(pki.new_secret(), JOINER_WORKER, NOW)},
        {JOINER_MANAGER: joiner_anchor(secret, JOINER_MANAGER, NOW)},
    ):
        with pytest.raises(CertificateError):
            identify(leaf, ca.certificate_pem, anchors)


def test_validity_is_checked_when_a_time_is_given(ca: pki.CertificateAuthority) -> None:
    pem = certify(ca).certificate_pem
    with pytest.raises(CertificateError, match="expired"):
        identify(pem, ca.certificate_pem, now=NOW + timedelta(days=91))
    with pytest.raises(CertificateError, match="clock"):
        identify(pem, ca.certificate_pem, now=NOW - timedelta(hours=2))


@pytest.mark.parametrize("junk", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_junk_is_no_certificate(ca: pki.CertificateAuthority, junk: bytes) -> None:
    with pytest.raises(CertificateError):
        identify(junk, ca.certificate_pem)


# ---------------------------------------------------------------------------- the joiner, over real TLS


def handshake(server: NodeCredentials, roots: bytes, client_pem: bytes, client_key: bytes, tmp: Path) -> bool:
    """Whether a TLS 1.3 server that trusts `roots` lets this client in."""
    server.save(tmp / "s")
    (tmp / "roots").write_bytes(roots)
    (tmp / "c.crt").write_bytes(client_pem)
    (tmp / "c.key").write_bytes(client_key)
    sctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    sctx.minimum_version = ssl.TLSVersion.TLSv1_3
    sctx.verify_mode = ssl.CERT_REQUIRED
    sctx.load_verify_locations(tmp / "roots")
    sctx.load_cert_chain(tmp / "s/node.crt", tmp / "s/node.key")
    cctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    cctx.load_verify_locations(tmp / "s/ca.crt")
    cctx.load_cert_chain(tmp / "c.crt", tmp / "c.key")
    left, right = socket.socketpair()
    outcome: list[bool] = []

    def serve() -> None:
        try:
            with sctx.wrap_socket(left, server_side=True) as conn:
                conn.sendall(b"in")
            outcome.append(True)
        except (ssl.SSLError, OSError):
            outcome.append(False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with cctx.wrap_socket(right, server_hostname="swarm-manager") as conn:
            conn.recv(2)
    except (ssl.SSLError, OSError):
        pass  # the server's verdict is what counts
    thread.join(10)
    left.close()
    return outcome == [True]


def test_tls_admits_the_holder_of_a_token_and_nobody_else(ca: pki.CertificateAuthority, tmp_path: Path) -> None:
    secret = pki.new_secret()
    roots = b"".join(
        [
            ca.certificate_pem,
            joiner_anchor(secret, JOINER_WORKER, NOW),
            joiner_anchor(pki.new_secret(), JOINER_MANAGER, NOW),
            # after a rotation two anchors share one name; the key id tells them apart
            joiner_anchor(pki.new_secret(), JOINER_WORKER, NOW),
        ]
    )
    server = certify(ca)
    assert handshake(server, roots, *joiner_leaf(secret, JOINER_WORKER, NOW), tmp_path)
    assert not handshake(server, roots, *joiner_leaf(secret, JOINER_MANAGER, NOW), tmp_path)
    assert not handshake(server, roots, *joiner_leaf(pki.new_secret(), JOINER_WORKER, NOW), tmp_path)
    foreign = certify(pki.create_ca(CLUSTER, NOW))
    assert not handshake(server, roots, foreign.certificate_pem, foreign.key_pem, tmp_path)


# -------------------------------------------------------------------------------------------- files


def test_credentials_are_private_files_and_come_back(ca: pki.CertificateAuthority, tmp_path: Path) -> None:
    mine = certify(ca)
    mine.save(tmp_path / "node")
    assert NodeCredentials.load(tmp_path / "node") == mine
    assert mine.identity().node_id == NODE
    for path in (tmp_path / "node").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert sorted(p.name for p in (tmp_path / "node").iterdir()) == ["ca.crt", "node.crt", "node.key"]


def test_a_key_of_another_certificate_is_noticed(ca: pki.CertificateAuthority, tmp_path: Path) -> None:
    NodeCredentials(ca.certificate_pem, certify(ca).certificate_pem, ids.new_key()).save(tmp_path)
    with pytest.raises(CertificateError, match="do not belong together"):
        NodeCredentials.load(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "f"
    ids.write_private(path, b"old")
    with pytest.raises(TypeError):
        ids.write_private(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
