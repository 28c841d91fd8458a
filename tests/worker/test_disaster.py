"""Restoring and recovering, as the daemon does them: what it refuses leaves the machine as it was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from swarm_api.control_pb2 import GetInfoResponse
from swarm_api.control_pb2_grpc import ControlServicer, add_ControlServicer_to_server
from swarm_api.identity import ROLE_MANAGER, ROLE_WORKER
from swarm_api.node_pb2 import RecoverRequest, RestoreRequest
from swarm_worker.errors import NodeStateError
from swarm_worker.identity import NodeIdentity
from swarm_worker.quorum import refuse_if_it_lives
from swarm_worker.storage import NodeStore

from tests.worker.fake_ca import FakeCa
from tests.worker.test_node import Machine, machine
from tests.worker.test_rejoining import LONG_AGO, files, make_node

NOWHERE = "127.0.0.1:1"


class Control(ControlServicer):
    """A manager that knows a leader, or none."""

    def __init__(self) -> None:
        self.leader_id = ""
        self.asked = 0

    async def GetInfo(self, request: Any, context: Any) -> GetInfoResponse:  # noqa: N802 - the API's
        assert request.stale, "without a quorum nothing else is answered"
        self.asked += 1
        return GetInfoResponse(leader_id=self.leader_id)


@pytest.fixture
async def managed() -> AsyncIterator[tuple[Control, FakeCa, str]]:
    """A manager with the real mutual TLS, the CA and its address."""
    control, ca = Control(), FakeCa()
    own = ca.credentials("manager2", ROLE_MANAGER)
    server = grpc.aio.server()
    add_ControlServicer_to_server(control, server)
    chain = own.certificate_pem + ca.ca.certificate_pem
    tls = grpc.ssl_server_credentials([(own.key_pem, chain)], ca.ca.certificate_pem, require_client_auth=True)
    address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', tls)}"
    await server.start()
    yield control, ca, address
    await server.stop(None)


def identity(folder: Path) -> NodeIdentity:
    found = NodeIdentity.load(NodeStore(folder / "state"))
    assert found is not None
    return found


async def test_any_manager_that_knows_a_leader_speaks_for_a_quorum(
    managed: tuple[Control, FakeCa, str], tmp_path: Path
) -> None:
    control, ca, address = managed
    make_node(tmp_path, ca, NOWHERE, address, role=ROLE_MANAGER)
    await refuse_if_it_lives(identity(tmp_path))
    assert control.asked == 1, "one that answers and knows no leader is no quorum"
    control.leader_id = "manager3"
    with pytest.raises(NodeStateError, match=f"the manager at {address} knows a leader"):
        await refuse_if_it_lives(identity(tmp_path))


async def refusal(this: Machine, request: RestoreRequest | RecoverRequest) -> str:
    ask = this.control.Restore if isinstance(request, RestoreRequest) else this.control.Recover
    code, why = await this.refusal(ask(request, timeout=60))  # type: ignore[operator]
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    return why


async def test_recover_needs_a_manager_and_no_quorum(managed: tuple[Control, FakeCa, str], tmp_path: Path) -> None:
    control, ca, address = managed
    async with machine(tmp_path) as this:
        assert "runs no manager" in await refusal(this, RecoverRequest())
    make_node(tmp_path, ca, address, role=ROLE_WORKER)
    async with machine(tmp_path) as this:
        assert "runs no manager" in await refusal(this, RecoverRequest(even_with_quorum=True))
    make_node(tmp_path, ca, address, role=ROLE_MANAGER)
    control.leader_id = "manager3"
    async with machine(tmp_path) as this:
        assert "has a quorum" in await refusal(this, RecoverRequest())


async def test_who_cannot_ask_the_others_for_their_quorum_gets_a_certificate_first(
    managed: tuple[Control, FakeCa, str], tmp_path: Path
) -> None:
    control, ca, address = managed
    control.leader_id = "manager3"
    make_node(tmp_path, ca, address, role=ROLE_MANAGER, age=LONG_AGO)
    before = files(tmp_path)
    async with machine(tmp_path) as this:
        why = await refusal(this, RecoverRequest(even_with_quorum=True))
        assert "certificate ended" in why
        assert why.endswith("'swarm-cli rejoin --from-own-data'. Recover after that.")
    assert files(tmp_path) == before


async def test_a_recovery_that_fails_says_why_and_the_node_goes_on(tmp_path: Path) -> None:
    make_node(tmp_path, FakeCa(), NOWHERE, role=ROLE_MANAGER)
    before = files(tmp_path)
    async with machine(tmp_path) as this:
        why = await refusal(this, RecoverRequest())
        assert why.startswith("The cluster could not be recovered: ")
        assert "runs no manager, or has lost its data" in why
        assert (await this.status()).node_id == "node7"
        assert (await this.status()).manager_state
    assert files(tmp_path) == before


async def test_a_restore_that_fails_says_why_and_makes_no_node(tmp_path: Path) -> None:
    request = RestoreRequest(path=str(tmp_path / "none"), passphrase=b"x", advertise_address="127.0.0.1:7777")
    async with machine(tmp_path) as this:
        why = await refusal(this, request)
        assert why.startswith("The cluster could not be restored: the backup")
        assert "No such file" in why
        (tmp_path / "none").write_text("no backup at all")
        assert "not a backup" in await refusal(this, request)
        assert (await this.status()).node_id == ""
    assert not (tmp_path / "state" / "node").exists()


async def test_a_node_is_not_restored_over(tmp_path: Path) -> None:
    make_node(tmp_path, FakeCa(), NOWHERE)
    async with machine(tmp_path) as this:
        assert "is a node already" in await refusal(this, RestoreRequest(path="/x", passphrase=b"x"))
