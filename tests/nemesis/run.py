"""One run: boot, let clients and faults loose, heal, converge, judge."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.linearizability.history import Outcome
from tests.nemesis.faults import Nemesis
from tests.nemesis.judge import judge
from tests.nemesis.managers import Cluster
from tests.nemesis.recording import Recording
from tests.nemesis.schedule import Fault, Kind, schedule
from tests.testbed.cluster import Testbed
from tests.testbed.errors import NotReached

CLIENTS_END_S = 120.0


@dataclass(frozen=True)
class Order:
    """What is to be run."""

    seed: int
    seconds: float
    kinds: tuple[Kind, ...] = tuple(Kind)
    managers: int = 3
    clients: int = 6
    stale_reads: bool = False

    @property
    def command(self) -> str:
        """How a person runs it again."""
        chosen = "" if self.kinds == tuple(Kind) else f" --faults {','.join(self.kinds)}"
        return f"scripts/nemesis --seed {self.seed} --seconds {self.seconds:g} --managers {self.managers}{chosen}"

    def schedule(self) -> list[Fault]:
        """The faults of its seed."""
        return schedule(self.seed, self.seconds, self.kinds)


@dataclass
class Report:
    """What came of it."""

    faults: list[str] = field(default_factory=list)  # what was not as promised
    kinds: Counter[Kind] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    stale_reads: int = 0
    logs: str = ""

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common())
        total = sum(self.outcomes.values())
        return f"{sum(self.kinds.values())} faults, {total} operations ({counted}), {self.stale_reads} stale looks"


def play(order: Order, bed: Testbed, folder: Path, tell: Callable[[str], None] = print) -> Report:
    """Run it on this testbed, which is new and is taken down again; files go to `folder`."""
    plan = order.schedule()
    with Cluster(bed, order.managers, order.seed) as cluster:
        report = harass(cluster, order, folder, lambda nemesis: nemesis.run(plan, tell))
        report.kinds = Counter(fault.kind for fault in plan)
        if report.faults:
            report.logs = _logs(cluster, folder)
    return report


def harass(cluster: Cluster, order: Order, folder: Path, attack: Callable[[Nemesis], None]) -> Report:
    """Clients on a cluster that stands, whatever `attack` does to it meanwhile, healing, and the verdict."""
    history = folder / f"history-{order.seed}.jsonl"
    nemesis = Nemesis(cluster)
    clients = cluster.clients(history, order.seed, order.clients, stale_reads=order.stale_reads)
    try:
        attack(nemesis)
        nemesis.heal()
        faults = _converge(cluster)
        faults += nemesis.deserters
        faults += _end(clients) or _settle(cluster)
    finally:
        clients.kill()
        clients.wait(10)
    recording = Recording.read(history)
    faults += judge(recording, nemesis.events)
    outcomes = Counter(operation.outcome for operation in recording.operations)
    return Report(faults, outcomes=outcomes, stale_reads=len(recording.stale))


def _converge(cluster: Cluster) -> list[str]:
    """Under load still: all managers are there and elect a leader."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        infos = [manager.info() for manager in cluster.managers]
        if all(infos) and len({info.leader_id for info in infos if info}) == 1 and infos[0] and infos[0].leader_id:
            return []
        time.sleep(0.1)
    return ["after the last fault was healed, the managers did not come to one leader within 60 s"]


def _end(clients: subprocess.Popen[bytes]) -> list[str]:
    try:
        clients.communicate(timeout=CLIENTS_END_S)
    except subprocess.TimeoutExpired:
        return [f"the clients did not come to an end within {CLIENTS_END_S:.0f} s"]
    return []


def _settle(cluster: Cluster) -> list[str]:
    """Without load: the managers' states are equal."""
    try:
        cluster.wait_settled()
    except NotReached as error:
        return [str(error)]
    return []


def _logs(cluster: Cluster, folder: Path) -> str:
    """Copies of the managers' logs: the hosts are about to go."""
    copies = []
    for manager in cluster.managers:
        copy = folder / f"{manager.name}.log"
        copy.write_bytes(manager.log.read_bytes())
        copies.append(str(copy))
    return " ".join(copies)
