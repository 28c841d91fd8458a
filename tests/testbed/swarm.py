"""A Raftswarm cluster on the hosts of a testbed, formed and asked as a person would: with swarm-cli, on the hosts.

The first hosts are managers and workers, the others workers. Nothing of the product is imported here, so that what
tests and the demo see is what users see.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.testbed.cluster import in_parallel
from tests.testbed.errors import CommandFailed, HostUnavailable
from tests.testbed.host import Host
from tests.testbed.process import wait_until

API_PORT = 2377
STATE_DIR = Path("/var/lib/raftswarm")
DAEMON = ("swarm-worker",)
READY = "READY_STATE"

Document = dict[str, Any]


class Swarm:
    """The cluster on these hosts. It holds no state: any object made for the same hosts sees the same cluster."""

    def __init__(self, hosts: Sequence[Host], managers: int = 3) -> None:
        self.hosts = list(hosts)
        self.managers = self.hosts[:managers]

    # -- life

    def form(self) -> None:
        """Make the cluster: init on the first host, join the others; all hosts ready. Idempotent.

        A host that was a node before (its disk says so) gets its daemon started again instead.
        """
        in_parallel(self._start_known_daemon, self.hosts)
        first = self.hosts[0]
        if not self._is_node(first):
            first.run(["swarm-cli", "init", "--advertise-addr", first.address])
            self._start_at_boot(first)
        newcomers = [host for host in self.hosts[1:] if not self._is_node(host)]
        if newcomers:
            tokens = {role: self.cli("join-token", "-q", role).stdout.strip() for role in ("manager", "worker")}
            in_parallel(
                lambda host: self._join(host, tokens["manager" if host in self.managers else "worker"]), newcomers
            )
        self.wait_ready()

    def start_daemon(self, host: Host) -> None:
        """Start a node's daemon, as the machine's init system would after it died."""
        host.spawn(DAEMON, host.folder / "daemon.log")

    # -- asking

    def cli(
        self, *words: str | Path, host: Host | None = None, check: bool = True, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run swarm-cli on a host, or on the first manager that can run it."""
        chosen = host or self._some_manager()
        return chosen.run(["swarm-cli", *words], check=check, timeout_s=timeout_s)

    def ask(self, *words: str, host: Host | None = None) -> Any:
        """What a reading command answers, as data."""
        said = self.cli(*words, "--format", "json", host=host).stdout
        try:
            return json.loads(said)
        except json.JSONDecodeError as error:
            raise CommandFailed(f"swarm-cli {' '.join(words)} printed no JSON but: {said[:200]!r}") from error

    def nodes(self) -> list[Document]:
        found: list[Document] = self.ask("node", "ls")["nodes"]
        return found

    def leader(self) -> Host:
        """The host whose manager leads. Raises HostUnavailable while there is none."""
        for node in self.nodes():
            if (node.get("manager_status") or {}).get("leader"):
                return self._host(node["description"]["hostname"])
        raise HostUnavailable("the cluster has no leader at this moment")

    def tasks(self, stack: str) -> list[Document]:
        """The stack's tasks that are wanted running."""
        found: list[Document] = self.ask("stack", "ps", stack)["tasks"]
        return [task for task in found if task["desired_state"] == "RUNNING"]

    def running(self, stack: str) -> int:
        return [task["status"]["state"] for task in self.tasks(stack)].count("RUNNING")

    # -- waiting

    def wait_ready(self, count: int | None = None, timeout_s: float = 60) -> float:
        """Wait until so many nodes (all, by default) are ready; return the seconds that took."""
        wanted = len(self.hosts) if count is None else count

        def ready() -> bool:
            return [node["status"]["state"] for node in self.nodes()].count(READY) == wanted

        return self.wait(ready, f"{wanted} ready nodes", timeout_s)

    def wait_running(self, stack: str, count: int, timeout_s: float = 60) -> float:
        """Wait until exactly so many tasks of a stack run; return the seconds that took."""
        return self.wait(lambda: self.running(stack) == count, f"{count} running tasks of {stack}", timeout_s)

    def wait(self, probe: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Wait for a state; while no manager can be asked (an election) the answer is `not yet`."""

        def answered() -> bool:
            try:
                return probe()
            except (CommandFailed, HostUnavailable):
                return False

        return wait_until(answered, what, timeout_s, period_s=0.1)

    def describe(self, lines: int = 15) -> str:
        """What a person needs to see when something went wrong: nodes, and the end of every log."""
        parts = [f"node ls:\n{self._try('node', 'ls')}"]
        for host in self.hosts:
            for log in self._logs(host):
                text = log.read_text(errors="replace").splitlines()[-lines:]
                parts.append(f"{host.name} {log.name}:\n" + "\n".join(text))
        return "\n\n".join(parts)

    # -- inside

    def _join(self, host: Host, token: str) -> None:
        host.run(["swarm-cli", "join", "--token", token, f"{self.hosts[0].address}:{API_PORT}"])
        self._start_at_boot(host)

    def _start_at_boot(self, host: Host) -> None:
        host.forget_boot_commands()
        host.at_boot(DAEMON)

    def _start_known_daemon(self, host: Host) -> None:
        runs = any(process.name == DAEMON[0] for process in host.processes())
        if self._is_node(host) and not runs:
            self.start_daemon(host)

    def _is_node(self, host: Host) -> bool:
        return host.run(["test", "-e", STATE_DIR / "node" / "node.json"], check=False).returncode == 0

    def _some_manager(self) -> Host:
        for host in self.managers:
            if host.powered() and not host.cgroup.frozen():
                return host
        raise HostUnavailable("no host with a manager is powered on")

    def _host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def _try(self, *words: str) -> str:
        try:
            done = self.cli(*words, check=False, timeout_s=15)
        except (CommandFailed, HostUnavailable) as error:
            return str(error)
        return done.stdout + done.stderr

    def _logs(self, host: Host) -> list[Path]:
        init = host.init()
        inside = Path(f"/proc/{init.pid}/root{STATE_DIR}/log") if init else host.folder / "raftswarm" / "log"
        ours = (host.folder / name for name in ("boot.log", "daemon.log"))
        return [*sorted(inside.glob("*.log")), *(log for log in ours if log.exists())]
