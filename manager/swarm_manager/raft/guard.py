"""The filter between the network and PySyncObj: its protocol repaired from outside, message by message.

What stock does, and what is done about it here
    A success ack rewinds nextIndex, and followers cut their log at whatever prevLogIdx says, so a duplicate
    or a heartbeat cuts entries they had acknowledged.
        -> entries we hold already are stripped; nothing is cut that does not conflict; never below commit.
    `next_node_idx` carries no term, and a late one resets nextIndex.
        -> acks carry term and the sequence number of what they answer; others are dropped.
    Acks leave before anything is on disk.
        -> they wait here until `release_acks`, which syncs once for all of them.
    Snapshot chunks advance the commit index, and any snapshot clears the log.
        -> chunks go to arrivals.py, which installs only what is newer than what we have and not covered by
           our log; every chunk is answered, so that a leader does not lose its quorum by sending.
    The leader goes back one index a round trip, and spins while it has no snapshot for a follower.
        -> a follower names its commit index at once; the node is parked for a tick.
    Votes are counted, not attributed.
        -> one per voter and term.
    Commands are forwarded between members, and big entries travel pickled.
        -> neither exists any more.
"""

import logging
import struct
from typing import TYPE_CHECKING

from pysyncobj.node import Node

from swarm_manager.raft.codec import Entry, Message

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

_log = logging.getLogger(__name__)
_CHUNK_HEAD = struct.Struct("<QQ")
CHUNKS_A_TICK = 8  # of a snapshot to one member: stock would go on for a whole heartbeat


class CommittedEntryLost(BaseException):
    """A leader wants committed entries gone: somebody's disk lost promises.  The process must end."""


class MessageGuard:
    """Stands in both directions between the transport and PySyncObj's handler."""

    def __init__(self, core: "RaftCore") -> None:
        self._core = core
        self._sent = 0
        self._answering = 0
        self._clamp: int | None = None
        self._reset_at: dict[str, int] = {}
        self._acks: list[tuple[str, Message]] = []
        self._votes: set[str] = set()
        self._votes_term = 0
        self.parked: set[str] = set()
        self._chunks: dict[str, int] = {}  # sent in this tick

    # ----------------------------------------------------------------------------------- outgoing

    def outgoing(self, peer: str, message: Message) -> Message | None:
        """What goes out in place of this message of PySyncObj's; None for nothing (now)."""
        kind = message["type"]
        if not self._core.journal.healthy:
            return None  # whatever it promises or asks for may not be on disk
        if kind == "append_entries":
            return self._outgoing_entries(peer, message)
        if kind == "next_node_idx":
            self._queue_ack(peer, message)
            return None
        return message if kind in ("request_vote", "response_vote", "timeout_now") else None

    def _outgoing_entries(self, peer: str, message: Message) -> Message:
        self._sent += 1
        if "prevLogIdx" in message:
            return {**message, "seq": self._sent}
        head = {"term": message["term"], "commit_index": message["commit_index"], "seq": self._sent}
        if message["serialized"] is None:
            self.parked.add(peer)
            self._core.park(peer)
            return {"type": "snapshot_wait", **head}
        data, _, is_last = message["serialized"]
        self._count_chunk(peer, is_last)
        serial, offset = _CHUNK_HEAD.unpack_from(data)
        chunk = {"snapshot": serial, "offset": offset, "last": is_last, "data": data[_CHUNK_HEAD.size :]}
        return {"type": "snapshot_chunk", **head, **chunk}

    def _count_chunk(self, peer: str, is_last: bool) -> None:
        self._chunks[peer] = self._chunks.get(peer, 0) + 1
        if self._chunks[peer] == CHUNKS_A_TICK and not is_last:
            self.parked.add(peer)
            self._core.park(peer)
            self._core.wake_soon()

    def _queue_ack(self, peer: str, message: Message) -> None:
        core = self._core
        index = message["next_node_idx"]
        if message["reset"]:
            index = min(index, max(core.commit_index, core.applied_index) + 1)
        if message["success"] and self._clamp is not None:
            index = min(index, self._clamp)
        ack = {**message, "term": core.term, "seq": self._answering, "next_node_idx": index}
        self._acks.append((peer, ack))

    def release_acks(self) -> None:
        """Make everything durable, then let the acknowledgements of it go."""
        acks, self._acks = self._acks, []
        if not self._core.journal.sync():
            return
        answers: dict[str, list[Message]] = {}  # in one go: each time the Raft thread waits for those that compute
        for peer, ack in acks:
            if ack["term"] == self._core.term:
                answers.setdefault(peer, []).append(ack)
        for peer, messages in answers.items():
            self._core.transport.send_own(peer, *messages)

    def unpark_waiting(self) -> None:
        """Those who waited for a snapshot get another try, and those who were sent a part of one the next."""
        waiting, self.parked = self.parked, set()
        sent, self._chunks = self._chunks, {}
        for peer in waiting:
            self._core.transport.resume(peer)
        if self._core.is_leader and any(peer in sent for peer in waiting):
            self._core.replicate()

    def forget(self, peer: str) -> None:
        """The link to this peer is gone."""
        self.parked.discard(peer)

    # ----------------------------------------------------------------------------------- incoming

    def incoming(self, peer: str, message: Message) -> None:
        """Hand PySyncObj what it can be trusted with."""
        kind = message["type"]
        if kind == "next_node_idx":
            self._incoming_ack(peer, message)
        elif kind == "response_vote":
            self._incoming_vote(peer, message)
        elif kind in ("append_entries", "snapshot_chunk", "snapshot_wait"):
            self._incoming_from_leader(peer, message)
        elif self._core.journal.healthy:
            self._core.deliver(peer, message)

    def _incoming_vote(self, peer: str, message: Message) -> None:
        if self._votes_term != message["term"]:
            self._votes_term, self._votes = message["term"], set()
        if peer not in self._votes and self._core.journal.membership.is_voter(peer):
            self._votes.add(peer)
            self._core.deliver(peer, message)

    def _incoming_ack(self, peer: str, message: Message) -> None:
        core = self._core
        before = core.next_index(peer)
        if before is None or message["term"] != core.term or not core.is_leader:
            return
        if message["next_node_idx"] > core.journal.last_index + 1:
            _log.error("%s acknowledges entry %d that was never sent", peer, message["next_node_idx"] - 1)
            return
        if message["success"] or message["reset"]:
            core.snapshots.landed(Node(peer))
        if message["reset"]:
            if message["seq"] < self._reset_at.get(peer, 0):  # it answers what was sent before the last reset
                message = {**message, "reset": False, "success": False}
            else:
                self._reset_at[peer] = self._sent + 1
        core.deliver(peer, message)
        after = core.next_index(peer)
        if message["success"] and after is not None and after < before:
            core.set_next_index(peer, before)

    def _incoming_from_leader(self, peer: str, message: Message) -> None:
        core = self._core
        if message["term"] < core.term:
            core.transport.send_own(peer, {"type": "higher_term", "term": core.term})
            return
        if core.is_leader and message["term"] == core.term:
            raise CommittedEntryLost(f"{peer} leads in term {core.term}, and so do we")
        core.gate.leader_heard()
        if not core.journal.healthy:
            core.election_deadline = core.now() + core.new_election_timeout()
            return
        self.answering(message["seq"])
        if message["type"] != "append_entries":
            core.arrivals.incoming(peer, message)
        elif core.arrivals.busy:
            self.heartbeat(peer, message)
            self.answer(peer, reset=False)
        else:
            self._incoming_entries(peer, message)
        self._clamp = None

    def _incoming_entries(self, peer: str, message: Message) -> None:
        previous = message["prevLogIdx"]
        held = None if previous is None else self._core.journal.entry(previous)
        if held is not None and held[2] == message["prevLogTerm"]:
            message = self._strip_known(message, previous, message["entries"])
        self._core.deliver(peer, message)

    def _strip_known(self, message: Message, previous: int, entries: list[Entry]) -> Message:
        """Without the entries we hold already, so that stock, which cuts first, cuts conflicts only."""
        log = self._core.journal
        known = 0
        while known < len(entries):
            held = log.entry(previous + 1 + known)
            if held is None or held[2] != entries[known][2]:
                break
            known += 1
        verified = previous + known
        if known < len(entries):
            self._refuse_to_cut_committed(verified)
            return {**message, **self._point(verified), "entries": entries[known:]}
        commit = min(message["commit_index"], max(verified, self._core.commit_index))
        self._clamp = verified + 1
        return {**message, **self._point(log.last_index), "entries": [], "commit_index": commit}

    def _point(self, index: int) -> Message:
        held = self._core.journal.entry(index)
        assert held is not None
        return {"prevLogIdx": index, "prevLogTerm": held[2]}

    def _refuse_to_cut_committed(self, keep: int) -> None:
        committed = max(self._core.commit_index, self._core.applied_index)
        if keep < min(committed, self._core.journal.last_index):
            raise CommittedEntryLost(f"the leader wants entry {keep + 1} gone, but {committed} is committed")

    # ----------------------------------------------------------------------------------- snapshots

    def heartbeat(self, peer: str, message: Message) -> None:
        """To stock this message is a heartbeat that says nothing about what is committed."""
        core = self._core
        core.deliver(peer, {"type": "append_entries", "term": message["term"], "commit_index": core.commit_index})

    def confirm(self, peer: str, message: Message, index: int) -> None:
        """The leader's snapshot ends at this entry of our log: everything up to there is as the leader has it."""
        commit = max(self._core.commit_index, index)
        point = {**self._point(index), "entries": [], "commit_index": commit}
        self._incoming_entries(peer, {"type": "append_entries", "term": message["term"], **point})

    def answering(self, seq: int) -> None:
        """What is answered next answers the leader's message of this number."""
        self._answering, self._clamp = seq, None

    def answer(self, peer: str, *, reset: bool) -> None:
        """Tell the leader that we live, and, to `reset`, where to go on from."""
        index = self._core.journal.last_index + 1
        self._queue_ack(peer, {"type": "next_node_idx", "next_node_idx": index, "reset": reset, "success": False})
