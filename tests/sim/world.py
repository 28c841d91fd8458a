"""A cluster in one thread: the real RaftCore on a fake clock, network and disk, driven by one seed."""

import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from swarm_manager.raft.config import Member, RaftConfig
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.errors import NotCommitted, RaftError
from swarm_manager.raft.guard import CommittedEntryLost

from tests.sim.fake_disk import FakeDisk, Platter, PowerCut
from tests.sim.fake_network import DOWN, UP, Clock, Network, SimLinks, Weather
from tests.sim.oracle import Oracle, Violation

ADDRESS = "127.0.0.1:1"
CoreFactory = Callable[..., RaftCore]


@dataclass(frozen=True)
class Sabotage:
    """Guards switched off, to see that the simulation would notice."""

    no_fsync: bool = False
    forget_votes: bool = False
    core: CoreFactory = RaftCore
    churn: float = 1.0  # how often members change, relative to normal
    dies_after_voting: float = 0.0  # probability that a member is killed right after it voted for another


class LogMachine:
    """Keeps everything it ever applied, in order, so that any difference shows."""

    def __init__(self, node_id: str, oracle: Oracle) -> None:
        self._node_id = node_id
        self._oracle = oracle
        self.items: list[tuple[int, bytes]] = []

    def apply(self, index: int, term: int, payload: bytes) -> object:
        if self.items and index <= self.items[-1][0]:
            raise Violation(f"{self._node_id} applies {index} after {self.items[-1][0]}")
        self._oracle.on_apply(self._node_id, index, payload)
        self.items.append((index, payload))
        if payload.endswith(b"!"):
            raise ValueError("contained")
        return index

    def snapshot(self) -> object:
        return tuple(self.items)

    def dump(self, image: object) -> Iterator[bytes]:
        for index, payload in image:  # type: ignore[attr-defined]
            yield index.to_bytes(8, "little") + len(payload).to_bytes(4, "little") + payload

    def read(self, data: bytes | memoryview) -> object:
        items, place = [], 0
        while place < len(data):
            length = int.from_bytes(data[place + 8 : place + 12], "little")
            payload = bytes(data[place + 12 : place + 12 + length])
            items.append((int.from_bytes(data[place : place + 8], "little"), payload))
            place += 12 + length
        return tuple(items)

    def load(self, image: object, index: int) -> None:
        self.items = list(image)  # type: ignore[call-overload]


@dataclass
class SimMember:
    """One machine: its platter survives its process."""

    node_id: str
    platter: Platter
    members: tuple[Member, ...]
    joining: bool
    core: RaftCore | None = None
    machine: LogMachine = field(init=False)
    wake_at: float = 0.0
    frozen_until: float = 0.0
    restart_at: float = 0.0
    commit_seen: int = 0
    vote_seen: str | None = None
    incarnation: int = 0
    links: SimLinks = field(init=False)


class World:
    """The cluster, its faults and its clients; `run` plays one seed."""

    def __init__(
        self, seed: int, sabotage: Sabotage, *, members: int | None = None, compact_entries: int | None = None
    ) -> None:
        """A cluster of as many members, and as eager to compact, as given, or as the seed says."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.sabotage = sabotage
        self.clock = Clock()
        self.network = Network(self.rng, self.clock)
        self.oracle = Oracle()
        self.members: dict[str, SimMember] = {}
        self.jobs: list[tuple[float, str, int, Callable[[], None]]] = []
        self.steps = 0
        self.started = 0
        drawn = self.rng.choice((8, 20, 60, 100_000)), self.rng.choice((1, 3, 3, 3, 5))
        self.compact_entries = compact_entries or drawn[0]
        founding = tuple(Member(f"m{n}", ADDRESS) for n in range(members or drawn[1]))
        self.next_id = len(founding)
        for member in founding:
            self.new_member(member.node_id, founding, joining=False)

    # ---------------------------------------------------------------------------------- processes

    def new_member(self, node_id: str, members: tuple[Member, ...], *, joining: bool) -> None:
        platter = Platter(
            random.Random(f"{self.seed}/{node_id}/disk"),
            lies=self.sabotage.no_fsync,
            forgets_votes=self.sabotage.forget_votes,
        )
        self.members[node_id] = SimMember(node_id, platter, members, joining)
        self.start(self.members[node_id])

    def start(self, member: SimMember) -> None:
        member.incarnation += 1
        member.commit_seen = 0
        member.machine = LogMachine(member.node_id, self.oracle)
        member.links = SimLinks(self.network, member.node_id)
        incarnation = member.incarnation
        config = RaftConfig(
            data_dir=Path("/nowhere"),
            node_id=member.node_id,
            listen=ADDRESS,
            advertise=ADDRESS,
            cluster_id="sim",
            members=member.members,
            joining=member.joining,
            compact_entries=self.compact_entries,
            snapshot_chunk_bytes=200,
            append_batch_bytes=400,
            max_proposal_bytes=200,
        )
        try:
            member.core = self.sabotage.core(
                config,
                member.machine,
                disk=FakeDisk(member.platter, member.node_id),
                links=member.links,
                clock=self.clock,
                rng=random.Random(f"{self.seed}/{member.node_id}/{incarnation}"),
                sleep=lambda sleep_s: self._slept(member, sleep_s),
                background=lambda job: self._later(member, job),
            )
        except PowerCut:
            self.crash(member, power=True)
            return
        except (OSError, RaftError) as error:
            if not member.platter.full:
                raise Violation(f"{member.node_id} does not start: {error}") from error
            self.crash(member, power=False)
            return
        member.commit_seen = member.core.applied_index
        member.wake_at = self.clock.now
        self.started += 1

    def _slept(self, member: SimMember, sleep_s: float) -> None:
        member.wake_at = self.clock.now + sleep_s

    def _later(self, member: SimMember, job: Callable[[], None]) -> None:
        self.jobs.append((self.clock.now + self.rng.uniform(0, 0.5), member.node_id, member.incarnation, job))

    def crash(self, member: SimMember, *, power: bool) -> None:
        """The process ends at once; unless it is a power cut, the kernel keeps what it wrote."""
        self.network.leave(member.node_id)
        log_term = member.core.journal.entries[-1][2] if member.core is not None else 0
        member.core = None
        member.platter.crash(power=power)
        member.platter.forget_vote(log_term)
        member.restart_at = self.clock.now + self.rng.uniform(0.05, 3.0)

    def living(self) -> list[SimMember]:
        return [member for member in self.members.values() if member.core is not None]

    # --------------------------------------------------------------------------------------- time

    def advance(self) -> None:
        """Go to the next thing that happens, and let it happen."""
        now = self.clock.now
        due = [member.wake_at for member in self.living() if member.frozen_until <= now]
        due += [job[0] for job in self.jobs]
        due += [self.network.next_arrival, now + 0.05]
        self.clock.now = max(now, min(due))
        self._restart_and_work()
        self.network.keep_links()
        for receiver, sender, frame in self.network.arrived():
            if self.members[receiver].core is not None:
                self.members[receiver].links.inbox.append((sender, frame))
        for member in self.living():
            ready = member.links.inbox or member.wake_at <= self.clock.now
            if ready and member.frozen_until <= self.clock.now:
                self.step(member)

    def _restart_and_work(self) -> None:
        for member in list(self.members.values()):
            if member.core is None and member.restart_at <= self.clock.now:
                self.start(member)
        due = [job for job in self.jobs if job[0] <= self.clock.now]
        self.jobs = [job for job in self.jobs if job[0] > self.clock.now]
        for _, node_id, incarnation, job in due:
            member = self.members[node_id]
            if member.core is not None and member.incarnation == incarnation:
                self._guarded(member, job)
                member.wake_at = self.clock.now

    def step(self, member: SimMember) -> None:
        """What one poll and the tick after it do."""
        self.steps += 1
        self._guarded(member, lambda: self._deliver_and_tick(member))
        if member.core is not None:
            self.oracle.watch(member)
            self._die_after_voting(member, member.core.journal.vote)

    def _die_after_voting(self, member: SimMember, vote: str | None) -> None:
        """A fault of the negative control for votes: without it, two candidates a term are too rare."""
        voted = vote not in (None, member.node_id, member.vote_seen)
        member.vote_seen = vote
        if voted and self.rng.random() < self.sabotage.dies_after_voting:
            self.crash(member, power=False)
            member.restart_at = self.clock.now + 0.001

    def _deliver_and_tick(self, member: SimMember) -> None:
        core = member.core
        assert core is not None
        inbox, member.links.inbox = member.links.inbox, []
        for peer, frame in inbox:
            if frame == UP:
                core.transport.link_up(peer)
            elif frame == DOWN:
                core.transport.link_down(peer)
            else:
                core.transport.frame_received(peer, frame)
        core.step()

    def _guarded(self, member: SimMember, act: Callable[[], None]) -> None:
        try:
            act()
        except PowerCut:
            self.crash(member, power=True)
        except CommittedEntryLost as error:
            raise Violation(f"{member.node_id}: {error}") from error

    # -------------------------------------------------------------------------------------- clients

    def propose(self, number: int) -> None:
        living = self.living()
        leaders = [member for member in living if member.core is not None and member.core.is_leader]
        if not living:
            return
        member = self.rng.choice(leaders or living)
        assert member.core is not None
        payload = b"w%06d" % number + b"x" * self.rng.randrange(60) + (b"!" if self.rng.random() < 0.05 else b"")
        future = member.core.proposals.submit(payload, None, self.clock.now + self.rng.uniform(0.5, 4))
        future.add_done_callback(lambda done: self._outcome(payload, done))
        member.wake_at = self.clock.now

    def _outcome(self, payload: bytes, done: "Future[object]") -> None:
        error = done.exception()
        if isinstance(error, NotCommitted):
            self.oracle.on_refusal(payload)
        elif error is None and isinstance(result := done.result(), int):
            self.oracle.on_ack(payload, result)

    def read(self) -> None:
        living = self.living()
        if not living:
            return
        member = self.rng.choice(living)
        core = member.core
        assert core is not None
        needed = max(self.oracle.acked.values(), default=0)
        incarnation = member.incarnation

        def seen(done: "Future[int]") -> None:
            if done.exception() is None and member.incarnation == incarnation:
                self.oracle.on_read(needed, core.applied_index)

        core.reads.submit(self.clock.now + 1.0).add_done_callback(seen)
        member.wake_at = self.clock.now

    # ------------------------------------------------------------------------------------ the end

    def heal(self) -> None:
        """No more faults: everybody runs, everybody reaches everybody."""
        self.network.heal()
        self.network.weather = Weather()
        for member in self.members.values():
            member.platter.full = False
            member.platter.cut_after = None
            member.frozen_until = 0.0
            member.restart_at = min(member.restart_at, self.clock.now + 0.5)

    def settle(self, limit_s: float = 40.0) -> None:
        """Run until the members agree; a Violation when they never do."""
        self.heal()
        end = self.clock.now + limit_s
        while not self._agreed():
            if self.clock.now > end:
                raise Violation("not converged: " + self._describe())
            self.advance()
        self.oracle.check_end(self._final_members())

    def _final_members(self) -> list[SimMember]:
        leader = self._leader()
        assert leader is not None
        return [self.members[i] for i in leader.journal.membership.members if i in self.members]

    def _leader(self) -> RaftCore | None:
        cores = [member.core for member in self.living() if member.core is not None and member.core.is_ready]
        return max(cores, key=lambda core: core.term, default=None)

    def _agreed(self) -> bool:
        leader = self._leader()
        if leader is None:
            return False
        everybody = self._final_members()
        last = leader.journal.last_index
        voters = leader.journal.membership.voters
        return all(m.core is not None and m.core.applied_index == last and m.node_id in voters for m in everybody)

    def _describe(self) -> str:
        return "; ".join(
            f"{m.node_id}: down"
            if m.core is None
            else f"{m.node_id}: term {m.core.term} {'leads' if m.core.is_leader else 'follows'} "
            f"{m.core.leader_id} last {m.core.journal.last_index} commit {m.core.commit_index} "
            f"applied {m.core.applied_index} voters {sorted(m.core.journal.membership.voters)} "
            f"members {sorted(m.core.journal.membership.members)} "
            f"at {m.core.journal.membership.index} linked {sorted(m.core.transport.connected)}"
            for m in self.members.values()
        )


def quiet() -> None:
    """The faults are ours: what the members say about them would fill the screen."""
    logging.disable(logging.CRITICAL)
