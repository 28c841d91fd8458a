"""What a cluster needs before anything else: its first change set, and the ingress network."""

import asyncio

import structlog
from swarm_api.ids import new_id
from swarm_api.naming import INGRESS_NETWORK
from swarm_api.objects_pb2 import Network, ObjectKind

from swarm_manager.api.writes import Edit
from swarm_manager.core.machine import Committed
from swarm_manager.ports import Store
from swarm_manager.seed_file import SeedFile

_log = structlog.get_logger("founding")


class Founding:
    """Commits the seed that `swarm-manager init` left, and makes the ingress network."""

    def __init__(self, store: Store, seed: SeedFile) -> None:
        self._store = store
        self._seed = seed

    async def run(self, term: int) -> None:
        """Return when both are there; then wait to be cancelled, as the other loops do."""
        await self._commit_seed(term)
        await self._make_ingress(term)
        await asyncio.Event().wait()

    async def _commit_seed(self, term: int) -> None:
        if not self._seed.exists():
            return
        if self._store.snapshot.cluster is None:
            outcome = await self._store.propose(self._seed.load(), term)
            _log.info("the cluster is founded", committed=isinstance(outcome, Committed))
        if self._store.snapshot.cluster is not None:
            self._seed.remove()

    async def _make_ingress(self, term: int) -> None:
        snapshot = self._store.snapshot
        if snapshot.cluster is None or snapshot.id_of_name(ObjectKind.NETWORK, INGRESS_NETWORK) is not None:
            return
        network = Network(id=new_id())
        network.spec.annotations.name = INGRESS_NETWORK
        network.spec.driver = "overlay"
        network.spec.ingress = True
        edit = Edit()
        edit.create(network)
        await self._store.propose(edit.change_set, term)
