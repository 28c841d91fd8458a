"""Figures for Prometheus, read from the state when they are asked for; nothing is counted in between."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from swarm_api.eras import election_of, era_of
from swarm_api.states import state_name
from swarm_api.types_pb2 import NodeState

from swarm_manager.config import split_address
from swarm_manager.errors import StartError
from swarm_manager.ports import Store


class StateCollector(Collector):
    """The cluster as this manager has it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """All figures at this moment."""
        yield from self._raft()
        yield from self._objects()

    def _raft(self) -> Iterator[Metric]:
        raft = self._store.raft
        # Two figures: a gauge is a double, in which a term with its era loses its last digits.
        yield GaugeMetricFamily("raftswarm_raft_term", "Raft term within its era", value=election_of(raft.term))
        yield GaugeMetricFamily("raftswarm_raft_era", "Era: of the last restore or recovery", value=era_of(raft.term))
        yield GaugeMetricFamily("raftswarm_raft_leads", "1 on the manager that leads", value=float(raft.leads))
        yield GaugeMetricFamily("raftswarm_raft_commit_index", "Last committed entry", value=raft.commit_index)
        yield GaugeMetricFamily("raftswarm_raft_applied_index", "Last applied entry", value=raft.applied_index)
        failing = float(bool(raft.journal_error))
        yield GaugeMetricFamily("raftswarm_raft_journal_failing", "1 while the disk refuses writes", value=failing)

    def _objects(self) -> Iterator[Metric]:
        snapshot = self._store.snapshot
        yield GaugeMetricFamily("raftswarm_services", "Services", value=len(snapshot.services))
        nodes = Counter(
            NodeState.Name(node.status.state).lower().removesuffix("_state") for node in snapshot.nodes.values()
        )
        yield _by_state("raftswarm_nodes", "Nodes by state", nodes)
        tasks = Counter(state_name(task.status.state) for task in snapshot.tasks.values())
        yield _by_state("raftswarm_tasks", "Tasks by observed state", tasks)


def _by_state(name: str, text: str, counts: Counter[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in sorted(counts.items()):
        family.add_metric([state], count)
    return family


async def serve(address: str, store: Store) -> None:
    """Answer GET /metrics at host:port until cancelled."""
    registry = CollectorRegistry()
    registry.register(StateCollector(store))

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, port = split_address(address, "--metrics-address")
    try:
        await web.TCPSite(runner, host, port).start()
        await asyncio.Event().wait()
    except OSError as error:
        raise StartError(f"metrics cannot be served on {address}: {error.strerror}") from error
    finally:
        await runner.cleanup()
