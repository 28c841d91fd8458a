"""What the daemon keeps on disk: who this node is, and what it was told last.

    <state>/node/node.json        NodeFile; beside it node.crt, node.key and ca.crt
    <state>/worker/assignments    the last assignments, without secrets and configs

The assignments let a restarted daemon adopt its containers and keep their networks in place while no manager answers.
They are not an order to start anything: after a reboot the managers have replaced this node's tasks elsewhere, so
nothing is started until a leader has said what is wanted now. For the same reason they are not synced to disk: after a
power loss there is nothing to adopt.
"""

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from google.protobuf.message import DecodeError
from swarm_api.dispatcher_pb2 import SessionMessage
from swarm_api.identity import ROLE_MANAGER, write_private

from swarm_worker.errors import StateError


@dataclass(frozen=True, slots=True)
class NodeFile:
    """`node.json`: what this machine is in its cluster. Addresses are `host:port`."""

    node_id: str
    cluster_id: str
    role: str  # as in its certificate
    advertise_address: str
    listen_address: str = ""
    managers: tuple[str, ...] = ()

    @property
    def is_manager(self) -> bool:
        """Whether a manager runs on this node."""
        return self.role == ROLE_MANAGER

    def with_managers(self, addresses: tuple[str, ...]) -> "NodeFile":
        """The same node, knowing these managers."""
        return replace(self, managers=addresses)


class NodeStore:
    """The state directory, as the daemon sees it."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.node_dir = state_dir / "node"
        self.log_dir = state_dir / "log"
        self._assignments = state_dir / "worker" / "assignments"

    def load_node(self) -> NodeFile | None:
        """Who this node is; None when the machine is no node. StateError when the file is damaged."""
        path = self.node_dir / "node.json"
        try:
            data = json.loads(path.read_text())
            data["managers"] = tuple(data.get("managers") or ())
            return NodeFile(**{key: data[key] for key in NodeFile.__dataclass_fields__ if key in data})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(f"{path} cannot be read ({error}): restore it, or remove it and join again.") from error

    def save_node(self, node: NodeFile) -> None:
        """Replace node.json."""
        self.node_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.node_dir / "node.json", json.dumps(asdict(node), indent=1).encode() + b"\n")

    def load_assignments(self) -> SessionMessage:
        """The last assignments saved; empty when there are none that can be read."""
        try:
            return SessionMessage.FromString(self._assignments.read_bytes())
        except (FileNotFoundError, DecodeError):
            return SessionMessage()

    def save_assignments(self, message: SessionMessage) -> None:
        """Replace the saved assignments, atomically."""
        self._assignments.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._assignments.with_suffix(".new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(message.SerializeToString())
        temporary.replace(self._assignments)

    def forget_everything(self) -> None:
        """Remove identity and data: this machine is no node any more. Logs stay."""
        with contextlib.suppress(FileNotFoundError):  # first what makes it a node: a crash in here leaves no half node
            (self.node_dir / "node.json").unlink()
        self.forget_manager()
        for name in ("worker", "node"):
            shutil.rmtree(self.state_dir / name, ignore_errors=True)

    def forget_manager(self) -> None:
        """Remove the data of the manager that ran here."""
        shutil.rmtree(self.state_dir / "manager", ignore_errors=True)
