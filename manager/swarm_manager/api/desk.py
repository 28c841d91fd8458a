"""What every noun of the Control API works with."""

from swarm_manager.core.snapshot import View
from swarm_manager.ports import Store


class Desk:
    """The base of the nouns: the store, and how to read it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def _view(self, *, stale: bool = False) -> View:
        """The state with all that was acknowledged; or, stale, what this manager has, at once."""
        return self._store.snapshot if stale else await self._store.read()
