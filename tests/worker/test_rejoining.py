"""Nodes that cannot get back by themselves: managers elsewhere, an ended certificate, another address."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from swarm_api.identity import JOINER_WORKER, ROLE_MANAGER, ROLE_WORKER, NodeCredentials
from swarm_api.node_pb2 import RejoinRequest
from swarm_api.types_pb2 import NodeRole
from swarm_worker import node
from swarm_worker.storage import NodeFile, NodeStore

from tests.worker.fake_ca import FakeCa, served
from tests.worker.test_node import Cluster, Machine, cluster, machine
from tests.worker.waiting import until

__all__ = ["cluster"]  # a fixture
LONG_AGO = timedelta(days=100)


def make_node(
    folder: Path,
    ca: FakeCa,
    *managers: str,
    role: str = ROLE_WORKER,
    age: timedelta = timedelta(0),
    address: str = "127.0.0.1:7777",
    listen: str = "127.0.0.1:7778",
) -> None:
    """Files of a node that was one before this test."""
    store = NodeStore(folder / "state")
    ca.credentials("node7", role, age).save(store.node_dir)
    store.save_node(NodeFile("node7", "cluster1", role, address, listen, managers))


def files(folder: Path) -> tuple[NodeFile | None, NodeCredentials]:
    store = NodeStore(folder / "state")
    return store.load_node(), NodeCredentials.load(store.node_dir)


async def refused(this: Machine, **fields: object) -> str:
    code, why = await this.refusal(this.control.Rejoin(RejoinRequest(**fields), timeout=20))  # type: ignore[arg-type]
    assert code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)
    return why


@pytest.fixture
async def lost(tmp_path: Path, cluster: Cluster) -> AsyncIterator[Machine]:
    """A worker whose managers are not where it knows them."""
    make_node(tmp_path, cluster.ca, "127.0.0.1:1")
    async with machine(tmp_path) as this:
        yield this


async def test_a_node_is_told_where_its_managers_are_now(lost: Machine, cluster: Cluster, tmp_path: Path) -> None:
    before = files(tmp_path)[1]
    request = RejoinRequest(remote_addresses=["127.0.0.1:2", cluster.address])
    answer = await lost.control.Rejoin(request, timeout=20)
    assert (answer.node_id, answer.role, answer.connected) == ("node7", NodeRole.WORKER, True)
    node, credentials = files(tmp_path)
    assert node is not None
    assert node.managers == ("127.0.0.1:2", cluster.address)
    assert credentials == before, "one that is valid is kept"


async def test_an_address_without_a_manager_of_this_cluster_changes_nothing(lost: Machine, tmp_path: Path) -> None:
    before = files(tmp_path)
    async with served(FakeCa()) as foreign:
        why = await refused(lost, remote_addresses=[foreign, "127.0.0.1:2"])
    assert f"{foreign} has no certificate of this cluster, 127.0.0.1:2 refuses the connection" in why
    assert files(tmp_path) == before
    assert (await lost.status()).node_id == "node7", "the node goes on as it was"


async def test_a_request_that_changes_nothing_is_refused(lost: Machine) -> None:
    assert (await refused(lost)).startswith("Nothing is to be changed")
    assert "for a manager" in await refused(lost, from_own_data=True)
    assert "needs an IP address" in await refused(lost, advertise_address="a-name:2377")


async def test_who_is_no_node_is_told_to_join(tmp_path: Path) -> None:
    async with machine(tmp_path) as this:
        assert "'swarm-cli join'" in await refused(this, remote_addresses=["127.0.0.1:2"])


async def test_a_node_moves_and_says_so(lost: Machine, cluster: Cluster, tmp_path: Path) -> None:
    request = RejoinRequest(remote_addresses=[cluster.address], advertise_address="127.0.0.9:7777")
    assert (await lost.control.Rejoin(request, timeout=20)).connected
    assert cluster.leader.requests[-1].address == "127.0.0.9"
    node = files(tmp_path)[0]
    assert node is not None
    assert (node.advertise_address, node.listen_address) == ("127.0.0.9:7777", "127.0.0.9:7778"), "it listened there"


async def test_the_same_order_again_is_no_mistake(lost: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gave it did not learn what became of it, or the node has moved by itself meanwhile."""
    monkeypatch.setattr(node, "CONNECT_S", 0.05)
    assert not (await lost.control.Rejoin(RejoinRequest(advertise_address="127.0.0.1:7777"), timeout=20)).connected


async def test_an_ended_certificate_is_told_and_replaced_with_a_token(cluster: Cluster, tmp_path: Path) -> None:
    make_node(tmp_path, cluster.ca, cluster.address, age=LONG_AGO)
    async with machine(tmp_path) as this:
        status = await this.status()
        assert "swarm-cli rejoin --token" in status.last_error
        assert not status.connected
        assert "certificate ended" in await refused(this, remote_addresses=[cluster.address])
        answer = await this.control.Rejoin(RejoinRequest(token=cluster.ca.token()), timeout=20)
        assert (answer.node_id, answer.connected) == ("node7", True)
        assert answer.certificate_ends.ToDatetime() > status.certificate_ends.ToDatetime()
        await until(lambda: this.node.status().last_error == "")


async def test_the_role_is_the_one_the_cluster_gives(cluster: Cluster, tmp_path: Path) -> None:
    make_node(tmp_path, cluster.ca, cluster.address, role=ROLE_MANAGER, age=LONG_AGO)
    async with machine(tmp_path) as this:
        assert "--from-own-data" in (await this.status()).last_error
        answer = await this.control.Rejoin(RejoinRequest(token=cluster.ca.token(JOINER_WORKER)), timeout=20)
        assert answer.role == NodeRole.WORKER
    node = files(tmp_path)[0]
    assert node is not None
    assert node.role == ROLE_WORKER


async def test_a_token_of_another_cluster_is_refused_before_anybody_is_asked(cluster: Cluster, tmp_path: Path) -> None:
    make_node(tmp_path, cluster.ca, cluster.address, age=LONG_AGO)
    before = files(tmp_path)
    async with machine(tmp_path) as this:
        assert "of another cluster than this node" in await refused(this, token=FakeCa().token())
        assert "cut off" in await refused(this, token=cluster.ca.token()[:-2])
    assert files(tmp_path) == before


async def test_a_manager_without_data_of_its_own_says_so_and_stays(cluster: Cluster, tmp_path: Path) -> None:
    make_node(tmp_path, cluster.ca, cluster.address, role=ROLE_MANAGER, age=LONG_AGO)
    before = files(tmp_path)
    async with machine(tmp_path) as this:
        why = await refused(this, from_own_data=True)
        assert why.startswith("No certificate could be made: ")
    assert files(tmp_path) == before
