"""The node's daemon (swarm-worker): is it there, start it, talk to it, stop it.

Where systemd runs, the daemon is a unit, `raftswarm.service`; elsewhere a background process in a session of
its own, with its log in <state>/log/worker.log.  The daemon keeps its own pid file and lock, so starting it
twice does no harm.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from swarm_api import defaults
from swarm_api.access import RUN_DIR_VARIABLE, STATE_DIR_VARIABLE

from swarm_cli.errors import DaemonError
from swarm_cli.session import Session

if TYPE_CHECKING:
    import grpc
    from swarm_api.node_pb2_grpc import NodeControlStub

UNIT = "raftswarm.service"
_UNIT_FILE = Path("/etc/systemd/system") / UNIT
_SYSTEMD = Path("/run/systemd/system")
_START_S = 20.0
_STOP_S = 20.0
_LOOK_AGAIN_S = 0.02
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

_UNIT_TEXT = """\
# Written by 'swarm-cli init' or 'swarm-cli join'; removed by 'swarm-cli leave'.
[Unit]
Description=Raftswarm node
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=exec
ExecStart={command}
Restart=always
RestartSec=1
# The manager beside the daemon, and all containers, survive the daemon's own restart.
KillMode=process
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""


def state_dir(session: Session) -> Path:
    """Where this node keeps its data."""
    return Path(session.state_dir or os.environ.get(STATE_DIR_VARIABLE) or defaults.STATE_DIR)


def run_dir(session: Session) -> Path:
    """Where this node's sockets are."""
    return Path(session.run_dir or os.environ.get(RUN_DIR_VARIABLE) or defaults.RUN_DIR)


def node_file(session: Session) -> dict[str, object]:
    """What node.json says; empty when this machine is no node, or when only root may know."""
    try:
        document = json.loads((state_dir(session) / "node" / "node.json").read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def local_node_id(session: Session) -> str:
    """The id of the node this machine is; empty when it is none."""
    return str(node_file(session).get("node_id", ""))


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon with these directories; `config_file` is passed on when it is started."""

    state_dir: Path
    run_dir: Path
    config_file: str | None = None

    @staticmethod
    def of(session: Session, config_file: str | None = None) -> "Daemon":
        """The daemon of this machine; DaemonError unless we are root, or the directories are our own."""
        daemon = Daemon(state_dir(session).absolute(), run_dir(session).absolute(), config_file)
        if os.geteuid() != 0 and str(daemon.state_dir) == defaults.STATE_DIR:
            raise DaemonError("This needs root: it starts the node's daemon and its containers; use sudo.")
        return daemon

    @property
    def socket(self) -> Path:
        """Where the daemon listens for us."""
        return self.run_dir / "node.sock"

    @property
    def log_file(self) -> Path:
        """Its log, where it is no unit."""
        return self.state_dir / "log" / "worker.log"

    @property
    def _mark(self) -> Path:
        """Holds the pid of a daemon that we put into the background: that one is ours to stop."""
        return self.run_dir / "worker.by-cli"

    def ensure_running(self) -> None:
        """Start the daemon unless it answers; DaemonError with its last word when it does not come up."""
        if self.answers():
            return
        if _SYSTEMD.is_dir():
            self._start_unit()
            _import_grpc()
            self._await(lambda: _unit_state() in ("failed", "inactive"), _journal_line)
        else:
            process = self._start_process()
            _import_grpc()
            self._await(lambda: process.poll() is not None and not self._another_runs(), self._log_line)
            self._mark.write_text(f"{process.pid}\n")

    def _another_runs(self) -> bool:
        """Whether a daemon holds the lock: it was started at the same time, at boot perhaps, and answers soon."""
        try:
            with (self.run_dir / "worker.pid").open() as held:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def answers(self) -> bool:
        """Whether the daemon answers on its socket."""
        if not self.socket.exists():
            return False
        import grpc  # only now: a daemon that is to be started imports its own meanwhile
        from swarm_api.node_pb2 import StatusRequest

        try:
            with _channel(self.socket) as channel:
                _stub(channel).Status(StatusRequest(), timeout=2.0)
        except grpc.RpcError:
            return False
        return True

    def call(
        self,
        method: "Callable[[NodeControlStub], grpc.UnaryUnaryMultiCallable[_Request, _Response]]",
        request: _Request,
        timeout_s: float,
    ) -> _Response:
        """The daemon's answer; DaemonError with its own sentence when it refuses."""
        import grpc

        try:
            with _channel(self.socket) as channel:
                return method(_stub(channel))(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise DaemonError(self._refusal(error, timeout_s)) from None

    def _refusal(self, error: "grpc.RpcError", timeout_s: float) -> str:
        import grpc

        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"The daemon did not finish within {timeout_s:.0f} s; see its log ({self._where_log()})."
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return f"The daemon (swarm-worker) went away; see its log ({self._where_log()})."
        return error.details() or f"The daemon failed ({error.code().name}); see its log ({self._where_log()})."

    def _where_log(self) -> str:
        return f"journalctl -u {UNIT}" if _SYSTEMD.is_dir() else str(self.log_file)

    def command(self) -> list[str]:
        """The command line that starts the daemon."""
        flags = ["--state-dir", str(self.state_dir), "--run-dir", str(self.run_dir)]
        if self.config_file:
            flags += ["--config", str(Path(self.config_file).absolute())]
        return [*worker_command(), *flags]

    def _start_unit(self) -> None:
        _UNIT_FILE.write_text(_UNIT_TEXT.format(command=" ".join(_quoted(word) for word in self.command())))
        _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", UNIT)
        _systemctl("restart", UNIT)

    def _start_process(self) -> "subprocess.Popen[bytes]":
        try:
            self.log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.log_file.open("ab") as log:
                return subprocess.Popen(
                    self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
                )
        except OSError as error:
            raise DaemonError(f"The daemon cannot be started: {error.filename}: {error.strerror}.") from error

    def _await(self, has_ended: Callable[[], bool], last_word: Callable[[], str]) -> None:
        deadline = time.monotonic() + _START_S
        while not self.answers():
            if has_ended():
                raise DaemonError(f"The daemon (swarm-worker) does not start: {last_word() or 'it said nothing'}")
            if time.monotonic() > deadline:
                raise DaemonError(
                    f"The daemon (swarm-worker) does not answer within {_START_S:.0f} s; its last word: {last_word()}"
                )
            time.sleep(_LOOK_AGAIN_S)

    def _log_line(self) -> str:
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return readable(next((line for line in reversed(lines) if line.strip()), ""))

    def stop(self) -> None:
        """Stop the daemon if it was started by `init` or `join`; one that runs otherwise is left alone."""
        if _SYSTEMD.is_dir() and _UNIT_FILE.exists():
            _systemctl("disable", "--quiet", "--now", UNIT)
            _UNIT_FILE.unlink(missing_ok=True)
            _systemctl("daemon-reload")
            return
        try:
            ours = self._mark.read_text().strip()
            running = (self.run_dir / "worker.pid").read_text().strip()
        except OSError:
            return
        self._mark.unlink(missing_ok=True)
        if ours == running and ours.isdecimal():
            _end_process(int(ours))


def _import_grpc() -> None:
    """Have ready what we shall need to talk to the daemon, while it starts on another processor."""
    import grpc  # noqa: F401
    import swarm_api.node_pb2_grpc  # noqa: F401


def _channel(socket: Path) -> "grpc.Channel":
    import grpc

    return grpc.insecure_channel(f"unix:{socket}", [("grpc.use_local_subchannel_pool", 1)])


def _stub(channel: "grpc.Channel") -> "NodeControlStub":
    from swarm_api.node_pb2_grpc import NodeControlStub

    return NodeControlStub(channel)


def worker_command() -> list[str]:
    """How to call swarm-worker: the script beside ours, else beside Python's, else on the PATH."""
    for folder in (Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent):
        if (folder / "swarm-worker").is_file():
            return [str(folder / "swarm-worker")]
    found = shutil.which("swarm-worker")
    if found is None:
        raise DaemonError("swarm-worker is not installed beside swarm-cli; install the package raftswarm anew.")
    return [found]


def readable(line: str) -> str:
    """A log line for people: of a JSON line its event and its details."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(entry, dict):
        return line.strip()
    details = [str(entry[key]) for key in ("event", "reason", "error", "exception") if entry.get(key)]
    return ": ".join(details) or line.strip()


def _quoted(word: str) -> str:
    """A word of a systemd command line."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if " " in word else escaped


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise DaemonError(f"'systemctl {' '.join(arguments)}' failed: {said or f'exit code {done.returncode}'}.")


def _unit_state() -> str:
    done = subprocess.run(["systemctl", "is-active", UNIT], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _journal_line() -> str:
    done = subprocess.run(
        ["journalctl", "-u", UNIT, "-n", "1", "-o", "cat", "--no-pager"], capture_output=True, text=True, check=False
    )
    return readable(done.stdout.strip())


def _end_process(pid: int) -> None:
    """SIGTERM, and wait until it is gone; DaemonError when it stays."""
    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline:
            if _is_gone(pid):
                return
            time.sleep(_LOOK_AGAIN_S)
    except ProcessLookupError:
        return
    raise DaemonError(f"The daemon (process {pid}) does not stop; its log says why.")


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True
