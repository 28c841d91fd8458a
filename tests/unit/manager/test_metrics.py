"""Figures for Prometheus."""

import asyncio

import pytest
from aiohttp import ClientSession
from swarm_api.eras import first_term
from swarm_api.objects_pb2 import Task
from swarm_api.types_pb2 import TaskState
from swarm_manager.errors import StartError
from swarm_manager.metrics import serve

from tests.integration.manager.processes import api_ports
from tests.unit.manager.stores import MemoryStore, cluster, node


async def test_figures_are_read_from_the_state() -> None:
    store = MemoryStore()
    store.term = first_term(60_000_000) + 7
    task = Task(id="t1")
    task.status.state = TaskState.RUNNING
    store.put(cluster(), node("n1"), task)
    address = f"127.0.0.1:{api_ports(1)[0]}"
    serving = asyncio.ensure_future(serve(address, store))
    async with ClientSession() as client, asyncio.timeout(10):
        text = ""
        while not text:
            try:
                text = await (await client.get(f"http://{address}/metrics")).text()
            except OSError:
                await asyncio.sleep(0.01)
    assert 'raftswarm_nodes{state="ready"} 1.0' in text
    assert 'raftswarm_tasks{state="running"} 1.0' in text
    assert "raftswarm_raft_leads 1.0" in text
    assert "raftswarm_raft_term 7.0" in text
    assert "raftswarm_raft_era 6e+07" in text
    with pytest.raises(StartError, match="cannot be served"):
        await serve(address, store)
    serving.cancel()
