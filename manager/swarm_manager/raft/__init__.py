"""Raft: PySyncObj 0.3.17 made safe.  The only package that knows PySyncObj.

How to use it
    identity = TlsIdentity(NodeCredentials.load(state_dir / "node"))
    config = RaftConfig(node_id, listen="0.0.0.0:2378", advertise="10.0.0.1:2378",
                        cluster_id=..., members=(Member(node_id, "10.0.0.1:2378"),))
    disk = open_folder(raft_dir, KeyFile(LocalDisk(key_dir)), unlock_key)
    replica = Replica(config, machine, identity, disk=disk)   # CorruptData, InvalidConfig, OSError: cannot start
    replica.on_leadership(lambda ready, term: ...)   # on the Raft thread; before start()
    replica.start()
    result = await asyncio.wrap_future(replica.propose(payload, timeout_s=5))
    index = await asyncio.wrap_future(replica.read_index(timeout_s=2))   # then read the machine's state

    A cluster of one names itself alone in `members`.  To join: the leader calls
    `add_member(node_id, address)`; its result is a Membership, whose members the joiner passes as
    `RaftConfig(members=tuple(membership.members.values()), joining=True)`.  It catches up, then votes, by
    itself.  Once the disk is not empty, `members` and `joining` are ignored.

Outcomes of a proposal (errors.py): the result of `machine.apply` (an exception it raised *is* the result);
NotCommitted and below: definite, nothing happened; OutcomeUnknown: retry with the same request id.

Map
    replica      the thread, and the interface above        core       one member without its thread
    machine      what is asked of the state                 config     settings, Member, Membership
    pysyncobj_private   every private part of PySyncObj we touch, with the reason
    guard        the filter between network and PySyncObj   transport  who may talk, which message goes where
    elections    pre-vote         reads      read index     proposals  members  handover
    journal, segment, snapshot, disk        what is durable          arrivals   snapshots that come in
    sealed_disk, seal, keys                 how it is encrypted, and with what
    links, tls_links, tls_link, tls_identity, poller, codec what is on the wire
"""

from swarm_manager.raft.config import Member, Membership, RaftConfig
from swarm_manager.raft.errors import (
    CorruptData,
    HandoverFailed,
    InvalidConfig,
    JournalUnavailable,
    MembershipRefused,
    NotCommitted,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalTooLarge,
    RaftError,
)
from swarm_manager.raft.machine import StateMachine
from swarm_manager.raft.replica import RaftStatus, Replica
from swarm_manager.raft.tls_identity import TlsIdentity

__all__ = [
    "CorruptData",
    "HandoverFailed",
    "InvalidConfig",
    "JournalUnavailable",
    "Member",
    "Membership",
    "MembershipRefused",
    "NotCommitted",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "ProposalTooLarge",
    "RaftConfig",
    "RaftError",
    "RaftStatus",
    "Replica",
    "StateMachine",
    "TlsIdentity",
]
