"""Where the managers are and who we are: what a client needs before its first request.

The order, first match wins:

1. a *context*, named by the caller or by SWARM_CONTEXT: a folder ~/.config/raftswarm/contexts/NAME with
   context.toml (`managers = ["10.0.0.1:2377"]`), ca.crt, client.crt and client.key;
2. on a node, as root: the manager's local socket <run>/manager.sock (only when no address was given), then the
   managers that node.json knows, with the node's own certificate from <state>/node;
3. the context that `swarm-cli context use` chose.

Addresses given by the caller, or in SWARM_MANAGERS, replace the known ones; the certificate stays the same.
Nothing here imports grpc or cryptography: it runs before every command.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swarm_api import defaults
from swarm_api.errors import AccessError

CONTEXT_VARIABLE = "SWARM_CONTEXT"
MANAGERS_VARIABLE = "SWARM_MANAGERS"
STATE_DIR_VARIABLE = "RAFTSWARM_STATE_DIR"
RUN_DIR_VARIABLE = "RAFTSWARM_RUN_DIR"
_CONTEXT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The cluster's CA certificate, and our certificate and key, as PEM."""

    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to a manager: `host:port` with credentials, or `unix:/path` without."""

    address: str
    credentials: Credentials | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether this is the socket of a manager on this machine."""
        return self.address.startswith("unix:")


@dataclass(frozen=True, slots=True)
class Access:
    """All ways to the managers, the best first."""

    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A named way to a cluster, kept in a folder of the user."""

    name: str
    folder: Path

    @property
    def managers(self) -> tuple[str, ...]:
        """The addresses in context.toml; AccessError when it cannot be read."""
        path = self.folder / "context.toml"
        try:
            managers = tomllib.loads(path.read_text()).get("managers", [])
        except FileNotFoundError:
            raise AccessError(
                f"There is no context {self.name!r}; 'swarm-cli context ls' shows those there are."
            ) from None
        except (OSError, ValueError) as error:
            raise AccessError(f"The context {self.name!r} cannot be read ({path}: {error}); make it anew.") from error
        if not isinstance(managers, list):
            raise AccessError(f"In {path}, 'managers' must be a list of HOST:PORT.")
        return parse_addresses(str(address) for address in managers)

    def credentials(self) -> Credentials:
        """The certificates in the folder; AccessError when one is missing."""
        return _read_credentials(self.folder, "client", f"The context {self.name!r}")


def contexts_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where contexts are kept: $XDG_CONFIG_HOME/raftswarm/contexts, or below ~/.config."""
    config = environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "raftswarm" / "contexts"


def context(name: str, environ: Mapping[str, str] = os.environ) -> Context:
    """The context of this name; AccessError when the name cannot be one.  It need not exist."""
    if not _CONTEXT_NAME.fullmatch(name):
        raise AccessError(f"{name!r} cannot name a context: use letters, digits, '-', '_' and '.'.")
    return Context(name, contexts_folder(environ) / name)


def current_context(environ: Mapping[str, str] = os.environ) -> str | None:
    """The context that `swarm-cli context use` chose, if any."""
    try:
        return (contexts_folder(environ).parent / "current-context").read_text().strip() or None
    except OSError:
        return None


def parse_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """`HOST[:PORT]`s, each perhaps several with commas, as HOST:PORT; AccessError names the one that is none."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    return tuple(dict.fromkeys(_with_port(part) for part in parts if part))


def _with_port(address: str) -> str:
    bracketed = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\s/\[\]]+)(?::(\d{1,5}))?", address)
    if bracketed is None:
        raise AccessError(f"{address!r} is no manager's address: write HOST or HOST:PORT, as in 10.0.0.1:2377.")
    host, port = bracketed.group(1), int(bracketed.group(2) or defaults.API_PORT)
    if not 0 < port < 65536:
        raise AccessError(f"{address!r} is no manager's address: a port is between 1 and 65535.")
    return f"{host}:{port}"


def find_access(
    managers: Sequence[str] = (),
    context_name: str | None = None,
    *,
    state_dir: str | None = None,
    run_dir: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Access:
    """Where to go and as whom (the module says in which order); AccessError when nobody can tell.

    `managers` are HOST[:PORT]; empty: SWARM_MANAGERS, or what the context or node.json knows.
    """
    addresses = parse_addresses(managers or [environ.get(MANAGERS_VARIABLE, "")])
    name = context_name or environ.get(CONTEXT_VARIABLE)
    if name:
        return _context_access(context(name, environ), addresses)
    state = Path(state_dir or environ.get(STATE_DIR_VARIABLE) or defaults.STATE_DIR)
    run = Path(run_dir or environ.get(RUN_DIR_VARIABLE) or defaults.RUN_DIR)
    access = _node_access(state, run, addresses)
    if access is not None:
        return access
    chosen = current_context(environ)
    if chosen:
        return _context_access(context(chosen, environ), addresses)
    raise AccessError(_nothing_known(state, addresses))


def _nothing_known(state: Path, addresses: tuple[str, ...]) -> str:
    try:
        (state / "node" / "node.json").stat()
    except PermissionError:
        return f"This machine is a node, but only root may read {state}: use sudo, or a context ('swarm-cli context')."
    except OSError:
        lack = "has no certificate of a cluster" if addresses else "is no node of a cluster"
        return (
            f"This machine {lack}, and no context is chosen: run 'swarm-cli init' or 'swarm-cli join' here, or name a "
            "context with --context ('swarm-cli context create' on a manager makes one)."
        )
    return f"This machine is a node, but its files in {state}/node cannot be read: use sudo."


def _context_access(chosen: Context, addresses: tuple[str, ...]) -> Access:
    known = addresses or chosen.managers
    if not known:
        raise AccessError(f"The context {chosen.name!r} names no manager; give one with --manager HOST:PORT.")
    credentials = chosen.credentials()
    return Access(tuple(Endpoint(address, credentials) for address in known))


def _node_access(state: Path, run: Path, addresses: tuple[str, ...]) -> Access | None:
    endpoints = []
    socket = run / "manager.sock"
    if not addresses and os.access(socket, os.R_OK | os.W_OK):
        endpoints.append(Endpoint(f"unix:{socket}"))
    node = _read_node_file(state / "node" / "node.json")
    if node is None:
        return Access(tuple(endpoints)) if endpoints else None
    known = addresses or _known_managers(node)
    if _is_worker(node) and not endpoints:
        raise AccessError(_worker_sentence(known))
    credentials = _read_credentials(state / "node", "node", "This node")
    return Access((*endpoints, *(Endpoint(address, credentials) for address in known)))


def _is_worker(node: Mapping[str, object]) -> bool:
    return "worker" in str(node.get("role", "")).lower()


def _worker_sentence(managers: tuple[str, ...]) -> str:
    where = f" ({', '.join(managers)})" if managers else ""
    return (
        f"This node is a worker, and only managers take orders: run this on a manager{where}, or use --context "
        "with a context that 'swarm-cli context create' made there."
    )


def _read_node_file(path: Path) -> dict[str, object] | None:
    try:
        document = json.loads(path.read_text())
    except OSError:
        return None
    except ValueError as error:
        raise AccessError(f"{path} is damaged ({error}); this node must leave and join again.") from error
    return document if isinstance(document, dict) else None


def _known_managers(node: Mapping[str, object]) -> tuple[str, ...]:
    """The managers' addresses in node.json: strings, or objects with an `address`."""
    known = node.get("managers")
    listed = known if isinstance(known, list) else []
    found = [item.get("address", "") if isinstance(item, dict) else item for item in listed]
    if not found and isinstance(node.get("advertise_address"), str):
        found = [node["advertise_address"]]
    return parse_addresses([str(address) for address in found])


def _read_credentials(folder: Path, stem: str, whose: str) -> Credentials:
    try:
        return Credentials(
            (folder / "ca.crt").read_bytes(),
            (folder / f"{stem}.crt").read_bytes(),
            (folder / f"{stem}.key").read_bytes(),
        )
    except PermissionError as error:
        raise AccessError(f"{whose} has a key only its owner may read ({error.filename}): use sudo.") from error
    except OSError as error:
        raise AccessError(f"{whose} lacks {error.filename} ({error.strerror}): make it anew.") from error
