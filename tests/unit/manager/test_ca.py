"""How a machine becomes a node, and what its certificates say."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from swarm_api import identity
from swarm_api.ca_pb2 import (
    IssueAdminCertificateRequest,
    IssueNodeCertificateRequest,
    ReissueNodeCertificateRequest,
    RenewNodeCertificateRequest,
)
from swarm_api.identity import identify
from swarm_api.reissue import prove
from swarm_api.types_pb2 import NodeAvailability, NodeRole, NodeState
from swarm_manager import pki
from swarm_manager.api.auth import ADMIN, Caller, set_caller
from swarm_manager.api.ca import CaRpcs
from swarm_manager.errors import DeniedError, NotFoundError
from swarm_manager.ports import MemberStatus

from tests.unit.manager.stores import MemoryStore, cluster, node

CA = pki.create_ca("c1", identity.utc_now())


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    founded = cluster()
    founded.root_ca.certificate_pem, founded.root_ca.key_pem = CA.certificate_pem, CA.key_pem
    manager = node("m1", NodeRole.MANAGER)
    manager.manager_address = "10.0.0.1:2377"
    found.put(founded, manager)
    return found


@pytest.fixture
def rpcs(store: MemoryStore) -> CaRpcs:
    return CaRpcs(store)


def csr() -> bytes:
    return identity.new_key_and_csr()[1]


@pytest.mark.parametrize(
    ("joiner", "role", "name"),
    [
        ("joiner-worker", NodeRole.WORKER, "swarm-worker"),
        ("joiner-manager", NodeRole.MANAGER, "swarm-manager"),
    ],
)
async def test_a_joiner_becomes_a_node_of_its_tokens_role(
    rpcs: CaRpcs, store: MemoryStore, joiner: str, role: int, name: str
) -> None:
    set_caller(Caller(joiner, ""))
    request = IssueNodeCertificateRequest(csr_pem=csr(), hostname="h", availability=NodeAvailability.DRAIN)
    answer = await rpcs.IssueNodeCertificate(request, None)
    found = identify(answer.certificate_pem, CA.certificate_pem)
    assert (found.node_id, found.role, found.cluster_id) == (answer.node_id, name, "c1")
    assert [peer.address for peer in answer.managers] == ["10.0.0.1:2377"]
    made = store.snapshot.nodes[answer.node_id]
    assert (made.role, made.spec.role, made.spec.availability) == (role, role, NodeAvailability.DRAIN)
    assert (made.description.hostname, made.status.state) == ("h", NodeState.UNKNOWN)


async def test_a_repeated_request_makes_one_node(rpcs: CaRpcs, store: MemoryStore) -> None:
    set_caller(Caller("joiner-worker", ""))
    request = IssueNodeCertificateRequest(csr_pem=csr(), request_id="r1")
    first = await rpcs.IssueNodeCertificate(request, None)
    assert await rpcs.IssueNodeCertificate(request, None) == first
    assert len(store.snapshot.nodes) == 2


async def test_a_request_that_is_none_is_refused_and_makes_no_node(rpcs: CaRpcs, store: MemoryStore) -> None:
    set_caller(Caller("joiner-worker", ""))
    with pytest.raises(pki.PkiError):
        await rpcs.IssueNodeCertificate(IssueNodeCertificateRequest(csr_pem=b"nonsense"), None)
    assert len(store.snapshot.nodes) == 1


async def renewed_role(rpcs: CaRpcs, node_id: str) -> str:
    set_caller(Caller("worker", node_id))
    answer = await rpcs.RenewNodeCertificate(RenewNodeCertificateRequest(csr_pem=csr()), None)
    return identify(answer.certificate_pem, CA.certificate_pem).role


async def test_renewal_gives_the_role_wanted_now(rpcs: CaRpcs, store: MemoryStore) -> None:
    promoted = node("n1")
    store.put(promoted)
    assert await renewed_role(rpcs, "n1") == "swarm-worker"
    promoted.spec.role = NodeRole.MANAGER
    store.put(promoted)
    assert await renewed_role(rpcs, "n1") == "swarm-manager"
    assert store.snapshot.nodes["n1"].role == NodeRole.MANAGER


async def test_a_demoted_manager_stays_one_until_it_is_out_of_raft(rpcs: CaRpcs, store: MemoryStore) -> None:
    demoted = node("m2", NodeRole.MANAGER)
    demoted.spec.role = NodeRole.WORKER
    store.put(demoted)
    store.members["m2"] = MemberStatus("m2", "10.0.0.2:2378", voter=True, reachable=True)
    assert await renewed_role(rpcs, "m2") == "swarm-manager"
    del store.members["m2"]
    assert await renewed_role(rpcs, "m2") == "swarm-worker"


async def test_a_node_that_is_gone_is_not_renewed(rpcs: CaRpcs) -> None:
    with pytest.raises(NotFoundError, match="join it again"):
        await renewed_role(rpcs, "gone")


def ended(node_id: str, role: str = "swarm-worker", ca: pki.CertificateAuthority = CA) -> ReissueNodeCertificateRequest:
    """What a node sends whose certificate ended ten days ago."""
    key_pem, first_csr = identity.new_key_and_csr()
    then = identity.utc_now() - timedelta(days=100)
    old = pki.issue_from_csr(ca, first_csr, node_id=node_id, role=role, cluster_id="c1", now=then)
    fresh = csr()
    return ReissueNodeCertificateRequest(csr_pem=fresh, old_certificate_pem=old, signature=prove(key_pem, fresh))


async def test_an_ended_certificate_is_replaced_for_the_same_node_in_the_role_it_is_to_have(
    rpcs: CaRpcs, store: MemoryStore
) -> None:
    store.put(node("n1"))
    set_caller(Caller("joiner-worker", ""))
    answer = await rpcs.ReissueNodeCertificate(ended("n1", "swarm-manager"), None)
    found = identify(answer.certificate_pem, CA.certificate_pem, now=identity.utc_now())
    assert (found.node_id, found.role) == ("n1", "swarm-worker")
    assert len(store.snapshot.nodes) == 2, "no node was made"


async def test_a_manager_needs_the_managers_token(rpcs: CaRpcs) -> None:
    set_caller(Caller("joiner-worker", ""))
    with pytest.raises(DeniedError, match="join-token manager"):
        await rpcs.ReissueNodeCertificate(ended("m1", "swarm-manager"), None)
    set_caller(Caller("joiner-manager", ""))
    answer = await rpcs.ReissueNodeCertificate(ended("m1", "swarm-manager"), None)
    assert identify(answer.certificate_pem, CA.certificate_pem).role == "swarm-manager"


def _of_another_key(request: ReissueNodeCertificateRequest) -> None:
    request.signature = prove(identity.new_key(), request.csr_pem)


def _for_another_request(request: ReissueNodeCertificateRequest) -> None:
    request.csr_pem = csr()


def _of_another_ca(request: ReissueNodeCertificateRequest) -> None:
    request.CopyFrom(ended("n1", ca=pki.create_ca("c1", identity.utc_now())))


def _of_a_person(request: ReissueNodeCertificateRequest) -> None:
    request.CopyFrom(ended("n1", "swarm-admin"))


def _no_certificate(request: ReissueNodeCertificateRequest) -> None:
    request.old_certificate_pem = b"nonsense"


@pytest.mark.parametrize(
    "spoil", [_of_another_key, _for_another_request, _of_another_ca, _of_a_person, _no_certificate]
)
async def test_nobody_else_gets_a_nodes_certificate(
    rpcs: CaRpcs, store: MemoryStore, spoil: Callable[[ReissueNodeCertificateRequest], None]
) -> None:
    store.put(node("n1"))
    set_caller(Caller("joiner-manager", ""))
    request = ended("n1")
    spoil(request)
    with pytest.raises(DeniedError):
        await rpcs.ReissueNodeCertificate(request, None)


async def test_a_removed_node_gets_no_certificate_in_place_of_its_ended_one(rpcs: CaRpcs, store: MemoryStore) -> None:
    set_caller(Caller("joiner-worker", ""))
    with pytest.raises(NotFoundError, match="join it again"):
        await rpcs.ReissueNodeCertificate(ended("gone"), None)
    revoking = cluster()
    revoking.CopyFrom(store.snapshot.cluster)
    revoking.revoked_nodes["n1"].GetCurrentTime()
    store.put(revoking, node("n1"))
    with pytest.raises(DeniedError, match="was removed"):
        await rpcs.ReissueNodeCertificate(ended("n1"), None)


async def test_a_person_gets_an_admin_certificate(rpcs: CaRpcs) -> None:
    set_caller(Caller(ADMIN, "local"))
    answer = await rpcs.IssueAdminCertificate(IssueAdminCertificateRequest(csr_pem=csr(), name="alice"), None)
    found = identify(answer.certificate_pem, CA.certificate_pem)
    assert (found.node_id, found.role) == ("alice", "swarm-admin")
