"""The store over one real Raft member."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from swarm_api import identity
from swarm_api.identity import NodeCredentials
from swarm_api.objects_pb2 import Service
from swarm_manager import pki
from swarm_manager.api.writes import Edit
from swarm_manager.core.machine import Committed, Conflict
from swarm_manager.errors import BadRequestError, NotLeaderError, TooOldError, UnavailableError
from swarm_manager.raft.config import Member, RaftConfig
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.replica import Replica
from swarm_manager.raft.sealed_disk import open_folder
from swarm_manager.raft.store import ReplicatedStore
from swarm_manager.raft.tls_identity import TlsIdentity

from tests.integration.manager.processes import api_ports


def credentials() -> NodeCredentials:
    now = identity.utc_now()
    ca = pki.create_ca("c1", now)
    key, csr = identity.new_key_and_csr()
    certificate = pki.issue_from_csr(ca, csr, node_id="m1", role="swarm-manager", cluster_id="c1", now=now)
    return NodeCredentials(ca.certificate_pem, certificate, key)


@asynccontextmanager
async def started(folder: Path, *, compact_entries: int = 10_000) -> AsyncIterator[ReplicatedStore]:
    """A store that leads alone."""
    store = ReplicatedStore()
    address = f"127.0.0.1:{api_ports(1)[0]}"
    config = RaftConfig(
        node_id="m1",
        listen=address,
        advertise=address,
        cluster_id="c1",
        members=(Member("m1", address),),
        compact_entries=compact_entries,
    )
    key_file = KeyFile(LocalDisk(folder / "keys"))
    disk = open_folder(folder / "raft", key_file)
    replica = Replica(config, store.machine, TlsIdentity(credentials()), disk=disk)
    store.attach(replica)
    replica.start()
    try:
        async with asyncio.timeout(10):
            while not store.reign[0]:
                await store.reign_changed()
        yield store
    finally:
        await asyncio.to_thread(replica.stop)
        key_file.close()


def service(service_id: str, data_size: int = 0) -> Service:
    found = Service(id=service_id)
    found.spec.annotations.name = service_id
    found.spec.annotations.labels["x"] = "x" * data_size
    return found


def creation(*services: Service, request_id: str = "") -> Edit:
    edit = Edit(request_id)
    for one in services:
        edit.create(one)
    return edit


async def test_before_there_is_raft_everything_is_unavailable() -> None:
    store = ReplicatedStore()
    with pytest.raises(UnavailableError):
        await store.read()
    with pytest.raises(UnavailableError):
        await store.propose(creation(service("s1")).change_set)
    assert not store.raft.leads


async def test_what_is_committed_is_read_followed_and_there_after_a_restart(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        follower = store.follow(store.snapshot.index)
        outcome = await store.propose(creation(service("s1"), service("s2")).change_set, store.reign[1])
        assert isinstance(outcome, Committed)
        assert set((await store.read()).services) == {"s1", "s2"}
        batch = (await anext(follower))[0]
        assert batch.index == outcome.index == batch.snapshot.index
        assert {event.id for event in batch.events} == {"s1", "s2"}
    async with started(tmp_path) as store:
        assert set((await store.read()).services) == {"s1", "s2"}


async def test_outcomes(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        edit = creation(service("s1"), request_id="r1")
        edit.change_set.reply = b"answer"
        first = await store.propose(edit.change_set)
        again = await store.propose(edit.change_set)
        assert isinstance(first, Committed)
        assert again == Committed(first.index, b"answer", repeated=True)
        conflict = await store.propose(creation(service("s1")).change_set)
        assert isinstance(conflict, Conflict)
        with pytest.raises(NotLeaderError):
            await store.propose(creation(service("s2")).change_set, store.reign[1] + 1)
        with pytest.raises(BadRequestError, match="at most 516 KiB"):
            await store.propose(creation(service("s3", 600_000)).change_set)
        assert set(store.snapshot.services) == {"s1"}


async def test_the_state_comes_back_from_a_snapshot(tmp_path: Path) -> None:
    async with started(tmp_path, compact_entries=20) as store:
        for number in range(60):
            await store.propose(creation(service(f"s{number}")).change_set)
    async with started(tmp_path, compact_entries=20) as store:
        assert len((await store.read()).services) == 60
        with pytest.raises(TooOldError):  # what came before the snapshot is not remembered
            await anext(store.follow(1))
        assert isinstance(await store.propose(creation(service("more")).change_set), Committed)
