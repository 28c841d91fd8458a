"""A member's data while no member runs on it: read for a recovery, or written as the beginning of a new era.

What is written is what a member would have on disk after compacting: a snapshot, the two log entries it ends with, and
a vote file with the era's first term and no vote.  The last entry is the membership, so it holds from there on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from swarm_api.store_pb2 import ChangeSet

from swarm_manager.core import codec, machine
from swarm_manager.core.snapshot import Snapshot as State
from swarm_manager.raft.codec import COMMAND_NO_OP, COMMAND_REGULAR, Entry, membership_command
from swarm_manager.raft.config import Member, Membership
from swarm_manager.raft.disk import Disk
from swarm_manager.raft.errors import CorruptData
from swarm_manager.raft.journal import Journal
from swarm_manager.raft.segment_files import PREFIX
from swarm_manager.raft.snapshot import FILE_NAME, Snapshot, encode_head, file_chunks, read_snapshot

_NO_OP = bytes((COMMAND_NO_OP,))


@dataclass(frozen=True, slots=True)
class Held:
    """All that a member's disk holds, with every entry of its log applied, committed or not."""

    state: State
    term: int
    last_index: int
    unconfirmed: int  # entries that were not known to be committed
    membership: Membership


def read_held(disk: Disk) -> Held:
    """What this disk holds; CorruptData when it is damaged, or holds nothing."""
    if not any(name.startswith(PREFIX) for name in disk.names()):
        raise CorruptData(f"{disk.describe()} holds no log: there is nothing to go on with")
    journal = Journal(disk, Membership.of(()))
    snapshot = read_snapshot(disk)
    check_covered(journal, snapshot, disk)
    if snapshot is not None:
        journal.align(snapshot.previous, snapshot.last)
        journal.rebase(snapshot.membership)
    covered = 0 if snapshot is None else snapshot.last[1]
    state = State() if snapshot is None else codec.load(bytes(snapshot.body))
    held = Held(
        state=_replayed(state, [entry for entry in journal.entries if entry[1] > covered]),
        term=journal.term,
        last_index=journal.last_index,
        unconfirmed=journal.last_index - max(journal.known_commit, covered),
        membership=journal.membership,
    )
    journal.close()
    return held


def write_founding(disk: Disk, founder: Member, state: Iterator[bytes], *, index: int, term: int) -> None:
    """Make this empty disk that of a member, alone, that has this state at `index`; OSError when it cannot be."""
    membership = Membership.of((founder,), index)
    previous: Entry = (_NO_OP, index - 1, term)
    last: Entry = (membership_command(membership), index, term)
    disk.replace(FILE_NAME, file_chunks(encode_head(last, previous, membership), state))
    journal = Journal(disk, Membership.of((founder,)))
    journal.align(previous, last)
    if not (journal.set_vote(term, None) and journal.sync()):
        raise journal.failure or OSError("the journal cannot be written")
    journal.close()


def check_covered(journal: Journal, snapshot: Snapshot | None, disk: Disk) -> None:
    """A log whose head was compacted away needs the snapshot that covers it."""
    if snapshot is None and len(journal) and journal.first_index > 1:
        raise CorruptData(
            f"the snapshot in {disk.describe()} is missing, and the journal begins at entry "
            f"{journal.first_index}: remove this manager from the cluster and let it join again, or restore "
            "its data folder from a backup"
        )


def _replayed(state: State, entries: Sequence[Entry]) -> State:
    for command, index, _ in entries:
        if command[0] != COMMAND_REGULAR:
            continue
        try:
            entry = ChangeSet.FromString(command[1:])
        except DecodeError:
            continue  # as the running state machine takes it: an entry without effect
        state, _ = machine.apply(state, index, entry)
    return state
