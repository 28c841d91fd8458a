"""A host: what a machine of its own is to everything that runs on it.

A host is a set of namespaces (network, mount, pid, hostname, ipc) held by one process, its init. Inside it a program
finds what it finds on a real machine: `/etc` and `/var/lib` of its own (overlays over the machine's), an empty `/run`
after every boot, its hostname, one network card `eth0`, its engine's socket at `/var/run/docker.sock`. Programs and
the checkout are shared with the machine.

    <testbed>/<host>/      survives power loss, like a disk
        etc/ var/          the upper layers of /etc and /var/lib
        docker/            /var/lib/docker
        raftswarm/         /var/lib/raftswarm (or raftswarm.img, a disk of limited size)
        home/              HOME of what is run in the host
        boot.json          commands started at every boot, as systemd's units would be

kill -9 of the init takes all processes, mounts and devices of the host at once: that is a power loss, and it is how
`down` cleans. (Unlike a real one it spares what was written and not yet synced: the kernel lives on.)
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.cgroup import HostCgroup
from tests.testbed.engine import DEFAULT_OPTIONS, Engine
from tests.testbed.errors import HostUnavailable, TestbedError
from tests.testbed.layout import Layout, host_index, tool_path
from tests.testbed.process import (
    ProcessRef,
    children,
    command_line,
    resident_bytes,
    run,
    send_signal,
    spawn_detached,
    wait_until,
)
from tests.testbed.switch import Switch

_RUNS_SCRIPT = 'echo $$ > "$0" && exec "$@"'  # joins the control group named first, then becomes the rest

# Runs as the first process in the new namespaces. $1 = the host's folder, $2 = its name.
_BOOT = """
set -e
cd /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup     # a sysfs for this network namespace would hide the control groups
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount -l /run/cgroup
rmdir /run/cgroup
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/etc.work" /etc
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$1/var,workdir=$1/var.work" /var/lib
mount --bind "$1/etc/docker" /etc/docker     # hides the machine's own engine settings
mount --bind "$1/docker" /var/lib/docker
if [ -e "$1/raftswarm.img" ]; then mount -o loop "$1/raftswarm.img" /var/lib/raftswarm
else mount --bind "$1/raftswarm" /var/lib/raftswarm; fi
hostname "$2"
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; fi
: > "$1/booted"
exec docker-init -- sleep infinity
"""


@dataclass(frozen=True)
class HostProcess:
    """A process of a host outside containers; `pid` as this machine counts."""

    pid: int
    name: str
    command: str


class Host:
    """One host of a testbed. Nothing is held in memory: every object made for a name sees the same host."""

    def __init__(self, layout: Layout, switch: Switch, name: str) -> None:
        self.name = name
        self.index = host_index(name)
        self.address = layout.address(name)
        self.folder = layout.host_folder(name)
        self.cgroup = HostCgroup.of(layout.name, name)
        self._layout = layout
        self._switch = switch
        self._init_file = self.folder / "init"
        self.engine = Engine(self)

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    # -- power

    def init(self) -> ProcessRef | None:
        """The init of the host while it is powered on."""
        ref = ProcessRef.load(self._init_file)
        return ref if ref is not None and ref.alive() else None

    def powered(self) -> bool:
        return self.init() is not None

    def power_on(self, engine_options: Sequence[str] | None = DEFAULT_OPTIONS) -> None:
        """Boot with the disk as it is: network, engine (unless None), then the boot commands. Idempotent."""
        boots = not self.powered()
        if boots:
            self._clear_remains()
            self._prepare_disk()
            self._start_init()
            self._connect()
        if engine_options is not None and not self.engine.answers():
            self.engine.start(engine_options)
        if boots:
            self._run_boot_commands()

    def power_off(self) -> None:
        """Power loss: kill -9 of everything at once, frozen or not. Nothing happens when it is off."""
        init = self.init()
        if init is not None:
            init.kill()
        self.cgroup.thaw()  # a frozen process dies only when it thaws, and then before it runs a step further
        self._clear_remains()
        if init is not None:  # it leaves its control group before its namespaces are taken down
            wait_until(lambda: not init.alive(), f"the end of {self.name}'s init", timeout_s=20)

    def destroy(self) -> None:
        """Power off and throw the disk away."""
        self.power_off()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            raise TestbedError(f"{self.folder} could not be removed: something in it is mounted or in use")

    def at_boot(self, argv: Sequence[str]) -> None:
        """From now on start this command at every boot, after the engine."""
        self._boot_file.write_text(json.dumps([*self._boot_commands(), list(argv)]))

    def forget_boot_commands(self) -> None:
        self._boot_file.unlink(missing_ok=True)

    # -- processes

    def exec_argv(self, argv: Sequence[str | Path]) -> list[str]:
        """What to run on this machine so that `argv` runs in the host, in the folder we are in."""
        init = self.init()
        if init is None:
            raise HostUnavailable(f"{self.name} is not powered on: `scripts/testbed poweron {self.name}`")
        if self.cgroup.frozen():
            raise HostUnavailable(f"{self.name} is frozen: `scripts/testbed thaw {self.name}`")
        enter = ["nsenter", "-t", str(init.pid), "-m", "-n", "-p", "-i", "-u", f"--wdns={Path.cwd()}", "--"]
        join = ["sh", "-c", _RUNS_SCRIPT, str(self.cgroup.procs_file)]
        return [*join, *enter, *(str(word) for word in argv)]

    def environment(self) -> dict[str, str]:
        """The environment of a root login in the host."""
        kept = {key: os.environ[key] for key in ("TERM", "COLUMNS", "LINES", "NO_COLOR") if key in os.environ}
        fixed = {"LANG": "C.UTF-8", "USER": "root", "SHELL": "/bin/sh", "PYTHONUNBUFFERED": "1"}
        return kept | fixed | {"PATH": tool_path(), "HOME": str(self.folder / "home")}

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout_s: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the host to its end. Raises CommandFailed unless `check` is off."""
        command = self.exec_argv(argv)
        shown = f"{self.name}: `{shlex.join(map(str, argv))}`"
        environment = self.environment()
        return run(command, check=check, stdin=stdin, timeout_s=timeout_s, env=environment, shown=shown)

    def spawn(self, argv: Sequence[str | Path], log: Path) -> int:
        """Start a program in the host that outlives us. Returns the pid of its launcher on this machine."""
        return spawn_detached(self.exec_argv(argv), log, self.environment())

    def processes(self) -> list[HostProcess]:
        """The host's processes outside containers."""
        init = self.init()
        if init is None:
            return []
        namespace = _pid_namespace(init.pid)
        inside = (pid for pid in self.cgroup.own_pids() if _pid_namespace(pid) == namespace)
        return [HostProcess(pid, _program(words), " ".join(words)) for pid in inside if (words := command_line(pid))]

    def kill(self, program: str, number: int = signal.SIGKILL) -> int:
        """Signal all processes of a program (`swarm-manager`, `dockerd`); return how many there were."""
        found = [process.pid for process in self.processes() if process.name == program]
        if not found:
            raise HostUnavailable(f"no {program} runs on {self.name}: `scripts/testbed status` shows what does")
        return sum(send_signal(pid, number) for pid in found)

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory by program, outside containers."""
        total: dict[str, int] = {}
        for process in self.processes():
            total[process.name] = total.get(process.name, 0) + resident_bytes(process.pid)
        return total

    # -- how a host comes up and goes

    def _prepare_disk(self) -> None:
        for part in ("etc/docker", "etc/raftswarm", "var/docker", "var/raftswarm", "docker", "raftswarm", "home"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        for part in ("etc.work", "var.work"):
            (self.folder / part).mkdir(exist_ok=True)
        etc = self.folder / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(self._hosts_file())
        (etc / "resolv.conf").unlink(missing_ok=True)
        (etc / "resolv.conf").write_text("# no name server: the testbed leads nowhere\n")

    def _hosts_file(self) -> str:
        neighbours = (self._layout.host_name(index) for index in range(1, 11))
        lines = [f"{self._layout.address(name)} {name}" for name in neighbours if name != self.name]
        return "\n".join(["127.0.0.1 localhost", f"{self.address} {self.name}", *lines, ""])

    def _start_init(self) -> None:
        self.cgroup.create()
        booted = self.folder / "booted"
        booted.unlink(missing_ok=True)
        namespaces = ["--net", "--mount", "--pid", "--ipc", "--uts", "--propagation", "private", "--mount-proc"]
        unshare = ["unshare", *namespaces, "--fork", "--kill-child"]
        boot = ["sh", "-c", _BOOT, "boot", str(self.folder), self.name]
        join = ["sh", "-c", _RUNS_SCRIPT, str(self.cgroup.procs_file)]
        log = self.folder / "init.log"
        parent = ProcessRef.of(spawn_detached([*join, *unshare, *boot], log, self.environment()))

        def is_up() -> bool:
            if parent is None or not parent.alive():
                raise HostUnavailable(f"{self.name} did not boot: {_tail(log)}")
            return booted.exists()

        wait_until(is_up, f"the boot of {self.name}", timeout_s=15, period_s=0.002)
        assert parent is not None
        self._remember_init(children(parent.pid))

    def _remember_init(self, pids: list[int]) -> None:
        ref = ProcessRef.of(pids[0]) if pids else None
        if ref is None:
            raise HostUnavailable(f"{self.name} went down while it booted: {_tail(self.folder / 'init.log')}")
        ref.save(self._init_file)

    def _connect(self) -> None:
        init = self.init()
        assert init is not None
        self._switch.plug(self.name, init.pid)
        batch = f"addr add {self.address}/24 dev eth0\nlink set eth0 up\n"
        run(["nsenter", "-t", str(init.pid), "-n", "ip", "-batch", "-"], stdin=batch)

    def _clear_remains(self) -> None:
        """After the init's death: wait for the last process, then take away what the kernel leaves."""

        def all_dead() -> bool:
            pids = self.cgroup.all_pids()
            for pid in pids:
                send_signal(pid, signal.SIGKILL)
            return not pids

        wait_until(all_dead, f"the end of {self.name}'s processes", timeout_s=20)
        if self._switch.exists():
            self._switch.unplug(self.name)
        self.cgroup.remove()
        self._init_file.unlink(missing_ok=True)

    @property
    def _boot_file(self) -> Path:
        return self.folder / "boot.json"

    def _boot_commands(self) -> list[list[str]]:
        with contextlib.suppress(FileNotFoundError):
            commands: list[list[str]] = json.loads(self._boot_file.read_text())
            return commands
        return []

    def _run_boot_commands(self) -> None:
        for argv in self._boot_commands():
            self.spawn(argv, self.folder / "boot.log")


def _pid_namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _program(words: list[str]) -> str:
    """The name people know a process by: the script's, when an interpreter runs one."""
    first = Path(words[0]).name
    if first.startswith("python") and len(words) > 1 and not words[1].startswith("-"):
        return Path(words[1]).name
    return first


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(lines[-3:]) or "its log is empty"
