"""Certificates renew themselves in time, and bring the role the cluster wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from swarm_api.identity import ROLE_MANAGER, ROLE_WORKER, NodeCredentials
from swarm_api.types_pb2 import NodeRole
from swarm_worker import certificates
from swarm_worker.certificates import Certificates
from swarm_worker.identity import NodeIdentity
from swarm_worker.storage import NodeFile, NodeStore

from tests.worker.fake_ca import FakeCa, served


@contextlib.asynccontextmanager
async def renewing(
    folder: Path, ca: FakeCa, age: timedelta = timedelta(0)
) -> AsyncIterator[tuple[NodeIdentity, Certificates, asyncio.Semaphore]]:
    """A worker whose certificates are kept, against a manager on loopback."""
    renewed = asyncio.Semaphore(0)
    async with served(ca) as address:
        store = NodeStore(folder)
        ca.credentials("node7", ROLE_WORKER, age).save(store.node_dir)
        store.save_node(NodeFile("node7", "cluster1", ROLE_WORKER, "10.0.0.7:2377", "", ("127.0.0.1:1", address)))
        identity = NodeIdentity.load(store)
        assert identity is not None
        kept = Certificates(identity, renewed.release)
        running = asyncio.create_task(kept.run())
        try:
            yield identity, kept, renewed
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_certificate_is_renewed_well_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LEAST_S", 0.01)
    async with renewing(tmp_path, FakeCa(), age=timedelta(days=80)) as (identity, _, renewed):
        before = identity.credentials
        await asyncio.wait_for(renewed.acquire(), 10)
        assert identity.credentials.certificate_pem != before.certificate_pem
        assert NodeCredentials.load(tmp_path / "node") == identity.credentials


async def test_a_young_certificate_is_left_alone(tmp_path: Path) -> None:
    async with renewing(tmp_path, FakeCa()) as (identity, _, _renewed):
        assert 0.4 < certificates._left_s(identity.credentials) / timedelta(days=90).total_seconds() < 0.81


async def test_a_promoted_node_gets_a_manager_s_certificate(tmp_path: Path) -> None:
    ca = FakeCa()
    ca.wanted_role = ROLE_MANAGER
    async with renewing(tmp_path, ca) as (identity, kept, renewed):
        kept.want_role(NodeRole.MANAGER)
        await asyncio.wait_for(renewed.acquire(), 10)
        assert identity.node.is_manager
        saved = NodeStore(tmp_path).load_node()
        assert saved is not None
        assert saved.role == ROLE_MANAGER
        kept.want_role(NodeRole.MANAGER)
        assert ca.renewals == 1


async def test_it_tries_again_while_no_manager_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "RETRY_S", (0.01, 0.02))
    ca = FakeCa()
    ca.refusal, ca.wanted_role = grpc.StatusCode.UNAVAILABLE, ROLE_MANAGER
    async with renewing(tmp_path, ca) as (identity, kept, renewed):
        kept.want_role(NodeRole.MANAGER)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(renewed.acquire(), 0.2)
        ca.refusal = None
        await asyncio.wait_for(renewed.acquire(), 10)
        assert identity.node.is_manager
