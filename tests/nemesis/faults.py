"""What each kind of fault does to the managers, and how it ends."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.nemesis.managers import Cluster, Manager
from tests.nemesis.schedule import Fault, Kind
from tests.testbed import faults as network
from tests.testbed.cluster import in_parallel

SLOW_SYNC_S = 0.5
CLOCK_STEP_S = 50 * 60  # certificates allow for an hour
FLAPS = 4
START_S = 3.0  # a start that met a failing disk may end a little after that does
_DISK_FAILS = frozenset({Kind.FULL_DISK, Kind.BROKEN_DISK})
_ENDS = frozenset({Kind.KILL, Kind.KILL_ALL, Kind.POWER, Kind.POWER_ALL})


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to which managers: `at` and `until` on the clients' clock."""

    kind: Kind
    managers: tuple[str, ...]
    at: float
    until: float

    @property
    def what(self) -> str:
        """In words."""
        return f"{self.kind} of {', '.join(self.managers)}"

    @property
    def restarts(self) -> bool:
        """Whether the process that was there before may not be the one afterwards."""
        return self.kind in _ENDS | _DISK_FAILS


@dataclass
class Nemesis:
    """Carries out a schedule, and heals."""

    cluster: Cluster
    events: list[Event] = field(default_factory=list)
    #: Managers that ended though nobody had killed them and their disks were sound.
    deserters: list[str] = field(default_factory=list)

    def run(self, schedule: list[Fault], tell: Callable[[str], None]) -> None:
        """Do each fault at its time, and end it at its time."""
        start = time.monotonic()
        running: list[tuple[float, _Running]] = []
        steps = sorted(schedule, key=lambda fault: fault.at_s)
        while steps or running:
            now_s = time.monotonic() - start
            self._count()
            for due in [item for item in running if item[0] <= now_s]:
                running.remove(due)
                self._end(due[1])
            if steps and steps[0].at_s <= now_s:
                fault = steps.pop(0)
                tell(str(fault))
                running.append((fault.at_s + fault.lasts_s, self._begin(fault)))
            moments = [item[0] for item in running] + [fault.at_s for fault in steps[:1]]
            if moments:
                time.sleep(max(0.0, min(moments) - (time.monotonic() - start)))

    def heal(self) -> None:
        """No fault any more, and every manager runs."""
        network.heal(self.cluster.bed.switch)
        for manager in self.cluster.managers:
            manager.host.cgroup.thaw()
            manager.disk.heal()
            manager.step_clock(0)
            self._power_on(manager)
            manager.start()

    # ----------------------------------------------------------------------------------------- inside

    def _begin(self, fault: Fault) -> "_Running":
        targets = self._targets(fault)
        at = time.monotonic()
        names = tuple(manager.name for manager in targets)
        event = len(self.events)
        self.events.append(Event(fault.kind, names, at, at + fault.lasts_s))
        _BEGIN[fault.kind](self, targets, fault)
        return _Running(fault, targets, event)

    def _end(self, running: "_Running") -> None:
        _END[running.fault.kind](self, running.targets)
        self.events[running.event] = replace(self.events[running.event], until=time.monotonic())

    def _targets(self, fault: Fault) -> list[Manager]:
        managers = self.cluster.managers
        leader = self.cluster.leader() if fault.target == "leader" else None
        place = None if leader is None else managers.index(leader)
        return [managers[victim] for victim in fault.victims(len(managers), place)]

    def _power_on(self, manager: Manager) -> None:
        self.cluster.bed.power_on(manager.host)

    def _count(self) -> None:
        """Notice managers that ended by themselves: a disk that fails may end a start, and nothing else may."""
        now = time.monotonic()
        failing = [e for e in self.events if e.kind in _DISK_FAILS and now < e.until + START_S]
        for manager in self.cluster.managers:
            if not manager.is_wanted or manager.runs():
                continue
            if not any(manager.name in event.managers for event in failing):
                last = manager.log.read_text(errors="replace").splitlines()[-3:]
                self.deserters.append(f"the manager on {manager.name} ended by itself: {' | '.join(last)}")
            self.restart([manager])  # as its daemon would

    # -- what each kind does

    def kill(self, targets: list[Manager], fault: Fault) -> None:
        """kill -9, all at once."""
        at_once(lambda manager: manager.kill(), self._thawed(targets))

    def restart(self, targets: list[Manager]) -> None:
        """Start what was killed."""
        for manager in targets:
            self._power_on(manager)
            if not manager.host.cgroup.frozen():
                manager.start()

    def freeze(self, targets: list[Manager], fault: Fault) -> None:
        """The hosts stop."""
        for manager in targets:
            if manager.host.powered():
                manager.host.cgroup.freeze()

    def thaw(self, targets: list[Manager]) -> None:
        """They go on."""
        for manager in targets:
            manager.host.cgroup.thaw()

    def partition(self, targets: list[Manager], fault: Fault) -> None:
        """The targets on one side, the other managers on the other; clients reach all."""
        sides = [[m.host for m in targets], [m.host for m in self.cluster.managers if m not in targets]]
        if fault.toss < 0.5:
            sides.reverse()
        network.partition(self.cluster.bed.switch, sides, one_way=fault.kind is Kind.ONE_WAY)

    def join(self, targets: list[Manager]) -> None:
        """Everybody reaches everybody."""
        network.heal(self.cluster.bed.switch)

    def flap(self, targets: list[Manager], fault: Fault) -> None:
        """The cable out and in, again and again; in the end it is in."""
        for _ in range(FLAPS):
            for up in (False, True):
                for manager in targets:
                    if manager.host.powered():
                        self.cluster.bed.switch.set_port(manager.name, up=up)
                time.sleep(fault.lasts_s / FLAPS / 4)

    def slow_disk(self, targets: list[Manager], fault: Fault) -> None:
        """Syncs take up to half a second."""
        for manager in targets:
            manager.disk.slow(SLOW_SYNC_S)

    def full_disk(self, targets: list[Manager], fault: Fault) -> None:
        """No room."""
        for manager in targets:
            manager.disk.fill()

    def broken_disk(self, targets: list[Manager], fault: Fault) -> None:
        """I/O errors."""
        for manager in targets:
            manager.disk.break_()

    def mend_disk(self, targets: list[Manager]) -> None:
        """The disk is sound again; a manager that could not start with it is started, as its daemon would."""
        for manager in targets:
            manager.disk.heal()
            if manager.is_wanted and manager.host.powered() and not manager.host.cgroup.frozen():
                manager.start()

    def clock(self, targets: list[Manager], fault: Fault) -> None:
        """Their wall clocks step."""
        for manager in targets:
            manager.step_clock(CLOCK_STEP_S * (2 * fault.toss - 1))

    def set_clock(self, targets: list[Manager]) -> None:
        """They are set right: another step."""
        for manager in targets:
            manager.step_clock(0)

    def power_off(self, targets: list[Manager], fault: Fault) -> None:
        """Everything that ran is gone, and so is what was not synced."""
        at_once(lambda manager: manager.host.power_off(), targets)
        for manager in targets:
            manager.is_wanted = False
            manager.disk.lose_power()

    def _thawed(self, targets: list[Manager]) -> list[Manager]:
        for manager in targets:
            manager.host.cgroup.thaw()  # what is frozen does not even die
        return targets


@dataclass(frozen=True, slots=True)
class _Running:
    fault: Fault
    targets: list[Manager]
    event: int  # its place in the list


def at_once(work: Callable[[Manager], None], managers: list[Manager]) -> None:
    """Do it to all at once."""
    by_name = {manager.name: manager for manager in managers}
    in_parallel(lambda host: work(by_name[host.name]), [manager.host for manager in managers])


_BEGIN: dict[Kind, Callable[[Nemesis, list[Manager], Fault], None]] = {
    Kind.KILL: Nemesis.kill,
    Kind.KILL_ALL: Nemesis.kill,
    Kind.FREEZE: Nemesis.freeze,
    Kind.PARTITION: Nemesis.partition,
    Kind.ONE_WAY: Nemesis.partition,
    Kind.FLAP: Nemesis.flap,
    Kind.SLOW_DISK: Nemesis.slow_disk,
    Kind.FULL_DISK: Nemesis.full_disk,
    Kind.BROKEN_DISK: Nemesis.broken_disk,
    Kind.CLOCK: Nemesis.clock,
    Kind.POWER: Nemesis.power_off,
    Kind.POWER_ALL: Nemesis.power_off,
}
_END: dict[Kind, Callable[[Nemesis, list[Manager]], None]] = {
    Kind.KILL: Nemesis.restart,
    Kind.KILL_ALL: Nemesis.restart,
    Kind.FREEZE: Nemesis.thaw,
    Kind.PARTITION: Nemesis.join,
    Kind.ONE_WAY: Nemesis.join,
    Kind.FLAP: Nemesis.join,
    Kind.SLOW_DISK: Nemesis.mend_disk,
    Kind.FULL_DISK: Nemesis.mend_disk,
    Kind.BROKEN_DISK: Nemesis.mend_disk,
    Kind.CLOCK: Nemesis.set_clock,
    Kind.POWER: Nemesis.restart,
    Kind.POWER_ALL: Nemesis.restart,
}
