"""From a certificate to a role."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from swarm_api import identity
from swarm_api.join_token import JoinToken
from swarm_api.objects_pb2 import Cluster, Node
from swarm_api.types_pb2 import NodeRole
from swarm_manager import pki
from swarm_manager.api.auth import ADMIN, FORWARDED_NODE, FORWARDED_ROLE, MANAGER, WORKER, Authenticator, Caller
from swarm_manager.api.trust import TrustSource
from swarm_manager.errors import DeniedError

NOW = identity.utc_now()
CA = pki.create_ca("c1", NOW)
FOREIGN = pki.create_ca("c1", NOW)


class State:
    """A state with one cluster and some nodes."""

    def __init__(self) -> None:
        self.found = Cluster(id="c1")
        self.found.root_ca.certificate_pem = CA.certificate_pem
        tokens = self.found.root_ca.join_tokens
        tokens.worker, tokens.manager = (str(identity.make_token(CA.certificate_pem, pki.new_secret())) for _ in "ab")
        self.nodes: dict[str, Node] = {}

    def cluster(self) -> Cluster | None:
        return self.found

    def node(self, node_id: str) -> Node | None:
        return self.nodes.get(node_id)


class Peer:
    """The other end of a TLS connection."""

    def __init__(self, pem: bytes | None, metadata: dict[str, str] | None = None) -> None:
        self._pem = pem
        self._metadata = metadata or {}

    def auth_context(self) -> dict[str, Any]:
        return {"x509_pem_cert": [self._pem]} if self._pem else {}

    def invocation_metadata(self) -> Any:
        return tuple(self._metadata.items())


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def authenticate(state: State) -> Authenticator:
    return Authenticator(TrustSource(state.cluster, CA.certificate_pem), state)


def certificate(role: str, node_id: str = "n1", ca: pki.CertificateAuthority = CA, issued: datetime = NOW) -> bytes:
    _, csr = identity.new_key_and_csr()
    return pki.issue_from_csr(ca, csr, node_id=node_id, role=role, cluster_id="c1", now=issued)


def secret(token: str) -> str:
    return JoinToken.parse(token).secret


def test_a_certificate_that_ended_on_a_connection_that_lives_is_refused(authenticate: Authenticator) -> None:
    ended = certificate("swarm-worker", issued=NOW - timedelta(days=91))
    with pytest.raises(DeniedError, match="ended at"):
        authenticate(Peer(ended))


@pytest.mark.parametrize(
    ("name", "role"), [("swarm-admin", ADMIN), ("swarm-manager", MANAGER), ("swarm-worker", WORKER)]
)
def test_a_certificate_of_the_cluster_gives_its_role(authenticate: Authenticator, name: str, role: str) -> None:
    for _ in range(2):  # the second time from the cache
        assert authenticate(Peer(certificate(name))) == Caller(role, "n1")


def test_no_certificate_and_a_foreign_one_are_refused(authenticate: Authenticator) -> None:
    for pem in (None, certificate("swarm-manager", ca=FOREIGN)):
        with pytest.raises(DeniedError):
            authenticate(Peer(pem))


def test_a_token_holder_is_a_joiner_of_that_role_until_the_token_is_rotated(
    authenticate: Authenticator, state: State
) -> None:
    tokens = state.found.root_ca.join_tokens
    worker, _ = identity.joiner_leaf(secret(tokens.worker), identity.JOINER_WORKER, NOW)
    manager, _ = identity.joiner_leaf(secret(tokens.manager), identity.JOINER_MANAGER, NOW)
    assert authenticate(Peer(worker)).role == "joiner-worker"
    assert authenticate(Peer(manager)).role == "joiner-manager"
    tokens.worker = str(identity.make_token(CA.certificate_pem, pki.new_secret()))
    with pytest.raises(DeniedError):
        authenticate(Peer(worker))
    assert authenticate(Peer(manager)).role == "joiner-manager"


def test_a_workers_token_does_not_make_a_manager(authenticate: Authenticator, state: State) -> None:
    leaf, _ = identity.joiner_leaf(secret(state.found.root_ca.join_tokens.worker), identity.JOINER_MANAGER, NOW)
    with pytest.raises(DeniedError):
        authenticate(Peer(leaf))


def test_a_removed_node_is_refused_though_its_certificate_is_valid(authenticate: Authenticator, state: State) -> None:
    pem = certificate("swarm-worker")
    assert authenticate(Peer(pem)).role == WORKER
    state.found.revoked_nodes["n1"].GetCurrentTime()
    with pytest.raises(DeniedError, match="removed"):
        authenticate(Peer(pem))


def test_a_demoted_manager_is_a_worker_whatever_its_old_certificate_says(
    authenticate: Authenticator, state: State
) -> None:
    state.nodes["n1"] = Node(id="n1", role=NodeRole.MANAGER)
    assert authenticate(Peer(certificate("swarm-manager"))).role == MANAGER
    state.nodes["n1"] = Node(id="n1", role=NodeRole.WORKER)
    assert authenticate(Peer(certificate("swarm-manager"))).role == WORKER


def test_only_a_manager_speaks_for_others(authenticate: Authenticator, state: State) -> None:
    spoken = {FORWARDED_ROLE: "admin", FORWARDED_NODE: "alice"}
    assert authenticate(Peer(certificate("swarm-manager"), spoken)) == Caller("admin", "alice", forwarded=True)
    assert authenticate(Peer(certificate("swarm-worker"), spoken)) == Caller(WORKER, "n1")
    state.nodes["n1"] = Node(id="n1", role=NodeRole.WORKER)
    assert authenticate(Peer(certificate("swarm-manager"), spoken)) == Caller(WORKER, "n1")
