"""The client's requests, one class a noun.  `Client` (client.py) holds one of each.

Where a method takes a name, it takes an id, a unique prefix of an id, or a name.  Errors: swarm_api.errors.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from swarm_api import control_pb2 as api
from swarm_api.channel import ManagerConnection
from swarm_api.errors import ConflictError
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Config, Network, Node, Secret, Service, Task
from swarm_api.specs_pb2 import ConfigSpec, NetworkSpec, NodeSpec, SecretSpec, ServiceSpec
from swarm_api.types_pb2 import Share, TaskState

_EDIT_ATTEMPTS = 5


def make_filter(
    *,
    ids: Iterable[str] = (),
    id_prefixes: Iterable[str] = (),
    names: Iterable[str] = (),
    name_prefixes: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
) -> api.Filter:
    """A filter for the `list` methods: all that is given must match, any one value of each is enough."""
    return api.Filter(
        ids=list(ids),
        id_prefixes=list(id_prefixes),
        names=list(names),
        name_prefixes=list(name_prefixes),
        labels=dict(labels or {}),
    )


class _Noun:
    def __init__(self, connection: ManagerConnection) -> None:
        self._connection = connection


class Services(_Noun):
    """Services: what users want run."""

    def list(self, filter: api.Filter | None = None) -> list[Service]:  # noqa: A002 - the field's name in the API
        """All services, or those that match."""
        return list(self.list_with_progress(filter).services)

    def list_with_progress(self, filter: api.Filter | None = None) -> api.ListServicesResponse:  # noqa: A002
        """The services, and how each stands by service id."""
        return self._connection.call(lambda stub: stub.ListServices, api.ListRequest(filter=filter))

    def get(self, name: str) -> Service:
        """One service; NotFoundError when there is none."""
        return self.get_with_progress(name).service

    def get_with_progress(self, name: str) -> api.GetServiceResponse:
        """One service and how it stands."""
        return self._connection.call(lambda stub: stub.GetService, api.GetRequest(id=name))

    def create(self, spec: ServiceSpec) -> Service:
        """Create a service; AlreadyExistsError when the name is taken."""
        request = api.CreateServiceRequest(spec=spec, request_id=new_id())
        return self._connection.call(lambda stub: stub.CreateService, request).service

    def update(self, service: Service, spec: ServiceSpec, *, canary: Share | None = None) -> Service:
        """Give `service` another spec; ConflictError when somebody changed it since it was read.

        `canary`: only these tasks get it until `promote`; None: as `spec.update.canary` says.
        """
        version = service.meta.version
        request = api.UpdateServiceRequest(
            id=service.id, version=version, spec=spec, canary=canary, request_id=new_id()
        )
        return self._connection.call(lambda stub: stub.UpdateService, request).service

    def edit(
        self, name: str, change: Callable[[ServiceSpec], None], *, if_version: int = 0, canary: Share | None = None
    ) -> Service:
        """Read, change and write a service; again when somebody else was faster, so `change` may run twice.

        With `if_version`, a spec_version, only when nobody changed the spec since; ConflictError says who changed what.
        """
        if if_version:
            return self._edit_at(name, change, if_version, canary)
        for attempt in range(_EDIT_ATTEMPTS):
            service = self.get(name)
            spec = ServiceSpec()
            spec.CopyFrom(service.spec)
            change(spec)
            try:
                return self.update(service, spec, canary=canary)
            except ConflictError:
                if attempt == _EDIT_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _edit_at(self, name: str, change: Callable[[ServiceSpec], None], version: int, canary: Share | None) -> Service:
        service = self.get(name)
        spec = ServiceSpec()
        spec.CopyFrom(service.spec)
        change(spec)
        service.meta.version.index = version
        return self.update(service, spec, canary=canary)

    def pause(self, name: str) -> Service:
        """Hold the update or rollback that is under way."""
        return self._command(name, api.UpdateServiceRequest.PAUSE)

    def resume(self, name: str) -> Service:
        """Let a paused update or rollback go on."""
        return self._command(name, api.UpdateServiceRequest.RESUME)

    def promote(self, name: str) -> Service:
        """Give all tasks what the service's canary has."""
        return self._command(name, api.UpdateServiceRequest.PROMOTE)

    def _command(self, name: str, command: api.UpdateServiceRequest.Command.ValueType) -> Service:
        request = api.UpdateServiceRequest(id=name, command=command, request_id=new_id())
        return self._connection.call(lambda stub: stub.UpdateService, request).service

    def scale(self, name: str, replicas: int) -> Service:
        """Set how many tasks a replicated service has; ValueError for a service of another mode."""

        def change(spec: ServiceSpec) -> None:
            if spec.WhichOneof("mode") not in ("replicated", None):
                raise ValueError(f"{spec.annotations.name} is not replicated, so it cannot be scaled.")
            spec.replicated.replicas = replicas

        return self.edit(name, change)

    def rollback(self, name: str, *, to_spec_version: int = 0) -> Service:
        """Go back to the previous spec, or to a kept one."""
        service = self.get(name)
        request = api.UpdateServiceRequest(
            id=service.id,
            version=service.meta.version,
            rollback=True,
            rollback_to=to_spec_version,
            request_id=new_id(),
        )
        return self._connection.call(lambda stub: stub.UpdateService, request).service

    def remove(self, name: str) -> str:
        """Remove a service with all its tasks; its id."""
        request = api.RemoveRequest(id=name, request_id=new_id())
        return self._connection.call(lambda stub: stub.RemoveService, request).id


class Rebalancing(_Noun):
    """Moves of tasks that even out the load."""

    def start(
        self, services: Iterable[str] = (), *, everything: bool = False, dry_run: bool = False
    ) -> api.RebalanceResponse:
        """Move tasks of these services (none: of all that allow it; `everything`: of all); what is to be moved."""
        request = api.RebalanceRequest(services=services, all=everything, dry_run=dry_run, request_id=new_id())
        return self._connection.call(lambda stub: stub.Rebalance, request)


class Nodes(_Noun):
    """Nodes: the machines."""

    def list(self, filter: api.Filter | None = None) -> list[Node]:  # noqa: A002 - the field's name in the API
        """All nodes, or those that match."""
        return list(self.list_with_warnings(filter).nodes)

    def list_with_warnings(self, filter: api.Filter | None = None) -> api.ListNodesResponse:  # noqa: A002
        """The nodes, and a sentence about each that somebody should look after, by node id."""
        return self._connection.call(lambda stub: stub.ListNodes, api.ListRequest(filter=filter))

    def get(self, name: str) -> Node:
        """One node, by id, prefix of an id, or host name."""
        return self._connection.call(lambda stub: stub.GetNode, api.GetRequest(id=name)).node

    def update(self, node: Node, spec: NodeSpec) -> Node:
        """Give `node` another spec; ConflictError when somebody changed it since it was read."""
        request = api.UpdateNodeRequest(id=node.id, version=node.meta.version, spec=spec, request_id=new_id())
        return self._connection.call(lambda stub: stub.UpdateNode, request).node

    def edit(self, name: str, change: Callable[[NodeSpec], None]) -> Node:
        """Read, change and write a node; again when somebody else was faster, so `change` may run twice."""
        for attempt in range(_EDIT_ATTEMPTS):
            node = self.get(name)
            spec = NodeSpec()
            spec.CopyFrom(node.spec)
            change(spec)
            try:
                return self.update(node, spec)
            except ConflictError:
                if attempt == _EDIT_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def remove(self, name: str, *, force: bool = False) -> str:
        """Remove a node that is down, or with `force` any; its certificate admits it nowhere any more.  Its id."""
        request = api.RemoveNodeRequest(id=name, force=force, request_id=new_id())
        return self._connection.call(lambda stub: stub.RemoveNode, request).id


class Tasks(_Noun):
    """Tasks: slots of services on nodes."""

    def list(
        self,
        *,
        service: str | None = None,
        node: str | None = None,
        service_ids: Sequence[str] = (),
        node_ids: Sequence[str] = (),
        desired_states: "Sequence[TaskState.ValueType]" = (),
        filter: api.Filter | None = None,  # noqa: A002 - the field's name in the API
    ) -> list[Task]:
        """All tasks, or those of a service or node (by name), in the order slot, then newest first."""
        services, nodes = list(service_ids), list(node_ids)
        if service is not None:
            found = self._connection.call(lambda stub: stub.GetService, api.GetRequest(id=service))
            services.append(found.service.id)
        if node is not None:
            nodes.append(self._connection.call(lambda stub: stub.GetNode, api.GetRequest(id=node)).node.id)
        request = api.ListTasksRequest(
            filter=filter, service_ids=services, node_ids=nodes, desired_states=list(desired_states)
        )
        return sorted(self._connection.call(lambda stub: stub.ListTasks, request).tasks, key=_reading_order)

    def get(self, name: str) -> Task:
        """One task, by id or prefix of an id."""
        return self._connection.call(lambda stub: stub.GetTask, api.GetRequest(id=name)).task


def _reading_order(task: Task) -> tuple[str, int, str, int]:
    created = task.meta.created_at
    place = "" if task.slot else task.node_id
    return (task.service_annotations.name, task.slot, place, -(created.seconds * 10**9 + created.nanos))


class Networks(_Noun):
    """Overlay networks."""

    def list(self, filter: api.Filter | None = None) -> list[Network]:  # noqa: A002 - the field's name in the API
        """All networks, or those that match."""
        return list(self._connection.call(lambda stub: stub.ListNetworks, api.ListRequest(filter=filter)).networks)

    def get(self, name: str) -> Network:
        """One network."""
        return self._connection.call(lambda stub: stub.GetNetwork, api.GetRequest(id=name)).network

    def create(self, spec: NetworkSpec) -> Network:
        """Create a network; AlreadyExistsError when the name is taken."""
        request = api.CreateNetworkRequest(spec=spec, request_id=new_id())
        return self._connection.call(lambda stub: stub.CreateNetwork, request).network

    def remove(self, name: str) -> str:
        """Remove a network that no service uses; its id."""
        request = api.RemoveRequest(id=name, request_id=new_id())
        return self._connection.call(lambda stub: stub.RemoveNetwork, request).id


class Secrets(_Noun):
    """Secrets; their data goes in and never comes back."""

    def list(self, filter: api.Filter | None = None) -> list[Secret]:  # noqa: A002 - the field's name in the API
        """All secrets, or those that match, without data."""
        return list(self._connection.call(lambda stub: stub.ListSecrets, api.ListRequest(filter=filter)).secrets)

    def get(self, name: str) -> Secret:
        """One secret, without its data."""
        return self._connection.call(lambda stub: stub.GetSecret, api.GetRequest(id=name)).secret

    def create(self, spec: SecretSpec) -> Secret:
        """Create a secret; AlreadyExistsError when the name is taken."""
        request = api.CreateSecretRequest(spec=spec, request_id=new_id())
        return self._connection.call(lambda stub: stub.CreateSecret, request).secret

    def update(self, name: str, spec: SecretSpec) -> api.UpdateSecretResponse:
        """Give a secret other data (none: it stays) and these labels; other data replaces the tasks that use it."""
        request = api.UpdateSecretRequest(id=name, spec=spec, request_id=new_id())
        return self._connection.call(lambda stub: stub.UpdateSecret, request)

    def remove(self, name: str) -> str:
        """Remove a secret that no service uses; its id."""
        request = api.RemoveRequest(id=name, request_id=new_id())
        return self._connection.call(lambda stub: stub.RemoveSecret, request).id


class Configs(_Noun):
    """Configs: files for containers that need not be secret."""

    def list(self, filter: api.Filter | None = None) -> list[Config]:  # noqa: A002 - the field's name in the API
        """All configs, or those that match."""
        return list(self._connection.call(lambda stub: stub.ListConfigs, api.ListRequest(filter=filter)).configs)

    def get(self, name: str) -> Config:
        """One config with its data."""
        return self._connection.call(lambda stub: stub.GetConfig, api.GetRequest(id=name)).config

    def create(self, spec: ConfigSpec) -> Config:
        """Create a config; AlreadyExistsError when the name is taken."""
        request = api.CreateConfigRequest(spec=spec, request_id=new_id())
        return self._connection.call(lambda stub: stub.CreateConfig, request).config

    def update(self, name: str, spec: ConfigSpec) -> api.UpdateConfigResponse:
        """Give a config other data (none: it stays) and these labels; other data replaces the tasks that use it."""
        request = api.UpdateConfigRequest(id=name, spec=spec, request_id=new_id())
        return self._connection.call(lambda stub: stub.UpdateConfig, request)

    def remove(self, name: str) -> str:
        """Remove a config that no service uses; its id."""
        request = api.RemoveRequest(id=name, request_id=new_id())
        return self._connection.call(lambda stub: stub.RemoveConfig, request).id


class Stacks(_Noun):
    """Stacks: what one compose file makes."""

    def list(self) -> list[api.StackSummary]:
        """All stacks with the number of their services."""
        return list(self._connection.call(lambda stub: stub.ListStacks, api.ListRequest()).stacks)

    def deploy(self, request: api.DeployStackRequest) -> api.DeployStackResponse:
        """Bring a stack to what the request says, in one commit; with `dry_run` only say what would change."""
        stamped = api.DeployStackRequest()
        stamped.CopyFrom(request)
        stamped.request_id = stamped.request_id or new_id()
        return self._connection.call(lambda stub: stub.DeployStack, stamped)

    def remove(self, name: str) -> Sequence[api.StackChange]:
        """Remove a stack with all that belongs to it; what was removed."""
        request = api.RemoveRequest(id=name, request_id=new_id())
        return list(self._connection.call(lambda stub: stub.RemoveStack, request).changes)
