# ruff: noqa: N802 - the names of a servicer's methods are the API's
"""A Control server for tests: the protocol of control.proto over a socket, on plain dictionaries.

It answers as a manager does - names, prefixes, request ids, versions, refusals - and decides nothing: what
tasks there are, and in which state, the test says (`run`, `put`).
"""

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from swarm_api import control_pb2 as api
from swarm_api.control_pb2_grpc import ControlServicer, add_ControlServicer_to_server
from swarm_api.ids import base36
from swarm_api.naming import STACK_LABEL
from swarm_api.objects_pb2 import (
    Cluster,
    Config,
    Network,
    Node,
    Object,
    ObjectKind,
    Secret,
    Service,
    SpecRevision,
    Stack,
    Task,
    UpdateStatus,
)
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import TaskState

_KINDS = ("node", "service", "task", "network", "secret", "config", "stack")


class FakeCluster(ControlServicer):
    """Objects by kind and id, and every request that came."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        self.cluster = Cluster(id="c1")
        self.unlock_key = ""
        self.requests: list[Any] = []
        self.index = 0
        self.rebalances = api.RebalanceResponse()  #: what there is to move
        self.runs_services = True  #: whether created services run at once
        self.managers = [
            api.ManagerInfo(node_id="n1", address="10.0.0.1:2377", leader=True, reachability=2, voter=True)
        ]
        self.warnings: list[str] = []  #: of the cluster
        self.node_warnings: dict[str, str] = {}
        self.fails_next: list[tuple[grpc.StatusCode, str]] = []
        self.backup: list[api.BackupMessage] = []
        self.backup_breaks = False  #: whether the manager goes away in the middle of one
        self.when_watched: list[Callable[[], object]] = []  #: done as soon as a watch stands
        self._remembered: dict[str, Any] = {}
        self._watchers: list[queue.Queue[api.WatchMessage | None]] = []
        self._lock = threading.RLock()

    # -- what a test says --------------------------------------------------------------------------

    def put(self, kind: str, message: Any) -> Any:
        """Store an object as a commit would, and tell the watchers."""
        with self._lock:
            self.index += 1
            known = self.objects[kind].get(message.id)
            message.id = message.id or base36(
                int(hashlib.sha256(str(self.index).encode()).hexdigest(), 16) % 36**25, 25
            )
            message.meta.version.index = self.index
            if not message.meta.created_at.seconds:
                message.meta.created_at.seconds = 1_700_000_000 + self.index
            self.objects[kind][message.id] = message
            self._tell(kind, message, api.WatchEvent.UPDATE if known is not None else api.WatchEvent.CREATE)
            return message

    def drop(self, kind: str, object_id: str) -> None:
        """Remove an object, and tell the watchers."""
        with self._lock:
            self.index += 1
            self._tell(kind, self.objects[kind].pop(object_id), api.WatchEvent.REMOVE_OBJECT)

    def _drop_with_tasks(self, kind: str, object_id: str) -> None:
        for task in [task for task in self.objects["task"].values() if task.service_id == object_id]:
            self.drop("task", task.id)
        self.drop(kind, object_id)

    def run(self, service: Service, state: TaskState.ValueType = TaskState.RUNNING, err: str = "") -> list[Task]:
        """Give a service as many tasks in this state as it wants."""
        for task in [task for task in self.objects["task"].values() if task.service_id == service.id]:
            self.drop("task", task.id)
        tasks = []
        for slot in range(1, _wanted(service) + 1):
            task = Task(service_id=service.id, slot=slot, desired_state=TaskState.RUNNING, spec=service.spec.task)
            task.service_annotations.CopyFrom(service.spec.annotations)
            task.spec_version.CopyFrom(service.spec_version)
            task.status.state, task.status.err = state, err
            tasks.append(self.put("task", task))
        return tasks

    def end_streams(self) -> None:
        """Break every watch, as a manager that goes down does."""
        for watcher in list(self._watchers):
            watcher.put(None)

    def service(self, name: str) -> Service:
        """A stored service by name."""
        return next(one for one in self.objects["service"].values() if one.spec.annotations.name == name)

    def _tell(self, kind: str, message: Any, action: api.WatchEvent.Action.ValueType) -> None:
        event = api.WatchEvent(action=action, object=Object(**{kind: message}))
        told = api.WatchMessage(version=self.index, events=[event])
        for watcher in self._watchers:
            watcher.put(told)

    # -- requests -----------------------------------------------------------------------------------

    def _begin(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if self.fails_next:
            context.abort(*self.fails_next.pop(0))

    def _find(self, kind: str, name: str, context: grpc.ServicerContext) -> Any:
        held = self.objects[kind]
        found = held.get(name) or next((one for one in held.values() if _name(one) == name), None)
        if found is None:
            matching = [one for key, one in held.items() if name and key.startswith(name)]
            found = matching[0] if len(matching) == 1 else None
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"There is no {kind} {name!r}.")
        return found

    def _listed(self, kind: str, request: Any, context: grpc.ServicerContext) -> list[Any]:
        self._begin(request, context)
        return [one for one in self.objects[kind].values() if _matches(one, request.filter)]

    def _create(self, kind: str, made: Any, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin(request, context)
        with self._lock:
            if request.request_id in self._remembered:
                return self._remembered[request.request_id]
            if any(_name(one) == _name(made) for one in self.objects[kind].values()):
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"There is a {kind} {_name(made)!r} already.")
            self._remembered[request.request_id] = self.put(kind, made)
            return made

    def _remove(self, kind: str, request: Any, context: grpc.ServicerContext) -> api.RemoveResponse:
        self._begin(request, context)
        found = self._find(kind, request.id, context)
        self._drop_with_tasks(kind, found.id)
        return api.RemoveResponse(id=found.id)

    def GetInfo(self, request: Any, context: grpc.ServicerContext) -> api.GetInfoResponse:
        self._begin(request, context)
        return api.GetInfoResponse(
            cluster_id="c1",
            cluster_name="default",
            node_id="n1",
            leader_id="n1",
            term=3,
            managers=self.managers,
            warnings=self.warnings,
            applied_index=self.index,
            nodes=len(self.objects["node"]),
            services=len(self.objects["service"]),
            version="0.1.0",
        )

    def GetCluster(self, request: Any, context: grpc.ServicerContext) -> api.GetClusterResponse:
        self._begin(request, context)
        return api.GetClusterResponse(cluster=self.cluster)

    def UpdateCluster(self, request: Any, context: grpc.ServicerContext) -> api.UpdateClusterResponse:
        self._begin(request, context)
        if request.HasField("spec"):
            self.cluster.spec.CopyFrom(request.spec)
        if request.rotate_unlock_key:
            self.unlock_key += "x"
        return api.UpdateClusterResponse(cluster=self.cluster)

    def GetJoinTokens(self, request: Any, context: grpc.ServicerContext) -> api.GetJoinTokensResponse:
        self._begin(request, context)
        rotated = sum(isinstance(one, api.UpdateClusterRequest) for one in self.requests)
        response = api.GetJoinTokensResponse(manager_addresses=["10.0.0.1:2377", "10.0.0.2:2377"])
        response.tokens.worker, response.tokens.manager = f"SWMTKN-1-w-{rotated}", f"SWMTKN-1-m-{rotated}"
        return response

    def GetUnlockKey(self, request: Any, context: grpc.ServicerContext) -> api.GetUnlockKeyResponse:
        self._begin(request, context)
        return api.GetUnlockKeyResponse(unlock_key=self.unlock_key)

    def Unlock(self, request: Any, context: grpc.ServicerContext) -> api.UnlockResponse:
        self._begin(request, context)
        if request.unlock_key != self.unlock_key:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "This is not the key.")
        return api.UnlockResponse()

    def ListNodes(self, request: Any, context: grpc.ServicerContext) -> api.ListNodesResponse:
        return api.ListNodesResponse(nodes=self._listed("node", request, context), warnings=self.node_warnings)

    def GetNode(self, request: Any, context: grpc.ServicerContext) -> api.GetNodeResponse:
        self._begin(request, context)
        return api.GetNodeResponse(node=self._find("node", request.id, context))

    def Rebalance(self, request: Any, context: grpc.ServicerContext) -> api.RebalanceResponse:
        self._begin(request, context)
        if not request.dry_run:
            for move in self.rebalances.moves:
                self.service(move.service_name).rebalance_asked_at.seconds = 1
        return self.rebalances

    def UpdateNode(self, request: Any, context: grpc.ServicerContext) -> api.UpdateNodeResponse:
        self._begin(request, context)
        node = Node()
        node.CopyFrom(self._find("node", request.id, context))
        node.spec.CopyFrom(request.spec)
        return api.UpdateNodeResponse(node=self.put("node", node))

    def RemoveNode(self, request: Any, context: grpc.ServicerContext) -> api.RemoveResponse:
        return self._remove("node", request, context)

    def ListServices(self, request: Any, context: grpc.ServicerContext) -> api.ListServicesResponse:
        services = self._listed("service", request, context)
        return api.ListServicesResponse(services=services, progress={one.id: self._progress(one) for one in services})

    def GetService(self, request: Any, context: grpc.ServicerContext) -> api.GetServiceResponse:
        self._begin(request, context)
        service = self._find("service", request.id, context)
        return api.GetServiceResponse(service=service, progress=self._progress(service))

    def _progress(self, service: Service) -> api.ServiceProgress:
        tasks = [task for task in self.objects["task"].values() if task.service_id == service.id]
        running = sum(task.status.state == TaskState.RUNNING for task in tasks)
        waiting = next((task.status.err for task in tasks if task.status.err), "")
        completed = sum(task.status.state == TaskState.COMPLETE for task in tasks)
        failed = sum(task.status.state == TaskState.FAILED for task in tasks)
        return api.ServiceProgress(
            wanted=_wanted(service), running=running, completed=completed, failed=failed, waiting_for=waiting
        )

    def CreateService(self, request: Any, context: grpc.ServicerContext) -> api.CreateServiceResponse:
        made = Service(spec=request.spec)
        made.spec_version.index = self.index + 1
        made.endpoint.ports.extend(request.spec.endpoint.ports)
        service = self._create("service", made, request, context)
        if self.runs_services:
            self.run(service)
        return api.CreateServiceResponse(service=service)

    def UpdateService(self, request: Any, context: grpc.ServicerContext) -> api.UpdateServiceResponse:
        self._begin(request, context)
        with self._lock:
            service = Service()
            service.CopyFrom(self._find("service", request.id, context))
            if request.command == api.UpdateServiceRequest.PROMOTE:
                service.canary.promoted = True
                return api.UpdateServiceResponse(service=self.put("service", service))
            if request.command:
                pauses = request.command == api.UpdateServiceRequest.PAUSE
                service.update_status.state = UpdateStatus.PAUSED if pauses else UpdateStatus.UPDATING
                service.update_status.message = "update paused by eve" if pauses else "update resumed by eve"
                return api.UpdateServiceResponse(service=self.put("service", service))
            if service.meta.version.index != request.version.index:
                context.abort(grpc.StatusCode.ABORTED, "The service changed since it was read.")
            wanted = ServiceSpec()
            wanted.CopyFrom(self._rolled_back(service, request.rollback_to) if request.rollback else request.spec)
            kept = SpecRevision(version=service.spec_version, spec=service.spec, changed_by=service.spec_changed_by)
            kept.replaced_at.seconds = 1_700_000_001 + self.index
            kept_all = [kept, *service.history]
            del service.history[:]
            service.history.extend(kept_all)
            service.previous_spec.CopyFrom(service.spec)
            service.spec.CopyFrom(wanted)
            service.spec_version.index = self.index + 1
            service.spec_changed_by = "eve"
            if request.HasField("canary"):
                service.canary.share.CopyFrom(request.canary)
                service.update_status.state = UpdateStatus.CANARY
                service.update_status.message = "canary: 1 of 3 on version 7, waiting for promote"
            self.put("service", service)
        if self.runs_services:
            self.run(service)
        return api.UpdateServiceResponse(service=service)

    @staticmethod
    def _rolled_back(service: Service, version: int) -> ServiceSpec:
        if not version:
            return service.previous_spec
        return next(revision.spec for revision in service.history if revision.version.index == version)

    def RemoveService(self, request: Any, context: grpc.ServicerContext) -> api.RemoveResponse:
        return self._remove("service", request, context)

    def ListTasks(self, request: Any, context: grpc.ServicerContext) -> api.ListTasksResponse:
        self._begin(request, context)
        tasks = [
            task
            for task in self.objects["task"].values()
            if (not request.service_ids or task.service_id in request.service_ids)
            and (not request.node_ids or task.node_id in request.node_ids)
        ]
        return api.ListTasksResponse(tasks=tasks)

    def GetTask(self, request: Any, context: grpc.ServicerContext) -> api.GetTaskResponse:
        self._begin(request, context)
        return api.GetTaskResponse(task=self._find("task", request.id, context))

    def ListNetworks(self, request: Any, context: grpc.ServicerContext) -> api.ListNetworksResponse:
        return api.ListNetworksResponse(networks=self._listed("network", request, context))

    def GetNetwork(self, request: Any, context: grpc.ServicerContext) -> api.GetNetworkResponse:
        self._begin(request, context)
        return api.GetNetworkResponse(network=self._find("network", request.id, context))

    def CreateNetwork(self, request: Any, context: grpc.ServicerContext) -> api.CreateNetworkResponse:
        made = Network(spec=request.spec, subnet="10.128.0.0/24")
        return api.CreateNetworkResponse(network=self._create("network", made, request, context))

    def RemoveNetwork(self, request: Any, context: grpc.ServicerContext) -> api.RemoveResponse:
        return self._remove("network", request, context)

    def ListSecrets(self, request: Any, context: grpc.ServicerContext) -> api.ListSecretsResponse:
        return api.ListSecretsResponse(secrets=self._listed("secret", request, context))

    def GetSecret(self, request: Any, context: grpc.ServicerContext) -> api.GetSecretResponse:
        self._begin(request, context)
        return api.GetSecretResponse(secret=self._find("secret", request.id, context))

    def CreateSecret(self, request: Any, context: grpc.ServicerContext) -> api.CreateSecretResponse:
        made = Secret(spec=request.spec)
        made.spec.ClearField("data")
        return api.CreateSecretResponse(secret=self._create("secret", made, request, context))

    def UpdateSecret(self, request: Any, context: grpc.ServicerContext) -> api.UpdateSecretResponse:
        self._begin(request, context)
        with self._lock:
            old = self._find("secret", request.id, context)
            made = Secret(spec=request.spec)
            made.spec.annotations.name = old.spec.annotations.name
            if not request.spec.data:
                made.id = old.id
                return api.UpdateSecretResponse(secret=self.put("secret", made))
            kept = Secret(id=old.id, spec=old.spec, replaced_by="new")
            kept.spec.annotations.name += f"@{old.meta.version.index}"
            self.put("secret", kept)
            services = list(self.objects["service"])
            return api.UpdateSecretResponse(secret=self.put("secret", made), service_ids=services)

    def RemoveSecret(self, request: Any, context: grpc.ServicerContext) -> api.RemoveResponse:
        return self._remove("secret", request, context)

    def ListConfigs(self, request: Any, context: grpc.ServicerContext) -> api.ListConfigsResponse:
        return api.ListConfigsResponse(configs=self._listed("config", request, context))

    def GetConfig(self, request: Any, context: grpc.ServicerContext) -> api.GetConfigResponse:
        self._begin(request, context)
        return api.GetConfigResponse(config=self._find("config", request.id, context))

    def CreateConfig(self, request: Any, context: grpc.ServicerContext) -> api.CreateConfigResponse:
        made = Config(spec=request.spec)
        return api.CreateConfigResponse(config=self._create("config", made, request, context))

    def UpdateConfig(self, request: Any, context: grpc.ServicerContext) -> api.UpdateConfigResponse:
        self._begin(request, context)
        with self._lock:
            old = self._find("config", request.id, context)
            made = Config(spec=request.spec)
            made.spec.annotations.name = old.spec.annotations.name
            if not request.spec.data:
                made.id = old.id
                return api.UpdateConfigResponse(config=self.put("config", made))
            kept = Config(id=old.id, spec=old.spec, replaced_by="new")
            kept.spec.annotations.name += f"@{old.meta.version.index}"
            self.put("config", kept)
            services = list(self.objects["service"])
            return api.UpdateConfigResponse(config=self.put("config", made), service_ids=services)

    def RemoveConfig(self, request: Any, context: grpc.ServicerContext) -> api.RemoveResponse:
        return self._remove("config", request, context)

    def ListStacks(self, request: Any, context: grpc.ServicerContext) -> api.ListStacksResponse:
        stacks = self._listed("stack", request, context)
        return api.ListStacksResponse(
            stacks=[api.StackSummary(stack=one, services=len(self._members(one.annotations.name))) for one in stacks]
        )

    def _members(self, stack: str) -> list[Service]:
        return [one for one in self.objects["service"].values() if one.spec.annotations.labels[STACK_LABEL] == stack]

    def DeployStack(self, request: Any, context: grpc.ServicerContext) -> api.DeployStackResponse:
        self._begin(request, context)
        changes = []
        known = {one.spec.annotations.name: one for one in self._members(request.name)}
        for spec in request.services:
            found = known.get(spec.annotations.name)
            action = api.StackChange.CREATED if found is None else api.StackChange.UPDATED
            service = Service(id=found.id if found else "", spec=spec)
            service.spec.annotations.labels[STACK_LABEL] = request.name
            if found is not None and found.spec == service.spec:
                action = api.StackChange.UNCHANGED
            elif not request.dry_run:
                self.put("service", service)
                if self.runs_services:
                    self.run(service)
            changes.append(
                api.StackChange(kind=ObjectKind.SERVICE, id=service.id or "", name=spec.annotations.name, action=action)
            )
        if not request.dry_run and not any(_name(one) == request.name for one in self.objects["stack"].values()):
            stack = Stack(source=request.source)
            stack.annotations.name = request.name
            self.put("stack", stack)
        for change in changes:
            change.id = change.id or next(
                (one.id for one in self._members(request.name) if _name(one) == change.name), ""
            )
        return api.DeployStackResponse(stack_id="s", changes=changes)

    def RemoveStack(self, request: Any, context: grpc.ServicerContext) -> api.RemoveStackResponse:
        self._begin(request, context)
        stack = self._find("stack", request.id, context)
        changes = []
        for service in self._members(stack.annotations.name):
            self._drop_with_tasks("service", service.id)
            changes.append(
                api.StackChange(
                    kind=ObjectKind.SERVICE, id=service.id, name=_name(service), action=api.StackChange.REMOVED
                )
            )
        self.drop("stack", stack.id)
        return api.RemoveStackResponse(changes=changes)

    def Backup(self, request: Any, context: grpc.ServicerContext) -> Iterator[api.BackupMessage]:
        self._begin(request, context)
        yield from self.backup
        if self.backup_breaks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "The manager is going down.")

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[api.WatchMessage]:
        self._begin(request, context)
        mine: queue.Queue[api.WatchMessage | None] = queue.Queue()
        with self._lock:
            self._watchers.append(mine)
            version = max(request.resume_from, self.index) if not request.resume_from else request.resume_from
        context.add_callback(lambda: mine.put(None))
        yield api.WatchMessage(version=version)
        while self.when_watched:
            self.when_watched.pop(0)()
        while (message := mine.get()) is not None:
            yield message
        self._watchers.remove(mine)
        if context.is_active():
            context.abort(grpc.StatusCode.UNAVAILABLE, "The manager is going down.")


def _wanted(service: Service) -> int:
    return service.spec.replicated.replicas or service.spec.replicated_job.total_completions


def _name(one: Any) -> str:
    if isinstance(one, Stack):
        return one.annotations.name
    if isinstance(one, Node):
        return one.description.hostname
    return one.spec.annotations.name if hasattr(one, "spec") and hasattr(one.spec, "annotations") else one.id


def _matches(one: Any, wanted: api.Filter) -> bool:
    labels = one.spec.annotations.labels if hasattr(one, "spec") else one.annotations.labels
    return (
        (not wanted.ids or one.id in wanted.ids)
        and (not wanted.id_prefixes or any(one.id.startswith(prefix) for prefix in wanted.id_prefixes))
        and (not wanted.names or _name(one) in wanted.names)
        and (not wanted.name_prefixes or any(_name(one).startswith(prefix) for prefix in wanted.name_prefixes))
        and all(key in labels and value in ("", labels[key]) for key, value in wanted.labels.items())
    )


def serve(cluster: ControlServicer, address: str, credentials: grpc.ServerCredentials | None = None) -> grpc.Server:
    """Serve it at `unix:/path`, or with credentials at `host:port`; stop the server when done."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=12), options=[("grpc.so_reuseport", 0)])
    add_ControlServicer_to_server(cluster, server)
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    if not bound and not address.startswith("unix:"):
        raise OSError(f"cannot bind {address}")
    server.start()
    return server
