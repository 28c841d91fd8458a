"""The cluster's state at one Raft index.

Theory of operation
    A `Snapshot` holds one persistent map per kind of object.  A commit makes a new snapshot that shares all that
    did not change with the one before, so a reader keeps a consistent view by keeping one reference, and needs
    no lock.  Storeds in a snapshot are frozen by convention: copy before you change.

    Beside the objects there are indexes (tasks by service, names, addresses in use, ...).  They follow from the
    objects alone, are kept up to date change by change (`Draft`), and are neither written to disk nor compared.

    `View` is what a snapshot and a draft have in common: everything that only reads takes a `View`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import NoReturn, cast

from immutables import Map
from swarm_api.naming import INGRESS_NETWORK
from swarm_api.objects_pb2 import (
    CLUSTER,
    NODE,
    Cluster,
    Config,
    Network,
    Node,
    Secret,
    Service,
    Stack,
    Task,
)
from swarm_api.store_pb2 import RememberedRequest
from swarm_api.types_pb2 import NodeState

from swarm_manager.core.kinds import KINDS, Stored
from swarm_manager.core.nodefacts import NO_LOAD, NodeFacts, NodeLoad

Tasks = Map[str, Task]
_NO_TASKS: Tasks = Map()
_NO_NAMES: Map[str, str] = Map()
_NO_IDS: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class View:
    """All objects, and the indexes over them."""

    index: int = 0
    cluster: Cluster | None = None
    nodes: Map[str, Node] = field(default_factory=Map)
    services: Map[str, Service] = field(default_factory=Map)
    tasks: Tasks = field(default_factory=Map)
    networks: Map[str, Network] = field(default_factory=Map)
    secrets: Map[str, Secret] = field(default_factory=Map)
    configs: Map[str, Config] = field(default_factory=Map)
    stacks: Map[str, Stack] = field(default_factory=Map)

    # Remembered requests: by id, and their ids in the order they came (a queue: its first and next number).
    requests: Map[str, RememberedRequest] = field(default_factory=Map)
    request_order: Map[int, str] = field(default_factory=Map)
    first_request: int = 0
    next_request: int = 0

    # Indexes.
    names: Map[str, str] = field(default_factory=Map)  # "service/web" -> id; without what is leaving
    published: Map[str, str] = field(default_factory=Map)  # "tcp/8080" -> id of the service, ingress mode only
    tasks_by_service: Map[str, Tasks] = field(default_factory=Map)
    tasks_by_node: Map[str, Tasks] = field(default_factory=Map)
    tasks_by_network: Map[str, Tasks] = field(default_factory=Map)  # those that hold an address in it
    unassigned: Tasks = field(default_factory=Map)  # not over, and no node has been settled
    services_by_network: Map[str, frozenset[str]] = field(default_factory=Map)
    leaving_networks: frozenset[str] = frozenset()
    dependents: Map[str, frozenset[str]] = field(default_factory=Map)  # service's name or id -> who waits for it
    addresses: Map[str, Map[str, str]] = field(default_factory=Map)  # network -> address -> whose it is
    last_addresses: Map[str, str] = field(default_factory=Map)  # network -> the address given out last
    facts: Map[str, NodeFacts] = field(default_factory=Map)
    loads: Map[str, NodeLoad] = field(default_factory=Map)

    def get(self, kind: int, object_id: str) -> Stored | None:
        """The object of a kind (`ObjectKind`) with this id; None when there is none."""
        if kind == CLUSTER:
            cluster = self.cluster
            return cluster if cluster is not None and cluster.id == object_id else None
        found: Stored | None = getattr(self, KINDS[kind].plural).get(object_id)
        return found

    def all_of(self, kind: int) -> Iterator[Stored]:
        """Every object of a kind, in no order that means anything."""
        if kind == CLUSTER:
            return iter(() if self.cluster is None else (self.cluster,))
        return cast("Iterator[Stored]", iter(getattr(self, KINDS[kind].plural).values()))

    def tasks_of_service(self, service_id: str) -> Tasks:
        """All tasks of a service, ended ones too, by id."""
        return self.tasks_by_service.get(service_id, _NO_TASKS)

    def tasks_on_node(self, node_id: str) -> Tasks:
        """All tasks that have this node, ended ones and ones pinned to it but not yet assigned too, by id."""
        return self.tasks_by_node.get(node_id, _NO_TASKS)

    def tasks_in_network(self, network_id: str) -> Tasks:
        """The tasks that hold an address in a network, by id."""
        return self.tasks_by_network.get(network_id, _NO_TASKS)

    def services_in_network(self, network_id: str) -> frozenset[str]:
        """Ids of the services whose spec names the network."""
        return self.services_by_network.get(network_id, _NO_IDS)

    def used_addresses(self, network_id: str) -> Map[str, str]:
        """The addresses in use in a network, and whose each is (`task/ID`, `vip/ID`, `gateway/ID`)."""
        return self.addresses.get(network_id, _NO_NAMES)

    def load_of(self, node_id: str) -> NodeLoad:
        """What the tasks assigned to a node take of it."""
        return self.loads.get(node_id, NO_LOAD)

    def node_is_gone(self, node_id: str) -> bool:
        """Whether the node was removed, or is not heard from: nobody can tell what runs on it."""
        node = self.nodes.get(node_id)
        return node is None or node.status.state == NodeState.DOWN

    def ingress_network(self) -> Network | None:
        """The network that published ports are balanced over; None before it was made."""
        network = self.networks.get(self.names.get(f"network/{INGRESS_NETWORK}", ""))
        return network if network is not None and network.spec.ingress else None

    def id_of_name(self, kind: int, name: str) -> str | None:
        """The id of the object of a kind that has this name. Nodes may share a name and are not found this way."""
        return self.names.get(f"{KINDS[kind].noun}/{name}")

    def ids_matching(self, kind: int, text: str) -> list[str]:
        """Ids of the objects that a person may mean by `text`: an id, else a name, else the beginning of ids, sorted.

        Objects that are leaving are found by their whole id only. More than one id: the text is ambiguous.
        """
        if not text:
            return []
        if self.get(kind, text) is not None:
            return [text]
        if named := self._named(kind, text):
            return named
        return sorted(i for i in self._ids(kind) if i.startswith(text) and not self._is_leaving(kind, i))

    def _named(self, kind: int, text: str) -> list[str]:
        if kind == NODE:
            return sorted(
                n.id for n in self.nodes.values() if text in (n.spec.annotations.name, n.description.hostname)
            )
        found = self.id_of_name(kind, text)
        return [] if found is None else [found]

    def _ids(self, kind: int) -> Iterator[str]:
        if kind == CLUSTER:
            return iter(() if self.cluster is None else (self.cluster.id,))
        return iter(getattr(self, KINDS[kind].plural))

    def _is_leaving(self, kind: int, object_id: str) -> bool:
        obj = self.get(kind, object_id)
        return isinstance(obj, Service | Network) and obj.pending_delete


VIEW_FIELDS = tuple(f.name for f in fields(View))


class Snapshot(View):
    """The state at one index; never changes. `Snapshot()` is the empty state before the first commit."""

    __slots__ = ("_frozen",)

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "_frozen", True)

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, "_frozen"):
            self._refuse(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> NoReturn:
        self._refuse(name)

    @staticmethod
    def _refuse(name: str) -> NoReturn:
        raise AttributeError(f"A snapshot does not change; {name} cannot be set.")
