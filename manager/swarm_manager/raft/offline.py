"""Reading a member's data while no member runs on it."""

from pathlib import Path

from swarm_manager.raft.codec import COMMAND_REGULAR
from swarm_manager.raft.config import Membership
from swarm_manager.raft.disk import Disk, LocalDisk
from swarm_manager.raft.errors import InvalidConfig
from swarm_manager.raft.machine import StateMachine
from swarm_manager.raft.pysyncobj_private import StockJournal
from swarm_manager.raft.snapshot import SnapshotStore


def replay(data_dir: Path, machine: StateMachine) -> None:
    """Bring `machine` to where this member's log ends, committed or not: without the others nobody can tell.

    Holds the folder's lock meanwhile.  InvalidConfig: there is no data, or a manager runs; CorruptData; OSError.
    """
    if not data_dir.is_dir() or not any(data_dir.iterdir()):
        raise InvalidConfig(f"{data_dir} holds no data of a manager")
    disk = LocalDisk(data_dir)
    try:
        _replay(disk, machine)
    finally:
        disk.close()


def _replay(disk: Disk, machine: StateMachine) -> None:
    journal = StockJournal(disk, Membership.of(()))
    snapshots = SnapshotStore(
        disk,
        machine,
        chunk_bytes=0,
        background=lambda job: None,  # noqa: ARG005 - nothing is written here
        on_start=lambda: False,
        membership_at=journal.membership_at,
    )
    snapshot = snapshots.read()
    if snapshot is not None:
        journal.align(snapshot.previous, snapshot.last)
        machine.load(snapshot.body, snapshot.last[1])
    for command, index, term in journal.entries:
        if command[0] == COMMAND_REGULAR and index > snapshots.last_index:
            machine.apply(index, term, command[1:])
    journal.close()
