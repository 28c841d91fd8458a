"""A cluster in one thread: the real RaftCore on a fake clock, network and disk, driven by one seed."""

import json
import logging
import random
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import pysyncobj.syncobj as stock
from swarm_manager.raft.config import Member, RaftConfig
from swarm_manager.raft.core import RaftCore
from swarm_manager.raft.errors import RaftError
from swarm_manager.raft.guard import CommittedEntryLost
from swarm_manager.raft.keys import KeyFile
from swarm_manager.raft.seal import Writer
from swarm_manager.raft.sealed_disk import SealedDisk, open_disk

from tests.sim.clocks import Clock, MemberClock
from tests.sim.fake_disk import FakeDisk, Platter, PowerCut
from tests.sim.fake_network import DOWN, UP, Network, SimLinks, Weather
from tests.sim.log_workload import LogWorkload
from tests.sim.oracle import Oracle, Violation
from tests.sim.workload import Machine, Workload

ADDRESS = "127.0.0.1:1"
IDLE_S = 0.05  # time goes on by this much when nothing happens
UNLOCK_KEY = b"k" * 32
CoreFactory = Callable[..., RaftCore]


@dataclass(frozen=True)
class Sabotage:
    """Guards switched off, to see that the simulation would notice."""

    no_fsync: bool = False
    forget_votes: bool = False
    core: CoreFactory = RaftCore
    workload: Callable[[], Workload] | None = None  # None: as the seed says
    members: int | None = None  # as above
    compact_entries: int | None = None  # as above
    reads: float = 1.0  # how often clients read, relative to normal
    churn: float = 1.0  # how often members change, as above
    disk_faults: float = 1.0  # how often disks fill up or fail, as above
    dies_after_voting: float = 0.0  # probability that a member is killed right after it voted for another


@dataclass
class SimMember:
    """One machine: its platter and its clock survive its process."""

    node_id: str
    platter: Platter
    clock: MemberClock
    members: tuple[Member, ...]
    joining: bool
    core: RaftCore | None = None
    machine: Machine = field(init=False)
    links: SimLinks = field(init=False)
    wake_at: float = 0.0
    frozen_until: float = 0.0
    restart_at: float = 0.0
    commit_seen: int = 0
    promised: tuple[int, str | None] = (0, None)  # the term and vote it made durable
    vote_seen: str | None = None
    snapshot_seen: int = 0
    incarnation: int = 0
    keys: Platter = field(init=False)

    def __post_init__(self) -> None:
        self.keys = Platter(random.Random(self.node_id))

    def open_disk(self) -> SealedDisk:
        """The platter as a manager opens it, each time with a new data key, so that files sealed with several meet."""
        draw = random.Random(f"{self.node_id}/{self.incarnation}").randbytes
        keys = KeyFile(FakeDisk(self.keys, self.node_id), draw)
        unlock_key = UNLOCK_KEY if keys.is_locked else None
        disk = open_disk(FakeDisk(self.platter, self.node_id), keys, unlock_key, random=draw)
        disk.ring.wrap(UNLOCK_KEY, as_of=0)
        disk.ring.keep(disk.keys_in_use())
        return disk

    def forget_vote(self, term: int) -> None:
        """As if term and vote were kept in memory only: all that is known is the term of the last log entry."""
        if "vote" in self.platter.files:
            body = json.dumps({"term": term, "vote": None}).encode()
            writer = Writer(self.open_disk().ring.current, "vote", random.Random(self.node_id).randbytes)
            self.platter.put("vote", writer.seal(zlib.crc32(body).to_bytes(4, "little") + body))


class World:
    """The cluster, its faults and its clients."""

    def __init__(
        self, seed: int, sabotage: Sabotage, *, members: int = 3, compact_entries: int = 100_000, drift: float = 0.0
    ) -> None:
        """`drift`: how far from true the members' clocks may run; 0.1 is 10 % fast or slow."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.sabotage = sabotage
        self.clock = Clock()
        self.network = Network(self.rng, self.clock)
        self.oracle = Oracle(watch_votes=not sabotage.forget_votes)
        self.workload: Workload = (sabotage.workload or LogWorkload)()
        self.stats: Counter[str] = Counter()
        self.members: dict[str, SimMember] = {}
        self.job_s = 0.5  # at most, until what runs beside a Raft thread is through
        self.jobs: list[tuple[float, str, int, Callable[[], None]]] = []
        self.steps = 0
        self.compact_entries = compact_entries
        self.drift = drift
        founding = tuple(Member(f"m{n}", ADDRESS) for n in range(members))
        self.next_id = len(founding)
        for member in founding:
            self.new_member(member.node_id, founding, joining=False)

    # ---------------------------------------------------------------------------------- processes

    def new_member(self, node_id: str, members: tuple[Member, ...], *, joining: bool) -> None:
        platter = Platter(
            random.Random(f"{self.seed}/{node_id}/disk"),
            lies=self.sabotage.no_fsync,
        )
        member = SimMember(node_id, platter, MemberClock(self.clock), members, joining)
        if self.drift:
            member.clock.boot(self.rng.uniform(0, 1e6))
            self.disturb_clock(member)
        self.members[node_id] = member
        self.start(member)

    def disturb_clock(self, member: SimMember) -> None:
        """This member's clock runs at another speed from now on."""
        member.clock.set_rate(1 + self.rng.uniform(-self.drift, self.drift))

    def start(self, member: SimMember) -> None:
        member.incarnation += 1
        member.commit_seen = 0
        member.machine = self.workload.machine(member.node_id)
        member.links = SimLinks(self.network, member.node_id)
        incarnation, clock = member.incarnation, stock.monotonicTime  # a member may start within another's step
        try:
            member.core = self.sabotage.core(
                self._config(member),
                member.machine,
                disk=member.open_disk(),
                links=member.links,
                clock=member.clock,
                rng=random.Random(f"{self.seed}/{member.node_id}/{incarnation}"),
                sleep=lambda sleep_s, _: self._slept(member, sleep_s),
                background=lambda job: self._later(member, job),
            )
        except PowerCut:
            self.crash(member, power=True)
            return
        except (OSError, RaftError) as error:
            if not (member.platter.full or member.platter.failing):
                raise Violation(f"{member.node_id} does not start: {error}") from error
            self.crash(member, power=False)
            return
        finally:
            if self.drift:
                stock.monotonicTime = clock
        member.commit_seen = member.core.applied_index
        member.snapshot_seen = member.core.snapshots.last_index
        member.wake_at = self.clock.now
        self.stats["restarts"] += incarnation > 1
        self.stats["torn tails cut"] += member.core.journal.torn_bytes > 0
        self.oracle.watch(member)

    def _config(self, member: SimMember) -> RaftConfig:
        return RaftConfig(
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

    def _slept(self, member: SimMember, sleep_s: float) -> None:
        member.wake_at = self.clock.now + sleep_s / member.clock.rate

    def _later(self, member: SimMember, job: Callable[[], None]) -> None:
        self.jobs.append((self.clock.now + self.rng.uniform(0, self.job_s), member.node_id, member.incarnation, job))

    def crash(self, member: SimMember, *, power: bool) -> None:
        """The process ends at once; unless it is a power cut, the kernel keeps what it wrote."""
        self.network.leave(member.node_id)
        member.platter.crash(power=power)
        if member.core is not None:
            self.stats["power cuts" if power else "crashes"] += 1
            if self.sabotage.forget_votes:
                member.forget_vote(member.core.journal.entries[-1][2])
        member.core = None
        if self.drift:
            member.clock.boot(self.rng.uniform(0, 1e6))
        member.restart_at = self.clock.now + self.rng.uniform(0.05, 3.0)

    def living(self) -> list[SimMember]:
        return [member for member in self.members.values() if member.core is not None]

    # --------------------------------------------------------------------------------------- time

    def advance(self) -> None:
        """Go to the next thing that happens, and let it happen."""
        clock, members = self.clock, self.members
        clock.now = max(clock.now, min(self._next_event(), self.network.next_arrival))
        self._restart_and_work()
        self.network.keep_links()
        for receiver, sender, frame in self.network.arrived():
            if members[receiver].core is not None:
                members[receiver].links.inbox.append((sender, frame))
        for member in list(members.values()):
            ready = member.core is not None and (member.links.inbox or member.wake_at <= clock.now)
            if ready and member.frozen_until <= clock.now:
                self.step(member)

    def _next_event(self) -> float:
        now = self.clock.now
        soonest = now + IDLE_S
        for member in self.members.values():
            if member.wake_at < soonest and member.core is not None and member.frozen_until <= now:
                soonest = member.wake_at
        return min([soonest, *(job[0] for job in self.jobs)])

    def _restart_and_work(self) -> None:
        now = self.clock.now
        for member in list(self.members.values()):
            if member.core is None and member.restart_at <= now:
                self.start(member)
        due = [job for job in self.jobs if job[0] <= now]
        if not due:
            return
        self.jobs = [job for job in self.jobs if job[0] > now]
        for _, node_id, incarnation, job in due:
            member = self.members[node_id]
            if member.core is not None and member.incarnation == incarnation:
                self._guarded(member, job)
                member.wake_at = now

    def step(self, member: SimMember) -> None:
        """What one poll and the tick after it do."""
        self.steps += 1
        self._guarded(member, lambda: self._deliver_and_tick(member))
        if member.core is not None:
            self.oracle.watch(member)
            self._die_after_voting(member, member.core.journal.vote)

    def _die_after_voting(self, member: SimMember, vote: str | None) -> None:
        """A fault of the negative control for votes: without it, two candidates a term are too rare."""
        if not self.sabotage.dies_after_voting:
            return
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
        if core.snapshots.last_index != member.snapshot_seen:
            self._note_snapshot(member, core)

    def _note_snapshot(self, member: SimMember, core: RaftCore) -> None:
        """A snapshot is new here; one that came from the leader moved everything else along with it."""
        member.snapshot_seen = core.snapshots.last_index
        came = core.journal.first_index + 1 == member.snapshot_seen and member.commit_seen < member.snapshot_seen
        self.stats["snapshots installed" if came else "snapshots written"] += 1

    def _guarded(self, member: SimMember, act: Callable[[], None]) -> None:
        if self.drift:
            stock.monotonicTime = member.clock  # PySyncObj's is one a process, and this process has many members
        try:
            act()
        except PowerCut:
            self.crash(member, power=True)
        except CommittedEntryLost as error:
            raise Violation(f"{member.node_id}: {error}") from error

    # -------------------------------------------------------------------------------------- clients

    def somebody_to_ask(self) -> SimMember | None:
        """A living member, and one that leads if there is any."""
        living = self.living()
        leaders = [member for member in living if member.core is not None and member.core.is_leader]
        return self.rng.choice(leaders or living) if living else None

    def propose(self, member: SimMember, payload: bytes) -> "Future[object]":
        """Ask this member to write."""
        assert member.core is not None
        member.wake_at = self.clock.now
        return member.core.proposals.submit(payload, None, member.clock() + self.rng.uniform(0.5, 4))

    def read(self) -> None:
        """A client asks anybody for a linearizable read."""
        living = self.living()
        if not living:
            return
        member = self.rng.choice(living)
        core, incarnation = member.core, member.incarnation
        assert core is not None
        needed = max(self.workload.newest_ack, self.oracle.read_index)

        def seen(done: "Future[int]") -> None:
            if done.exception() is None and member.incarnation == incarnation:
                self.oracle.on_read(needed, core.applied_index)

        core.reads.submit(member.clock() + 1.0).add_done_callback(seen)
        member.wake_at = self.clock.now

    # ------------------------------------------------------------------------------------ the end

    def heal(self) -> None:
        """No more faults: everybody runs, everybody reaches everybody."""
        self.network.heal()
        self.network.weather = Weather()
        for member in self.members.values():
            member.platter.full = member.platter.failing = False
            member.platter.cut_after = None
            member.frozen_until = 0.0
            member.restart_at = min(member.restart_at, self.clock.now + 0.5)

    def settle(self, limit_s: float = 40.0) -> None:
        """Run until the members agree; a Violation when they never do."""
        end = self.clock.now + limit_s
        while not self._agreed():
            if self.clock.now > end:
                raise Violation("not converged: " + self._describe())
            self.advance()

    def check_end(self) -> None:
        """The members agree: a Violation unless their states are the same and hold what was promised."""
        machines = {member.node_id: member.machine for member in self._final_members()}
        contents = {node_id: machine.content() for node_id, machine in machines.items()}
        first = next(iter(contents.values()))
        for node_id, content in contents.items():
            if content != first:
                raise Violation(f"the states differ in the end: {node_id}")
        self.workload.check_end(machines)

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
