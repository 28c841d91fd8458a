"""Who leads, in terms of the API: addresses to pass calls on to, and sentences for when there is nobody."""

from swarm_manager.api.managers import api_address
from swarm_manager.errors import JournalFullError, NotLeaderError
from swarm_manager.ports import Store


class StoreLeadership:
    """`forward.Leadership` as the store knows it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def leads(self) -> bool:
        """Whether this manager leads and may act."""
        return self._store.raft.leads

    def leader_address(self) -> str | None:
        """The API address of another manager that leads."""
        raft = self._store.raft
        member = raft.members.get(raft.leader_id)
        if member is None or raft.leader_id == raft.node_id:
            return None
        return api_address(member)

    def no_leader(self) -> NotLeaderError | JournalFullError:
        """Why no request can be served now."""
        raft = self._store.raft
        if raft.journal_error:
            return JournalFullError(raft.journal_error)
        if raft.superseded:
            return NotLeaderError(
                "This manager stands down: its cluster was restored or recovered without it; ask one of the new "
                "cluster's managers, and run 'swarm-cli rejoin' on this node to bring it there."
            )
        voters = [member for member in raft.members.values() if member.voter]
        if not voters:
            return NotLeaderError("No manager leads: this manager has not joined the others yet.")
        reachable = sum(1 for member in voters if member.node_id == raft.node_id or member.reachable)
        return NotLeaderError(
            f"No manager leads: {reachable} of {len(voters)} managers are reachable; a quorum is {raft.quorum}."
        )
