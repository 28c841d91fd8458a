"""The worker's side of DNS: makes the zones and keeps the resolver process (resolver.py) serving them.

The resolver is not the worker's limb: it is left running when the worker ends, found again by its control socket when
the next one starts, and replaced without a gap when it runs other code than ours. A connection that nothing is ever
sent on tells its death at once.
"""

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from swarm_worker.net import resolver
from swarm_worker.net.errors import ResolverError
from swarm_worker.net.plan import NetworkView, WantedNetwork
from swarm_worker.net.zones import NetworkZone, Zones

_START_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 5.0
_POLL_S = 0.02
_RESTART_DELAY_S = 1.0
_STEADY_AFTER_S = 5.0  # one that dies sooner than this is not brought back at once
_STEADY_AFTER_S = 30.0


def zones_of(plan: WantedNetwork) -> Zones:
    """The zones of all networks of a node."""
    networks = {network_id: _zone(network) for network_id, network in plan.networks.items()}
    askers = {address: sorted(found) for address, found in sorted(plan.addresses().items()) if len(found) > 1}
    return Zones(networks, askers)


def _zone(network: NetworkView) -> NetworkZone:
    names: dict[str, list[str]] = {}
    reverse: dict[str, str] = {}
    for service in network.services:
        serving = network.serving(service.service_id)
        answer = (service.virtual_ip,) if service.virtual_ip else serving
        for name in {service.name, *service.aliases}:
            _merge(names, name.lower(), answer)
            _merge(names, f"tasks.{name.lower()}", serving)
    for service in network.services:  # a service's own name is its alone, whoever has it as an alias
        serving = network.serving(service.service_id)
        names[service.name.lower()] = list((service.virtual_ip,) if service.virtual_ip else serving)
        names[f"tasks.{service.name.lower()}"] = list(serving)
        _add_task_names(network, service.service_id, service.name.lower(), names, reverse)
    ordered = {name: names[name] for name in sorted(names)}
    return NetworkZone(network.gateway, network.subnet, ordered, reverse)


def _merge(names: dict[str, list[str]], name: str, found: tuple[str, ...]) -> None:
    known = names.setdefault(name, [])
    known.extend(address for address in found if address not in known)


def _add_task_names(
    network: NetworkView, service_id: str, name: str, names: dict[str, list[str]], reverse: dict[str, str]
) -> None:
    """`web.3` for the serving task in slot 3, and back."""
    for endpoint in network.serving_endpoints(service_id):
        task = f"{name}.{endpoint.slot or endpoint.node_id}"
        names.setdefault(task, [endpoint.address])
        reverse[endpoint.address] = task


class ResolverProcess:
    """The resolver of a run directory, from outside."""

    def __init__(
        self, run_dir: Path, log_file: Path, resolv_conf: Path = Path("/etc/resolv.conf"), port: int = 53
    ) -> None:
        self._run_dir = run_dir
        self._log_file = log_file
        self._arguments = [str(run_dir), str(resolv_conf), str(port)]
        self._published: dict[str, Any] | None = None
        self._lock = threading.RLock()  # the watching thread starts a new one while we publish
        self._children: list[subprocess.Popen[bytes]] = []  # the newest last; earlier ones until they ended
        self._watch: socket.socket | None = None
        self._started_at = -_STEADY_AFTER_S
        self._closed = threading.Event()

    def publish(self, zones: Zones) -> dict[str, str]:
        """Have a resolver of our version serve these zones; lookups from now on see them.

        Returns the gateways it cannot listen on, each with the reason. Raises ResolverError.
        """
        with self._lock:
            document = zones.as_json()
            fresh = document != self._published or not self._sequence()
            if fresh:
                self._write(document)
            status = self._ensure()
            if fresh or status["sequence"] != self._sequence():
                status = self._command("load")
            if "failed" in status:
                raise ResolverError(f"The resolver could not load its zones: {status['failed']}.")
            self._published = document
            errors: dict[str, str] = status["errors"]
            return errors

    def stop(self) -> None:
        """End the resolver: the node takes part in no network any more."""
        with self._lock:
            self._unwatch()
            self._published = None
            if not (self._run_dir / resolver.CONTROL_SOCKET).exists():
                return
            with contextlib.suppress(ResolverError):
                self._command("stop")
            self._wait_for_children()
            for name in (resolver.ZONES_FILE, resolver.CONTROL_SOCKET, resolver.PID_FILE):
                (self._run_dir / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it. It goes on serving."""
        self._closed.set()
        with self._lock:
            self._unwatch()

    # -- its files and its socket

    def _write(self, document: dict[str, Any]) -> None:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        path = self._run_dir / resolver.ZONES_FILE
        new = path.with_suffix(".new")
        try:
            new.write_text(json.dumps({**document, "sequence": self._sequence() + 1}))
            new.replace(path)
        except OSError as error:
            raise ResolverError(f"The zones file {path} could not be written: {error.strerror}.") from error

    def _sequence(self) -> int:
        """Of the zones file; it only grows, also over restarts of the worker."""
        try:
            return int(json.loads((self._run_dir / resolver.ZONES_FILE).read_text())["sequence"])
        except (OSError, ValueError, KeyError):
            return 0

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.connect(str(self._run_dir / resolver.CONTROL_SOCKET))
        except OSError as error:
            connection.close()
            raise ResolverError(f"The resolver does not answer: {error}.") from error
        return connection

    def _command(self, operation: str) -> dict[str, Any]:
        with self._connect() as connection, connection.makefile("rb") as answers:
            try:
                connection.sendall(json.dumps({"op": operation}).encode() + b"\n")
                status: dict[str, Any] = json.loads(answers.readline())
            except (OSError, ValueError) as error:
                raise ResolverError(f"The resolver does not answer: {error}.") from error
        return status

    # -- its life

    def _ensure(self) -> dict[str, Any]:
        """Have a resolver of our version that is watched; return its status."""
        self._reap()
        status = self._status_or_none()
        if status is None or status["version"] != resolver.version():
            self._unwatch()
            status = self._start()
        if self._watch is None and not self._closed.is_set():
            self._watch = self._connect()
            self._watch.settimeout(None)
            threading.Thread(target=self._watched, args=(self._watch,), name="resolver-watch", daemon=True).start()
        return status

    def _status_or_none(self) -> dict[str, Any] | None:
        with contextlib.suppress(ResolverError):
            return self._command("status")
        return None

    def _start(self) -> dict[str, Any]:
        """Start one; it takes over from whatever serves now."""
        self._started_at = time.monotonic()
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "swarm_worker.net.resolver", *self._arguments]
        try:
            with self._log_file.open("ab") as log:
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
                )
        except OSError as error:
            raise ResolverError(f"The resolver could not be started: {error}.") from error
        self._children.append(child)
        status = self._wait_until_serving(child)
        self._reap()  # the one it replaced
        return status

    def _wait_until_serving(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise ResolverError(f"The resolver ended at once; its log {self._log_file} says why.")
            status = self._status_or_none()
            if status is not None and status["pid"] == child.pid:
                return status
            time.sleep(_POLL_S)
        raise ResolverError(f"The resolver did not start within {_START_TIMEOUT_S:.0f} s; see {self._log_file}.")

    def _watched(self, connection: socket.socket) -> None:
        """In a thread: wait for the resolver's death, then start another one."""
        with contextlib.suppress(OSError):
            connection.recv(1)
        first_s = 0.0 if time.monotonic() - self._started_at > _STEADY_AFTER_S else _RESTART_DELAY_S
        for delay_s in itertools.chain([first_s], itertools.repeat(_RESTART_DELAY_S)):
            if self._closed.wait(delay_s):
                return
            with self._lock:
                if self._watch is not connection:
                    return  # it was stopped or replaced on purpose
                self._unwatch()
                with contextlib.suppress(ResolverError):
                    self._ensure()
                    return
                self._watch = connection  # still ours to bring back

    def _unwatch(self) -> None:
        if self._watch is not None:
            with contextlib.suppress(OSError):
                self._watch.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
            self._watch.close()
            self._watch = None

    def _wait_for_children(self) -> None:
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_ANSWER_TIMEOUT_S)
        self._reap()

    def _reap(self) -> None:
        """Collect the children that ended."""
        self._children = [child for child in self._children if child.poll() is None]
