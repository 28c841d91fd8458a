"""Who this node is at the moment: its files and its certificate, changed together."""

from dataclasses import replace
from datetime import datetime

from swarm_api.identity import ROLE_MANAGER, ROLE_WORKER, CertificateError, NodeCredentials, utc_now
from swarm_api.types_pb2 import NodeRole

from swarm_worker.errors import StateError
from swarm_worker.storage import NodeFile, NodeStore


class NodeIdentity:
    """The node's identity. `replace` and `learn_managers` block a little (files)."""

    def __init__(self, store: NodeStore, node: NodeFile, credentials: NodeCredentials) -> None:
        self._store = store
        self.node = node
        self.credentials = credentials

    @staticmethod
    def load(store: NodeStore) -> "NodeIdentity | None":
        """The identity on disk; None when this machine is no node. StateError when it is damaged."""
        node = store.load_node()
        if node is None:
            return None
        try:
            credentials = NodeCredentials.load(store.node_dir)
            role = credentials.identity().role
        except (OSError, CertificateError) as error:
            raise StateError(
                f"The node's certificate in {store.node_dir} cannot be used ({error}): "
                "restore it, or run 'swarm-cli leave --force' and join again."
            ) from error
        return NodeIdentity(store, replace(node, role=role), credentials)

    @property
    def certificate_ends(self) -> datetime:
        """When this node's certificate ends, or ended."""
        return self.credentials.identity().not_after

    def expiry_error(self) -> str:
        """Why this node cannot come back by itself, when its certificate ended while it was away; else empty."""
        end = self.certificate_ends
        if utc_now() < end:
            return ""
        role = "manager" if self.node.is_manager else "worker"
        return (
            f"This node's certificate ended at {end:%Y-%m-%d %H:%M} UTC, while the node was away: get a token on a "
            f"manager that works ('swarm-cli join-token {role}'), and run 'swarm-cli rejoin --token TOKEN' here"
            f"{self._when_none_works()}."
        )

    def _when_none_works(self) -> str:
        return "; where no manager works any more, 'swarm-cli rejoin --from-own-data'" if self.node.is_manager else ""

    def manager_addresses(self) -> list[str]:
        """Where managers may answer: this node's own first, when it runs one."""
        own = [self.node.advertise_address] if self.node.is_manager else []
        return list(dict.fromkeys([*own, *self.node.managers]))

    def replace(self, credentials: NodeCredentials, managers: tuple[str, ...]) -> None:
        """Take a new certificate, whose role is the node's from now on."""
        credentials.save(self._store.node_dir)
        self.credentials = credentials
        self._save(replace(self.node, role=credentials.identity().role, managers=managers or self.node.managers))

    def learn_managers(self, managers: tuple[str, ...]) -> None:
        """The cluster's managers have these addresses now."""
        if managers and managers != self.node.managers:
            self._save(self.node.with_managers(managers))

    def _save(self, node: NodeFile) -> None:
        self._store.save_node(node)
        self.node = node


def role_name(role: "NodeRole.ValueType") -> str:
    """A role as certificates name it."""
    return ROLE_MANAGER if role == NodeRole.MANAGER else ROLE_WORKER
