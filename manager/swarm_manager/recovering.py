"""`swarm-manager recover`: this manager, whose cluster lost its quorum, becomes its only one.

All it holds counts, committed or not: a write that was acknowledged is in the logs of a majority, and this one may be
of that majority without having been told so.  What it never received is lost.  See raft_folder.py for why a crash
leaves the old cluster or the new one.
"""

import time
from dataclasses import dataclass

from swarm_api.eras import first_index, first_term, next_era
from swarm_api.objects_pb2 import Node, Restoration
from swarm_api.types_pb2 import NodeRole

from swarm_manager import raft_folder
from swarm_manager.config import NodeFile, Settings, raft_address
from swarm_manager.core import codec
from swarm_manager.core.refounding import Refounding, former_managers, refounded
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.times import SECOND_NS, timestamp
from swarm_manager.errors import StartError
from swarm_manager.raft.at_rest import Held, read_held, write_founding
from swarm_manager.raft.config import Member
from swarm_manager.raft.disk import Disk
from swarm_manager.raft.errors import RaftError


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` prints."""

    node_id: str
    cluster_id: str
    era: int
    unconfirmed: int
    former_managers: tuple[str, ...]


def recover(settings: Settings, unlock_key: bytes | None = None) -> Recovered:
    """Rewrite this manager's Raft data to itself alone, in a new era; StartError, and nothing changed, if it cannot be.

    The manager must not run.
    """
    node = NodeFile.load(settings.node_dir)
    try:
        raft_folder.settle(settings)
        if not settings.raft_dir.exists():
            raise StartError(f"{settings.raft_dir} does not exist: this node runs no manager, or has lost its data")
        return _recover(settings, node, unlock_key)
    except (OSError, RaftError, codec.SnapshotError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise StartError(f"the manager's data in {settings.raft_dir} stay as they were: {why}") from error


def _recover(settings: Settings, node: NodeFile, unlock_key: bytes | None) -> Recovered:
    with raft_folder.opened(settings, unlock_key) as disk:  # held to the end: no manager starts meanwhile
        held = read_held(disk)
        founder = _founder(held, node)
        plan = _plan(held, founder, time.time_ns())
        raft_folder.prepare(settings, disk.ring, lambda new: _write(new, held, plan, node))
        raft_folder.decide(settings)
        raft_folder.settle(settings)
    former = sorted(_name(node) for node in former_managers(held.state, founder.id))
    return Recovered(node.node_id, node.cluster_id, plan.restoration.era, held.unconfirmed, tuple(former))


def _founder(held: Held, node: NodeFile) -> Node:
    """This node as the only manager; StartError when its data do not say that it is one."""
    known = held.state.nodes.get(node.node_id)
    if held.state.cluster is None or known is None:
        raise StartError("this manager has not received the cluster's state yet: recover on another one")
    if known.spec.role != NodeRole.MANAGER:
        raise StartError("this node had been demoted: recover on one that is still a manager")
    founder = copy_of(known)
    founder.manager_address = node.advertise_address
    return founder


def _plan(held: Held, founder: Node, now_ns: int) -> Refounding:
    era = next_era(held.term, now_ns / SECOND_NS)
    restoration = Restoration(era=era, restored_at=timestamp(now_ns))
    return Refounding(founder, first_index(era, held.last_index), restoration)


def _write(disk: Disk, held: Held, plan: Refounding, node: NodeFile) -> None:
    member = Member(node.node_id, raft_address(node.advertise_address))
    state = codec.dump(refounded(held.state, plan))
    write_founding(disk, member, state, index=plan.index, term=first_term(plan.restoration.era))


def _name(node: Node) -> str:
    return node.spec.annotations.name or node.description.hostname or node.id
