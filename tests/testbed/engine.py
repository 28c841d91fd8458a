"""A host's Docker engine: started, crashed and asked over its socket.

The engine listens on the default `/var/run/docker.sock` inside its host and, for us outside, on `docker.sock` in
the host's folder. Only the little of Docker's API that tests and benchmarks need is spoken here, with the standard
library: the product's own Docker adapter is under test and must not judge itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from tests.testbed.errors import CommandFailed, HostUnavailable
from tests.testbed.process import ProcessRef, wait_until

if TYPE_CHECKING:
    from tests.testbed.host import Host

DEFAULT_OPTIONS = ("--live-restore", "--userland-proxy=false")
# What Docker's swarm mode, the peer in benchmarks, allows: it refuses live-restore.
SWARM_MODE_OPTIONS: tuple[str, ...] = ()


class EngineError(CommandFailed):
    """The engine refused a request. `status` is its HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Engine:
    """The engine of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.socket = host.folder / "docker.sock"
        self.log = host.folder / "dockerd.log"

    def pid(self) -> int | None:
        """dockerd's pid on this machine, or None while it does not run."""
        return next((process.pid for process in self._host.processes() if process.name == "dockerd"), None)

    def start(self, options: Sequence[str] = DEFAULT_OPTIONS, timeout_s: float = 60) -> float:
        """Start dockerd and wait until it answers; return the seconds that took. Nothing happens when it runs."""
        if self.pid() is not None:
            return wait_until(self.answers, f"{self._host.name}: an answer of the engine", timeout_s)
        self._remove_stale_pid_files()
        launcher = self._host.spawn(self._command(options), self.log)
        ref = ProcessRef.of(launcher)

        def ready() -> bool:
            if ref is None or not ref.alive():
                raise HostUnavailable(f"{self._host.name}: dockerd ended at once; its log says: {self._last_words()}")
            return self.answers()

        return wait_until(ready, f"{self._host.name}: the start of the engine", timeout_s)

    def crash(self) -> None:
        """kill -9 dockerd. Containers live on; containerd dies with it."""
        pid = self.pid()
        if pid is None:
            raise HostUnavailable(f"the engine of {self._host.name} does not run: start it with engine-start")
        ref = ProcessRef.of(pid)
        if ref is not None:
            ref.kill()
            wait_until(lambda: not ref.alive(), f"{self._host.name}: the death of dockerd", timeout_s=10)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """dockerd hangs meanwhile: its sockets take calls, and no answer comes. Containers run on."""
        ref = ProcessRef.of(self.pid() or 0)
        if ref is None:
            raise HostUnavailable(f"the engine of {self._host.name} does not run: start it with engine-start")
        ref.kill(signal.SIGSTOP)
        try:
            yield
        finally:
            ref.kill(signal.SIGCONT)

    def answers(self) -> bool:
        try:
            self.request("GET", "/_ping", timeout_s=2)
        except (OSError, http.client.HTTPException, EngineError):
            return False
        return True

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        timeout_s: float = 60,
    ) -> Any:
        """One request; the decoded answer. Raises EngineError for a refusal, OSError when nobody answers."""
        payload = None if body is None else json.dumps(body).encode()
        return self._exchange(method, _with_query(path, query), payload, "application/json", timeout_s)

    def containers(self, *, everything: bool = False, label: str | None = None) -> list[dict[str, Any]]:
        """The containers that run, or with `everything` also those that do not."""
        query: dict[str, object] = {"all": int(everything)}
        if label:
            query["filters"] = {"label": [label]}
        found: list[dict[str, Any]] = self.request("GET", "/containers/json", query=query)
        return found

    def images(self) -> set[str]:
        """The names (with tags) of the images it has."""
        listed = self.request("GET", "/images/json")
        return {name for image in listed for name in image["RepoTags"] or []}

    def load(self, archive: Path) -> None:
        """Load a `docker save` archive."""
        with archive.open("rb") as stream:
            said = self._exchange("POST", "/images/load?quiet=1", stream, "application/x-tar", 300)
        if "errorDetail" in str(said):
            raise EngineError(500, f"{self._host.name}: the engine refused {archive}: {said}")

    def remove_all_containers(self) -> None:
        """Remove every container by force, as fast as the engine can."""
        for container in self.containers(everything=True):
            query = {"force": 1, "v": 1}
            self.request("DELETE", f"/containers/{container['Id']}", query=query)

    def _exchange(self, method: str, path: str, body: bytes | IO[bytes] | None, kind: str, timeout_s: float) -> Any:
        connection = _UnixConnection(self.socket, timeout_s)
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise EngineError(answer.status, f"{self._host.name}: {method} {path}: {_message(raw)}")
        return _decoded(raw)

    def _command(self, options: Sequence[str]) -> list[str]:
        # The cgroup driver is named because Docker would ask systemd, which no host runs.
        return [
            "dockerd",
            "--host=unix:///var/run/docker.sock",
            f"--host=unix://{self.socket}",
            "--log-level=warn",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent={self._host.cgroup.docker_parent}",
            *options,
        ]

    def _remove_stale_pid_files(self) -> None:
        """After a crash another process may have the number in the pid file, and dockerd would refuse to start."""
        files = ["/run/docker.pid", "/run/docker/containerd/containerd.pid"]
        self._host.run(["rm", "-f", *files])

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:]) or "nothing"


def _with_query(path: str, query: Mapping[str, object] | None) -> str:
    if not query:
        return path
    pairs = (
        f"{key}={quote(json.dumps(value) if isinstance(value, dict) else str(value))}" for key, value in query.items()
    )
    return f"{path}?{'&'.join(pairs)}"


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except json.JSONDecodeError:
        return raw.decode(errors="replace")  # streams of documents, and plain text


def _message(raw: bytes) -> str:
    decoded = _decoded(raw)
    return str(decoded.get("message", decoded) if isinstance(decoded, dict) else decoded)
