"""When a member compacts its log: takes a snapshot of the state, and drops what it covers.

Theory of operation
    A snapshot is due after so many entries, or so many bytes of them.  Members take turns: each begins at other
    indexes, a share of the usual log apart, so that while one is writing its snapshot a majority is not.  A snapshot
    that begins needs a new segment of the journal, which is made in the background first: a tick that finds none asks
    for it, and a later one begins.

    While a follower is taking over what it was sent, the next snapshot waits, for a while: else the log would begin
    beyond what that follower comes back with.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

SNAPSHOT_RETRY_S = 10.0
LANDING_PATIENCE = 4  # times the usual log are kept for a follower that is taking a snapshot over


class Compaction:
    """Used by the Raft thread only."""

    def __init__(self, core: "RaftCore") -> None:
        self._core = core
        self._not_before = 0.0
        self._bytes_before = 0  # had been added to the journal when the last snapshot was begun, or loaded

    def loaded(self) -> None:
        """The state was replaced by a snapshot."""
        self._bytes_before = self._core.journal.bytes_added

    def begin_when_due(self) -> None:
        """Let a snapshot be taken at the end of this tick, if it is time."""
        core, snapshots = self._core, self._core.snapshots
        due = self._log_since_snapshot()
        if snapshots.landing and due < LANDING_PATIENCE:
            return
        is_news = core.applied_index > snapshots.last_index + 1
        may = is_news and not snapshots.busy and core.now() >= self._not_before
        if (due >= 1 or snapshots.is_unreadable) and may and core.journal.rotate():
            self._not_before = core.now() + (SNAPSHOT_RETRY_S if snapshots.last_error else 0.0)
            self._bytes_before = core.journal.bytes_added
            core.forceLogCompaction()

    def _log_since_snapshot(self) -> float:
        """How much log there is beyond our snapshot, as a share of what is usual: at 1 the next snapshot is due."""
        core, config = self._core, self._core.config
        turn = self._turn()
        usual, last = config.compact_entries, core.snapshots.last_index
        entries = core.applied_index - last + (last + int(turn * usual)) % usual
        data_bytes = core.journal.bytes_added - self._bytes_before
        return max(entries / usual, data_bytes / (config.compact_bytes * (1 + turn)))

    def _turn(self) -> float:
        """Our place among the members, from 0 to less than 1."""
        ids = sorted(self._core.journal.membership.members)
        return ids.index(self._core.node_id) / len(ids) if self._core.node_id in ids else 0.0
