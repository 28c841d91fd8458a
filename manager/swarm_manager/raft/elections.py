"""Who may start an election, and when: pre-vote, and noticing a dead leader early.

Theory of operation
    Stock PySyncObj starts an election when its deadline passes.  The gate keeps moving that deadline, and
    asks the voters first: would you vote for me?  They say yes when my log is no worse than theirs and they
    have not heard from a leader lately.  Only a majority of yes lets the stock election run.  So a manager
    that was cut off raises no term and deposes nobody when it comes back.

    When the link to the leader closes, the leader's process is most likely dead.  The deadline then moves
    close, instead of a whole timeout away.  If the leader is alive after all, the others still hear it and
    deny the pre-vote.

    A manager that was busy or waited for its disk has not listened meanwhile: what the leader sent is in its
    sockets.  So a deadline counts as passed only once the network was looked at after it (`looked_at`), and who asks
    for a vote is answered when all that had come by then was read.  Else two followers that a slow disk stops at once
    would depose a leader that both could hear.
"""

from typing import TYPE_CHECKING

from swarm_manager.raft.codec import Message

if TYPE_CHECKING:
    from swarm_manager.raft.core import RaftCore

_NEVER = float("-inf")
_HELD = float("inf")


class ElectionGate:
    """Holds stock's elections back until a majority would vote for us."""

    def __init__(self, core: "RaftCore", *, election_min_s: float) -> None:
        self._core = core
        self._election_min_s = election_min_s
        self._heard_at = _NEVER
        self._round = 0
        self._asked_term = 0
        self._granted: set[str] = set()
        self._won = False
        self._held: float | None = None  # stock's deadline, while stock is not to see it
        self._questions: list[tuple[str, Message]] = []

    @property
    def heard_at(self) -> float:
        """When a leader was last heard (clock time); -inf for never, or since its link went down."""
        return self._heard_at

    def leader_heard(self) -> None:
        """A leader of at least our term sent something."""
        self._heard_at = self._core.now()
        self._won = False

    def leader_lost(self) -> None:
        """The link to the leader went down."""
        core = self._core
        self._heard_at = _NEVER
        soon = core.now() + core.rng.uniform(0.0, self._election_min_s / 4)
        core.election_deadline = min(core.election_deadline, soon)

    def before_tick(self) -> None:
        """Before stock looks at its deadline: let it pass, or hide it (it may pass while stock is on its way to it)."""
        core = self._core
        if not core.is_leader and not self._lets_pass():
            self._held, core.election_deadline = core.election_deadline, _HELD

    def after_elections(self) -> None:
        """Stock has looked at its deadline."""
        if self._held is not None:
            self._core.election_deadline, self._held = self._held, None

    def _lets_pass(self) -> bool:
        """Whether stock is to start an election now; when it is time and the votes are lacking, they are asked for."""
        core = self._core
        may = core.may_campaign()
        if core.election_deadline >= core.looked_at and not (may and self._is_alone()):
            return False
        if may and (core.transfer_in_progress or self._won):
            self._won = False
            return True
        core.election_deadline = core.now() + core.new_election_timeout()
        if may:
            self._ask()
        return False

    def _is_alone(self) -> bool:
        """Whether ours is the only vote: then there is nobody to wait for."""
        return self._core.journal.membership.voters == {self._core.node_id}

    def _ask(self) -> None:
        core = self._core
        self._round += 1
        self._asked_term = core.term
        self._granted = {core.node_id}
        last = core.journal.entries[-1]
        question = {
            "type": "pre_vote",
            "term": core.term + 1,
            "round": self._round,
            "last_log_index": last[1],
            "last_log_term": last[2],
        }
        for peer in core.journal.membership.voters - {core.node_id}:
            core.transport.send_own(peer, question)
        self._count()

    def on_pre_vote(self, peer: str, message: Message) -> None:
        """Somebody asks whether we would vote for it: to be answered once all that came with it was read."""
        self._questions.append((peer, message))

    def answer_questions(self) -> None:
        """Answer those who asked."""
        questions, self._questions = self._questions, []
        for peer, question in questions:
            self._answer(peer, question)

    def _answer(self, peer: str, message: Message) -> None:
        core = self._core
        if not core.journal.healthy:
            return
        last = core.journal.entries[-1]
        granted = (
            message["term"] > core.term
            and (message["last_log_term"], message["last_log_index"]) >= (last[2], last[1])
            and not self._leader_is_fresh()
        )
        answer = {"type": "pre_vote_reply", "term": core.term, "round": message["round"], "granted": granted}
        core.transport.send_own(peer, answer)

    def on_pre_vote_reply(self, peer: str, message: Message) -> None:
        """An answer; a higher term in it is adopted, or our log could stay electable and unelected."""
        core = self._core
        if message["term"] > core.term:
            if not core.is_leader and core.election_deadline != 0:
                core.adopt_term(message["term"])
            return
        if message["round"] == self._round and message["granted"]:
            self._granted.add(peer)
            self._count()

    def _count(self) -> None:
        core = self._core
        if core.is_leader or core.term != self._asked_term:
            return
        if core.journal.membership.is_quorum(self._granted):
            self._won = True
            self._round += 1
            core.election_deadline = 0.0

    def _leader_is_fresh(self) -> bool:
        core = self._core
        return core.is_leader or core.now() - self._heard_at < self._election_min_s

    def leader_is_known(self) -> bool:
        """Whether this member leads, or heard a leader within the time in which one that nobody answers gives up."""
        core = self._core
        return core.is_leader or core.now() - self._heard_at < core.config.leader_fallback_s
