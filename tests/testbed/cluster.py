"""A testbed: a switch and the hosts on it, brought up, looked at and taken away as one.

What exists is told by the disk and the kernel, never by this process: any later process, also after a crash, finds
the testbed by its name alone and can use it or take it down.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

from tests.testbed import cgroup, requirements
from tests.testbed.engine import DEFAULT_OPTIONS, EngineError
from tests.testbed.errors import HostUnavailable
from tests.testbed.host import Host
from tests.testbed.images import catalogue, seed
from tests.testbed.layout import MAX_HOSTS, Layout, host_index, root_folder
from tests.testbed.switch import Switch

T = TypeVar("T")


@dataclass(frozen=True)
class HostStatus:
    """How a host is, seen from outside."""

    name: str
    address: str
    power: str  # on | off | frozen
    link: str  # in | cut | none
    engine: str  # up | down
    containers: int | None  # running ones; None when nobody can tell
    memory_mib: int
    programs: list[str]


class Testbed:
    """The testbed of a name. `with Testbed(...)` takes it down at the end, whatever happens inside."""

    __test__ = False  # nothing for pytest to collect

    def __init__(self, name: str | None = None, root: Path | None = None) -> None:
        self.layout = Layout.of(name, root)
        self.switch = Switch(self.layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # -- what there is

    @property
    def hosts(self) -> list[Host]:
        """The hosts that have a disk, in order."""
        found = (entry.name for entry in self.layout.folder.glob("n*") if entry.is_dir())
        return [Host(self.layout, self.switch, name) for name in sorted(found, key=host_index)]

    def host(self, name: str) -> Host:
        """The host called `n1`...; HostUnavailable when there is no such host."""
        host_index(name)
        if not self.layout.host_folder(name).is_dir():
            there = ", ".join(host.name for host in self.hosts) or "no host; make some with up"
            raise HostUnavailable(f"there is no host {name} on the testbed {self.layout.name}: it has {there}")
        return Host(self.layout, self.switch, name)

    def named(self, names: str) -> list[Host]:
        """The hosts of a list like `n1,n2`."""
        return [self.host(name) for name in names.split(",") if name]

    def engine_options(self) -> tuple[str, ...] | None:
        """The options every engine of this testbed is started with; None: its hosts have no engines."""
        with contextlib.suppress(FileNotFoundError):
            options = json.loads(self.layout.state_file.read_text())["engine_options"]
            return None if options is None else tuple(options)
        return DEFAULT_OPTIONS

    def status(self) -> list[HostStatus]:
        ports = self.switch.ports()
        return in_parallel(lambda host: _status(host, ports), self.hosts)

    # -- up and down

    def up(
        self,
        count: int,
        engine_options: Sequence[str] | None = None,
        images: Sequence[str] = (),
        *,
        engines: bool = True,
    ) -> list[Host]:
        """Have hosts n1 to n<count> powered on, their engines answering and having these images. Idempotent.

        `engine_options` replaces DEFAULT_OPTIONS for this testbed from now on; so does `engines=False`, which spares
        hosts of managers alone their engines.
        """
        if not 1 <= count <= MAX_HOSTS:
            raise HostUnavailable(f"a testbed of {count} hosts cannot be made: ask for 1 to {MAX_HOSTS}")
        requirements.check()
        with self._locked():
            self._remember(self.engine_options() if engine_options is None else engine_options, engines)
            self.switch.up()
            hosts = [Host(self.layout, self.switch, self.layout.host_name(index + 1)) for index in range(count)]
            self._boot(hosts, images)
        return hosts

    def renew(self, count: int, images: Sequence[str] = ()) -> list[Host]:
        """Throw all hosts with their disks away and boot new ones: quicker and surer than cleaning up."""
        with self._locked():
            in_parallel(lambda host: host.destroy(), self.hosts)
        self.switch.down()
        return self.up(count, images=images)

    def down(self) -> None:
        """Remove every trace: processes, mounts, namespaces, control groups, disks. Works after any crash."""
        with self._locked():
            known = {host.name for host in self.hosts} | set(cgroup.hosts_of(self.layout.name))
            hosts = [Host(self.layout, self.switch, name) for name in sorted(known)]
            in_parallel(lambda host: host.destroy(), hosts)
            self.switch.down()
            cgroup.remove_empty_parents(self.layout.name)
            shutil.rmtree(self.layout.folder)
        with contextlib.suppress(OSError):
            self.layout.root.rmdir()  # stays while another testbed stands there

    def power_on(self, host: Host) -> None:
        """Boot a host again with the engine options of this testbed."""
        host.power_on(self.engine_options())

    def _boot(self, hosts: Sequence[Host], names: Sequence[str]) -> None:
        images = catalogue.build(names) if names else []
        blank = [host for host in hosts if seed.is_blank(host)] if images else []
        if blank and not seed.exists(images):
            self.power_on(blank[0])
            catalogue.load(blank[:1], names)
            seed.capture(blank.pop(0), images)
        for host in blank:
            seed.plant(host, images)
        in_parallel(self.power_on, hosts)
        if names:
            catalogue.load(hosts, names)

    def _remember(self, options: Sequence[str] | None, engines: bool) -> None:
        kept = None if options is None or not engines else list(options)
        self.layout.state_file.write_text(json.dumps({"engine_options": kept}) + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time bring this testbed up or down. The lock is its folder."""
        while True:
            self.layout.folder.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.layout.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                if _is_still(self.layout.folder, folder):
                    yield
                    return
            finally:
                os.close(folder)


def all_names() -> list[str]:
    """The names of all testbeds on this machine, whole or in ruins."""
    folders = {entry.name for entry in root_folder().glob("*") if entry.is_dir()}
    return sorted(folders | set(cgroup.testbeds()))


def status_as_dicts(statuses: Iterable[HostStatus]) -> list[dict[str, object]]:
    return [asdict(status) for status in statuses]


def _is_still(folder: Path, opened: int) -> bool:
    """Whether the folder we locked is the one at this path, and not one that a `down` removed meanwhile."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def in_parallel(work: Callable[[Host], T], hosts: Sequence[Host]) -> list[T]:
    """Do it on all hosts at once; the first error is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=max(len(hosts), 1)) as pool:
        return list(pool.map(work, hosts))


def _status(host: Host, ports: dict[str, bool]) -> HostStatus:
    answers = host.powered() and not host.cgroup.frozen() and host.engine.answers()
    return HostStatus(
        name=host.name,
        address=host.address,
        power=_power(host),
        link={True: "in", False: "cut", None: "none"}[ports.get(host.name)],
        engine="up" if answers else "down",
        containers=_running_containers(host) if answers else None,
        memory_mib=sum(host.memory_bytes().values()) // 2**20,
        programs=sorted({process.name for process in host.processes()} - {"docker-init", "sleep"}),
    )


def _power(host: Host) -> str:
    if not host.powered():
        return "off"
    return "frozen" if host.cgroup.frozen() else "on"


def _running_containers(host: Host) -> int | None:
    try:
        return len(host.engine.containers())
    except (OSError, EngineError):
        return None  # it went down while we looked
