"""PySyncObj's Transport: who may talk to us, and which message goes where.

Theory of operation
    Below are the links (links.py), whose peers proved to be managers of our cluster.  Whether a peer is a
    *member* is decided here, by the first frame either side sends on a link, `hello`: my address, and the
    members as I know them.

    A peer that is a member as far as I know is in.  A peer I do not know may be news to me: if its membership
    is newer than mine and has us both, I take it as a hint whom to talk to (never as the membership itself,
    which only the log changes).  That is how a manager that was away while all others were replaced finds its
    way back; and one whose leader moved, since a change of the membership is said on every link.  I need no
    hint while a leader is heard, and take none.  Anybody else is told `not_member` with the members as I know
    them, and cut off: that is how a removed manager learns that it was removed.  Only those I know can tell me
    so.  Nothing but `hello` and `not_member` is read from a stranger, and nothing at all is believed of one
    whose certificates were revoked: it may have been removed because it is not to be trusted any more.

    A `hello` also names the era of the sender's log (swarm_api/eras.py).  Managers of different eras share a CA
    and may share ids and addresses, but not a log: they never talk.  Of the two the earlier one's cluster was
    restored or recovered without it; that one stands down (and its process then moves its data aside).  No later era
    is believed of one whose node was demoted: it may hold a manager's certificate still, but it can have got no era
    with it, and managers that believed it would give up their data, all of them.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from pysyncobj.node import Node
from pysyncobj.transport import Transport

from swarm_manager.raft import codec
from swarm_manager.raft.codec import Message
from swarm_manager.raft.config import Membership, split_address
from swarm_manager.raft.errors import InvalidConfig, WireError
from swarm_manager.raft.links import Links

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

_log = logging.getLogger(__name__)
HIGH_WATER_BYTES = 8 << 20
_FROM_ANYBODY = ("hello", "not_member")
LOW_WATER_BYTES = 1 << 20


class RaftTransport(Transport):  # type: ignore[misc] # pysyncobj has no types
    """Carries PySyncObj's messages, and ours, to members only."""

    def __init__(self, links: Links, is_revoked: Callable[[str], bool], is_demoted: Callable[[str], bool]) -> None:
        super().__init__(None, None, [])
        self._links = links
        self._is_revoked = is_revoked
        self._is_demoted = is_demoted
        self._core: RaftCore
        self._handlers: dict[str, Callable[[str, Message], None]] = {}
        self._members: set[str] = set()  # whose link is up and whose hello was accepted
        self._crowded: set[str] = set()  # who cannot take more for now
        self._hint: Membership | None = None
        self.removed = False
        self.superseded = False
        self._was_member = False
        self._opened_at = 0.0
        self._lost_at: dict[str, float] = {}

    def attach(self, core: "RaftCore", handlers: dict[str, Callable[[str, Message], None]]) -> None:
        """Who decides, and which of our own messages goes where."""
        self._core = core
        self._handlers = handlers

    def open(self) -> None:
        """Begin to listen and to dial; OSError when the address cannot be bound."""
        self._links.open(self)
        self._opened_at = self._core.now()
        self.refresh_peers()

    # --------------------------------------------------------------------------------- who is allowed

    def allowed(self) -> dict[str, str]:
        """Whom we talk to: id and address."""
        if self.superseded:
            return {}
        known = self._core.journal.membership
        peers: dict[str, str] = {}
        if known.index == 0 or self._core.node_id not in known.members:
            founding = self._core.journal.founding
            peers |= {member.node_id: member.address for member in founding.members.values()}
        # A removal may be rolled back until it is committed: until then the removed one may yet lead us.
        for membership in self._core.journal.memberships_since(self._core.commit_index):
            peers |= {member.node_id: member.address for member in membership.members.values()}
        if self._hint is not None and self._hint.index > known.index:
            peers |= {member.node_id: member.address for member in self._hint.members.values()}
        peers.pop(self._core.node_id, None)
        return peers

    def refresh_peers(self) -> None:
        """The membership changed: dial the new, drop the gone."""
        known = self._core.journal.membership
        if self._core.node_id in known.members and (known.index > 0 or known.is_voter(self._core.node_id)):
            self._was_member = True
        peers = self.allowed()
        for peer in self._members - set(peers):
            self._links.drop(peer, "it is not a member any more")
        self._links.set_peers({} if self.removed else peers)

    def is_connected(self, peer: str) -> bool:
        """Whether messages reach this member as far as we can tell."""
        return peer in self._members

    @property
    def connected(self) -> frozenset[str]:
        """The members whose links are up."""
        return frozenset(self._members)

    def unreachable_s(self, peer: str) -> float:
        """For how long there was no link to this member, as far as this process knows; 0 when there is one."""
        if peer in self._members or peer == self._core.node_id:
            return 0.0
        return self._core.now() - self._lost_at.get(peer, self._opened_at)

    # -------------------------------------------------------------------------------------- the links

    def link_up(self, peer: str) -> None:
        self._greet(peer)

    def tell_members(self) -> None:
        """The membership changed: say so to those we are linked with.

        One of them may have lost the leader, who is somewhere else now, and learn from us where.
        """
        for peer in sorted(self._members):
            self._greet(peer)

    def _greet(self, peer: str) -> None:
        core = self._core
        known = core.journal.membership
        members = tuple(known.members.values())
        self._links.send(
            peer,
            codec.encode(
                {
                    "type": "hello",
                    "address": core.advertise,
                    "era": core.era,
                    "index": known.index,
                    "members": members,
                }
            ),
        )

    def link_down(self, peer: str) -> None:
        if peer in self._members:
            self._members.discard(peer)
            self._crowded.discard(peer)
            self._lost_at[peer] = self._core.now()
            self._onNodeDisconnected(Node(peer))
            self._core.peer_lost(peer)

    def frame_received(self, peer: str, frame: bytes) -> None:
        try:
            message = codec.decode(frame)
        except WireError as error:
            _log.warning("%s sent bytes that are no message (%s): its link is closed", peer, error)
            self._links.drop(peer, "bad frame")
            return
        kind = message["type"]
        if kind in _FROM_ANYBODY and self._is_revoked(peer):
            self._refuse(peer)
        elif kind == "hello":
            self._greeted(peer, message)
        elif kind == "not_member":
            self._told_removed(peer, message)
        elif peer in self._members:
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(peer, message)
            else:
                self._core.guard.incoming(peer, message)
        elif peer not in self.allowed():
            self._refuse(peer)

    def _greeted(self, peer: str, message: Message) -> None:
        if not self._is_of_our_era(peer, message["era"]) or not self._can_be_dialled(peer, message["address"]):
            return
        theirs = Membership.of(message["members"], message["index"])
        self._consider_hint(peer, theirs)
        if peer not in self.allowed():
            self._refuse(peer)
            return
        self._core.changes.announced[peer] = message["address"]
        if peer not in self._members:
            self._members.add(peer)
            self._onNodeConnected(Node(peer))
            self._core.wake_soon()

    def _can_be_dialled(self, peer: str, address: str) -> bool:
        """Whether this can be on record as the peer's address; else its link is closed."""
        try:
            split_address(address)
        except InvalidConfig as error:
            _log.warning("%s names an address that is none (%s): its link is closed", peer, error)
            self._links.drop(peer, "bad address")
            return False
        return True

    def _is_of_our_era(self, peer: str, theirs: int | None) -> bool:
        """Whether this peer's log may be the same as ours; else its link is closed.  A newcomer has no era yet."""
        ours = self._core.era
        if ours is None or theirs is None or theirs == ours:
            return True
        if theirs > ours:
            self._told_later_era(peer)
            return False
        _log.warning(
            "%s is a manager of this cluster as it was before it was restored or recovered (era %d, not %d): it is "
            "refused until it has joined anew",
            peer,
            theirs,
            ours,
        )
        return False  # closing the link is its part: our hello must reach it first

    def _told_later_era(self, peer: str) -> None:
        if self._is_demoted(peer):
            _log.warning("%s was demoted and names a later era of this cluster: it is not believed", peer)
            self._links.drop(peer, "it was demoted")
        else:
            self._stand_down(peer)

    def _stand_down(self, peer: str) -> None:
        if not self.superseded:
            _log.error(
                "this cluster was restored or recovered without this manager, as %s shows: this one stands down; its "
                "node becomes a worker of the new cluster when it reaches it ('swarm-cli rejoin')",
                peer,
            )
        self.superseded = True
        self._links.drop(peer, "it is of a later era of this cluster")
        self.refresh_peers()
        if self._core.is_leader:
            self._core.step_down()

    def _consider_hint(self, peer: str, theirs: Membership) -> None:
        newest = self._core.journal.membership.index
        if self._hint is not None:
            newest = max(newest, self._hint.index)
        has_both = peer in theirs.members and self._core.node_id in theirs.members
        if theirs.index > newest and has_both and not self._core.gate.leader_is_known():
            self._hint = theirs
            self.refresh_peers()

    def _refuse(self, peer: str) -> None:
        known = self._core.journal.membership
        if known.index <= self._core.commit_index:
            members = tuple(known.members.values())
            notice = {"type": "not_member", "index": known.index, "members": members}
            self._links.send(peer, codec.encode(notice))
        self._links.drop(peer, "it is not a member of this cluster")

    def _told_removed(self, peer: str, message: Message) -> None:
        core = self._core
        if self.superseded:
            return  # by a cluster of another era, which cannot speak of membership in ours
        gone = core.node_id not in {member.node_id for member in message["members"]} and peer in self.allowed()
        if gone and self._was_member and message["index"] > core.journal.membership.index:
            if not self.removed:
                _log.warning("%s says that this manager was removed from the cluster", peer)
            self.removed = True
            self.refresh_peers()
        self._links.drop(peer, "it does not know us as a member")

    # ------------------------------------------------------------------------------------- sending

    def send(self, node: Node, message: Message) -> bool:
        """PySyncObj sends: through the guard."""
        if str(node.id) not in self._members:
            return False
        filtered = self._core.guard.outgoing(str(node.id), message)
        return filtered is not None and self.send_own(str(node.id), filtered)

    def send_own(self, peer: str, *messages: Message) -> bool:
        """Messages of ours to a member, in one go; False when it has no link."""
        if peer not in self._members:
            return False
        sent = self._links.send(peer, *map(codec.encode, messages))
        if sent and self._links.backlog_bytes(peer) > HIGH_WATER_BYTES:
            self._crowded.add(peer)
            self._core.park(peer)
        return sent

    def relieve(self) -> None:
        """Those whose backlog is gone take part in replication again."""
        for peer in [p for p in self._crowded if self._links.backlog_bytes(p) < LOW_WATER_BYTES]:
            self._crowded.discard(peer)
            self.resume(peer)

    def resume(self, peer: str) -> None:
        """Replicate to this member again, if it can take it."""
        if peer in self._members and peer not in self._crowded and peer not in self._core.guard.parked:
            self._core.unpark(peer)

    def tick_links(self) -> float:
        """The links' own upkeep; when it is due next."""
        return self._links.tick()

    def destroy(self) -> None:
        """PySyncObj's name for the end."""
        self._links.close()
