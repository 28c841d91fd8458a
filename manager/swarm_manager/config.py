"""What an operator sets: the TOML file, flags that win over it, and what the node's daemon wrote down.

/etc/raftswarm/raftswarm.toml
    state_dir = "/var/lib/raftswarm"    # shared with swarm-worker, which reads the same file
    run_dir = "/run/raftswarm"
    log_level = "info"                  # debug, info, warning, error
    log_format = "auto"                 # json, console; auto: console on a terminal
    [manager]
    listen_address = "0.0.0.0:2377"
    metrics_address = ""                # host:port of an HTTP face for Prometheus; empty: none
"""

import ipaddress
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm_api.defaults import CONFIG_FILE, RAFT_PORT_OFFSET, RUN_DIR, STATE_DIR
from swarm_api.identity import write_private

from swarm_manager.errors import StartError

_SHARED_KEYS = ("state_dir", "run_dir", "log_level", "log_format")
_MANAGER_KEYS = ("listen_address", "metrics_address")


@dataclass(frozen=True, slots=True)
class Settings:
    """All that one manager process is told."""

    state_dir: Path = Path(STATE_DIR)
    run_dir: Path = Path(RUN_DIR)
    listen_address: str = ""  # empty: as node.json says, or all interfaces at the advertised port
    metrics_address: str = ""
    log_level: str = "info"
    log_format: str = "auto"

    @property
    def node_dir(self) -> Path:
        """Identity of the node (shared with the node's daemon)."""
        return self.state_dir / "node"

    @property
    def raft_dir(self) -> Path:
        """Journal, vote and snapshot."""
        return self.state_dir / "manager" / "raft"

    @property
    def key_dir(self) -> Path:
        """What the Raft data are sealed with; not beside them, so that a copy of them tells nothing."""
        return self.state_dir / "manager" / "keys"

    @property
    def seed_file(self) -> Path:
        """The new cluster's first change set, until it is committed."""
        return self.state_dir / "manager" / "seed.changeset"

    @property
    def members_file(self) -> Path:
        """Whom this manager started Raft with."""
        return self.state_dir / "manager" / "members.json"

    @property
    def locked_mark(self) -> Path:
        """Is there while the manager waits for the unlock key; the node's daemon looks for it."""
        return self.run_dir / "manager.locked"

    @property
    def socket_path(self) -> Path:
        """The unix socket that makes root an admin."""
        return self.run_dir / "manager.sock"


@dataclass(frozen=True, slots=True)
class NodeFile:
    """`node.json`: what this machine is in its cluster."""

    node_id: str
    cluster_id: str
    role: str
    advertise_address: str
    listen_address: str = ""
    managers: tuple[str, ...] = field(default=())

    @staticmethod
    def load(folder: Path) -> "NodeFile":
        """Read it; StartError when it is missing or damaged."""
        path = folder / "node.json"
        try:
            data = json.loads(path.read_text())
            return NodeFile(
                node_id=data["node_id"],
                cluster_id=data["cluster_id"],
                role=data.get("role", ""),
                advertise_address=data["advertise_address"],
                listen_address=data.get("listen_address", ""),
                managers=tuple(_manager_address(entry) for entry in data.get("managers", [])),
            )
        except FileNotFoundError as error:
            raise StartError(
                f"{path} does not exist: this machine is no node yet; run 'swarm-cli init' or 'swarm-cli join' on it"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StartError(f"{path} cannot be read ({error!r}): restore it, or leave and join again") from error

    def save(self, folder: Path) -> None:
        """Write it as the daemon does: durably, for without it a manager that lost power cannot start."""
        data = {
            "node_id": self.node_id,
            "cluster_id": self.cluster_id,
            "role": self.role,
            "managers": list(self.managers),
            "advertise_address": self.advertise_address,
            "listen_address": self.listen_address,
        }
        write_private(folder / "node.json", json.dumps(data, indent=1).encode() + b"\n")


def _manager_address(entry: Any) -> str:
    return entry["address"] if isinstance(entry, dict) else str(entry)


def load_settings(path: Path | None, flags: dict[str, Any]) -> Settings:
    """The file's settings below the flags (those that are None were not given); StartError when it is no good."""
    values = _from_file(path)
    values.update({key: value for key, value in flags.items() if value is not None})
    for key in ("state_dir", "run_dir"):
        if key in values:
            values[key] = Path(values[key])
    return Settings(**values)


def _from_file(path: Path | None) -> dict[str, Any]:
    chosen = path or Path(CONFIG_FILE)
    try:
        data = tomllib.loads(chosen.read_text())
    except FileNotFoundError as error:
        if path is None:
            return {}
        raise StartError(f"the configuration file {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise StartError(f"the configuration file {chosen} cannot be read: {error}") from error
    own = data.get("manager", {})
    unknown = sorted(set(own) - set(_MANAGER_KEYS))
    if unknown:
        raise StartError(f"{chosen}: [manager] has no setting {unknown[0]!r}; it has {', '.join(_MANAGER_KEYS)}")
    values: dict[str, Any] = {key: data[key] for key in _SHARED_KEYS if key in data} | own
    for key, value in values.items():
        if not isinstance(value, str):
            raise StartError(f"{chosen}: {key} must be a text in quotes")
    return values


def split_address(address: str, what: str) -> tuple[str, int]:
    """(host, port) of `host:port` or `[v6]:port`; StartError says what is wrong with it."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536 - RAFT_PORT_OFFSET:
        raise StartError(f"{what} must be HOST:PORT with a port from 1 to {65535 - RAFT_PORT_OFFSET}, not {address!r}")
    return host.strip("[]"), int(port)


def check_advertised(address: str) -> None:
    """Raise StartError unless other machines can be told to come to this address."""
    host, _ = split_address(address, "--advertise-address")
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError as error:
        raise StartError(f"--advertise-address needs an IP address, not the name {host!r}") from error
    if parsed.is_unspecified:
        raise StartError(f"--advertise-address must be an address that other machines can reach, not {host}")


def raft_address(api_address: str) -> str:
    """Where the Raft transport of the manager with this API address listens."""
    host, _, port = api_address.rpartition(":")
    return f"{host}:{int(port) + RAFT_PORT_OFFSET}"
