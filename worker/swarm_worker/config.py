"""What an operator sets: flags over the TOML file over the defaults.

state_dir = "/var/lib/raftswarm"    # shared with swarm-manager, as are the next three
run_dir = "/run/raftswarm"
log_level = "info"                  # debug, info, warning, error
log_format = "auto"                 # json, console; auto: console on a terminal
[worker]
docker_host = "unix:///var/run/docker.sock"
"""

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm_api.defaults import CONFIG_FILE, RUN_DIR, STATE_DIR

from swarm_worker.errors import ConfigError

DOCKER_HOST = "unix:///var/run/docker.sock"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "console", "json")
_SHARED_KEYS = ("state_dir", "run_dir", "log_level", "log_format")
_WORKER_KEYS = ("docker_host",)

_DESCRIPTION = """\
The daemon of a Raftswarm node. It runs on every machine of the cluster, runs the tasks that the leading manager
assigns on this machine's Docker engine, and, on a manager node, keeps swarm-manager running beside it.

A machine becomes a node by 'swarm-cli init' (the first one) or 'swarm-cli join' (all others), which start this daemon
where it does not run yet. To start it by hand:

    swarm-worker                                  in the foreground, with the settings of the configuration file
    swarm-worker --state-dir /srv/swarm --run-dir /run/swarm2
                                                  a second node on this machine, with data and sockets of its own

SIGTERM stops the daemon and its manager. Containers keep running, and are adopted when it starts again."""

_EPILOG = f"""\
Settings are read from {CONFIG_FILE} as well (TOML; flags win):

    state_dir = "{STATE_DIR}"
    run_dir = "{RUN_DIR}"
    log_level = "info"
    [worker]
    docker_host = "{DOCKER_HOST}"

Files: <state-dir>/node (identity), <state-dir>/worker (last assignments), <state-dir>/log (the manager's log),
<run-dir>/node.sock (what swarm-cli talks to), <run-dir>/worker.pid. The user must be root."""


@dataclass(frozen=True, slots=True)
class Config:
    """All that one daemon is told."""

    state_dir: Path = Path(STATE_DIR)
    run_dir: Path = Path(RUN_DIR)
    docker_host: str = DOCKER_HOST
    log_level: str = "info"
    log_format: str = "auto"
    config_file: Path | None = None

    @property
    def socket_path(self) -> Path:
        """Where swarm-cli finds the daemon."""
        return self.run_dir / "node.sock"

    @property
    def manager_socket(self) -> Path:
        """Where this node's manager takes root for an admin."""
        return self.run_dir / "manager.sock"

    @property
    def locked_mark(self) -> Path:
        """Is there while this node's manager waits for the unlock key."""
        return self.run_dir / "manager.locked"

    @property
    def pid_file(self) -> Path:
        """The daemon's process id while it runs."""
        return self.run_dir / "worker.pid"


def parse(arguments: Sequence[str]) -> Config:
    """The settings from command line and file. ConfigError says what is wrong; --help and bad flags exit."""
    flags = {key: value for key, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    return from_mapping(_read(flags.get("config_file")) | flags)


def from_mapping(values: Mapping[str, Any]) -> Config:
    """Settings by their names, checked."""
    paths = {key: Path(values[key]).absolute() for key in ("state_dir", "run_dir", "config_file") if key in values}
    config = Config(**{**values, **paths})
    if config.log_level not in LOG_LEVELS:
        raise ConfigError(f"log_level must be one of {', '.join(LOG_LEVELS)}, not {config.log_level!r}.")
    if config.log_format not in LOG_FORMATS:
        raise ConfigError(f"log_format must be one of {', '.join(LOG_FORMATS)}, not {config.log_format!r}.")
    if "://" not in config.docker_host:
        raise ConfigError(f"docker_host must be an address like {DOCKER_HOST}, not {config.docker_host!r}.")
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swarm-worker",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", dest="config_file", metavar="FILE", help=f"TOML file (default: {CONFIG_FILE})")
    parser.add_argument("--state-dir", metavar="DIR", help=f"identity and data (default: {STATE_DIR})")
    parser.add_argument("--run-dir", metavar="DIR", help=f"sockets, pid file, secrets in memory (default: {RUN_DIR})")
    parser.add_argument("--docker-host", metavar="ADDRESS", help=f"the Docker engine (default: {DOCKER_HOST})")
    parser.add_argument("--log-level", choices=LOG_LEVELS, help="what is logged at all (default: info)")
    parser.add_argument("--log-format", choices=LOG_FORMATS, help="auto: console on a terminal, else JSON lines")
    return parser


def _read(path: str | None) -> dict[str, Any]:
    file = Path(path or CONFIG_FILE)
    try:
        data = tomllib.loads(file.read_text())
    except FileNotFoundError:
        if path:
            raise ConfigError(f"There is no configuration file {path}.") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error}.") from error
    own = data.get("worker", {})
    for key in own:
        if key not in _WORKER_KEYS:
            raise ConfigError(f"{file}: [worker] has no setting {key!r}; it has {', '.join(_WORKER_KEYS)}.")
    values: dict[str, Any] = {key: data[key] for key in _SHARED_KEYS if key in data} | own
    for key, value in values.items():
        if not isinstance(value, str):
            raise ConfigError(f"{file}: {key} must be a text in quotes.")
    return values
