"""Stacks: all of a compose file in one commit.

Each wanted object is compared with the one of the same name: it is created, updated, or left alone.  The whole
request is decided on one draft, in which services already see the networks, secrets and configs made beside them, so
that a file is accepted or refused as a whole.
"""

from collections.abc import Iterable
from typing import Any

from swarm_api.control_pb2 import (
    DeployStackRequest,
    DeployStackResponse,
    ListRequest,
    ListStacksResponse,
    RemoveRequest,
    RemoveStackResponse,
    StackChange,
    StackSummary,
)
from swarm_api.ids import new_id
from swarm_api.naming import STACK_LABEL, name_error
from swarm_api.objects_pb2 import Config, Network, ObjectKind, Secret, Service, Stack
from swarm_api.specs_pb2 import ConfigSpec, NetworkSpec, SecretSpec, ServiceSpec

from swarm_manager.api import networks, services
from swarm_manager.api.auth import caller_name
from swarm_manager.api.canary import respecified
from swarm_manager.api.desk import Desk
from swarm_manager.api.lookup import find, select
from swarm_manager.api.references import users_of_config, users_of_network, users_of_secret
from swarm_manager.api.service_checks import settle
from swarm_manager.api.versions import Renewal, renewed
from swarm_manager.api.writes import Edit, check_spec, copy_of, write
from swarm_manager.core.draft import Draft
from swarm_manager.core.kinds import KINDS, Stored
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import timestamp
from swarm_manager.errors import AlreadyExistsError, BadRequestError, RefusedError


class StackRpcs(Desk):
    """ListStacks, DeployStack, RemoveStack."""

    async def ListStacks(self, request: ListRequest, context: Any) -> ListStacksResponse:  # noqa: N802, ARG002 - gRPC's
        """All stacks, and how many services each has."""
        view = await self._view(stale=request.stale)
        chosen = select(view.stacks.values(), request.filter)
        counts = [len(members(view.services.values(), stack.annotations.name)) for stack in chosen]
        summaries = [StackSummary(stack=stack, services=n) for stack, n in zip(chosen, counts, strict=True)]
        return ListStacksResponse(stacks=summaries)

    async def DeployStack(self, request: DeployStackRequest, context: Any) -> DeployStackResponse:  # noqa: N802, ARG002 - gRPC's
        """Create what is missing, update what changed, leave the rest alone; with `dry_run`, only say so."""
        _check_request(request)
        if request.dry_run:
            snapshot = await self._store.read()
            return Deployment(snapshot, Edit(), request).run()

        def decide(snapshot: Snapshot, edit: Edit) -> DeployStackResponse:
            return Deployment(snapshot, edit, request).run()

        return await write(self._store, request.request_id, DeployStackResponse, decide)

    async def RemoveStack(self, request: RemoveRequest, context: Any) -> RemoveStackResponse:  # noqa: N802, ARG002 - gRPC's
        """Take out a stack's services, networks, secrets and configs; networks others use are left."""

        def decide(snapshot: Snapshot, edit: Edit) -> RemoveStackResponse:
            stack = find(snapshot, ObjectKind.STACK, request.id, Stack)
            return RemoveStackResponse(changes=_removed(snapshot, edit, stack))

        return await write(self._store, request.request_id, RemoveStackResponse, decide)


def members(things: Iterable[Any], stack: str) -> list[Any]:
    """Those of the objects that belong to a stack and stay, by name."""
    own = [
        t
        for t in things
        if t.spec.annotations.labels.get(STACK_LABEL) == stack and not getattr(t, "pending_delete", False)
    ]
    return sorted(own, key=lambda thing: str(thing.spec.annotations.name))


def _check_request(request: DeployStackRequest) -> None:
    problem = name_error(request.name, "stack")
    if problem:
        raise BadRequestError(problem)
    for specs in (request.networks, request.secrets, request.configs, request.services):
        names = [spec.annotations.name for spec in specs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadRequestError(f"The stack {request.name} names {twice[0]} twice.")


class Deployment:
    """One deploy request, decided on one snapshot."""

    def __init__(self, snapshot: Snapshot, edit: Edit, request: DeployStackRequest) -> None:
        self._view = Draft(snapshot)
        self._edit = edit
        self._request = request
        self._changes: list[StackChange] = []
        self._following: dict[str, Service] = {}  # not in the request, but use a secret or config whose data changes

    def run(self) -> DeployStackResponse:
        """Decide all of it; raises ManagerError when any part cannot be."""
        request = self._request
        stack_id = self._stack()
        for network in request.networks:
            self._network(self._labelled(network))
        for secret in request.secrets:
            self._file(ObjectKind.SECRET, self._labelled(secret))
        for config in request.configs:
            self._file(ObjectKind.CONFIG, self._labelled(config))
        for service in request.services:
            self._service(self._labelled(service))
        if request.prune:
            self._prune()
        for follower in self._following.values():
            self._edit.update(follower)
            self._note(ObjectKind.SERVICE, follower, StackChange.UPDATED)
        return DeployStackResponse(stack_id=stack_id, changes=self._changes)

    def _stack(self) -> str:
        found = self._view.id_of_name(ObjectKind.STACK, self._request.name)
        if found is None:
            stack = Stack(id=new_id(), source=self._request.source)
            stack.annotations.name = self._request.name
            self._create(ObjectKind.STACK, stack)
            return stack.id
        known = self._view.stacks[found]
        if known.source != self._request.source:
            changed = copy_of(known)
            changed.source = self._request.source
            self._edit.update(changed)
        return found

    def _labelled(self, spec: Any) -> Any:
        copy = copy_of(spec)
        copy.annotations.labels[STACK_LABEL] = self._request.name
        return copy

    def _existing(self, kind: int, spec: Any) -> Any:
        """The object of this name, which must be the stack's own; None when there is none."""
        name = spec.annotations.name
        found = self._view.id_of_name(kind, name)
        if found is None:
            return None
        obj: Any = self._view.get(kind, found)
        owner = obj.spec.annotations.labels.get(STACK_LABEL)
        if owner != self._request.name:
            whose = f"belongs to the stack {owner}" if owner else "belongs to no stack"
            raise AlreadyExistsError(
                f"The {KINDS[kind].noun} {name} exists already and {whose}; rename it in the file, or declare it "
                "external."
            )
        return obj

    def _network(self, spec: NetworkSpec) -> None:
        existing: Network | None = self._existing(ObjectKind.NETWORK, spec)
        if existing is None:
            self._create(ObjectKind.NETWORK, networks.new_network(self._view, spec))
        elif existing.spec == spec:
            self._note(ObjectKind.NETWORK, existing, StackChange.UNCHANGED)
        else:
            raise RefusedError(
                f"The network {spec.annotations.name} cannot be changed while it exists; remove the stack "
                f"{self._request.name} and deploy it anew, or give the network another name."
            )

    def _file(self, kind: int, spec: SecretSpec | ConfigSpec) -> None:
        check_spec(spec)
        existing = self._existing(kind, spec)
        if existing is None:
            self._create(kind, Secret(id=new_id(), spec=spec) if isinstance(spec, SecretSpec) else _config(spec))
        elif existing.spec == spec:
            self._note(kind, existing, StackChange.UNCHANGED)
        else:
            self._renew(kind, renewed(self._view, existing, spec, timestamp(self._edit.at_ns)))

    def _renew(self, kind: int, renewal: Renewal[Any]) -> None:
        """The request's own services find the new version by its name; the others are changed here."""
        renewal.record(self._edit, self._view)
        if renewal.replaced is not None:
            self._view.put(kind, renewal.replaced)
        self._view.put(kind, renewal.current)
        self._note(kind, renewal.current, StackChange.UPDATED)
        requested = {spec.annotations.name for spec in self._request.services}
        for user in renewal.users:
            if user.spec.annotations.name not in requested:
                self._following[user.id] = user
                self._view.put(ObjectKind.SERVICE, user)

    def _service(self, spec: ServiceSpec) -> None:
        existing: Service | None = self._existing(ObjectKind.SERVICE, spec)
        if existing is None:
            made = Service(id=new_id(), spec=settle(self._view, spec), spec_changed_by=caller_name())
            self._create(ObjectKind.SERVICE, made)
            return
        # The restarts asked for by hand stay counted: a deploy that changes nothing restarts nothing.
        spec.task.force_update = max(spec.task.force_update, existing.spec.task.force_update)
        changed = respecified(existing, settle(self._view, spec, existing), timestamp(self._edit.at_ns))
        if changed is existing:
            self._note(ObjectKind.SERVICE, existing, StackChange.UNCHANGED)
        else:
            self._update(ObjectKind.SERVICE, changed)

    def _prune(self) -> None:
        kept = {spec.annotations.name for spec in self._request.services}
        for service in members(list(self._view.services.values()), self._request.name):
            if service.spec.annotations.name not in kept:
                self._following.pop(service.id, None)
                self._edit.update(services.leaving(service))
                self._note(ObjectKind.SERVICE, service, StackChange.REMOVED)

    def _create(self, kind: int, obj: Stored) -> None:
        self._edit.create(obj)
        self._view.put(kind, obj)
        self._note(kind, obj, StackChange.CREATED)

    def _update(self, kind: int, obj: Stored) -> None:
        self._edit.update(obj)
        self._view.put(kind, obj)
        self._note(kind, obj, StackChange.UPDATED)

    def _note(self, kind: int, obj: Any, action: "StackChange.Action.ValueType") -> None:
        if kind != ObjectKind.STACK:
            self._changes.append(_change(kind, obj, action))


def _config(spec: ConfigSpec) -> Config:
    return Config(id=new_id(), spec=spec)


def _change(kind: int, obj: Any, action: "StackChange.Action.ValueType") -> StackChange:
    return StackChange(kind=kind, id=obj.id, name=obj.spec.annotations.name, action=action)  # type: ignore[arg-type]  # the enum's numbers


def _removed(snapshot: Snapshot, edit: Edit, stack: Stack) -> list[StackChange]:
    name = stack.annotations.name
    removed: list[tuple[int, Any]] = []
    own_services = members(snapshot.services.values(), name)
    own_ids = {service.id for service in own_services}
    for service in own_services:
        edit.update(services.leaving(service))
        removed.append((ObjectKind.SERVICE, service))
    for network in members(snapshot.networks.values(), name):
        if not _used_by_others(users_of_network(snapshot, network.id), own_ids):
            edit.update(networks.leaving(network))
            removed.append((ObjectKind.NETWORK, network))
    for secret in members(snapshot.secrets.values(), name):
        if not _used_by_others(users_of_secret(snapshot, secret.id), own_ids):
            edit.delete(secret)
            removed.append((ObjectKind.SECRET, secret))
    for config in members(snapshot.configs.values(), name):
        if not _used_by_others(users_of_config(snapshot, config.id), own_ids):
            edit.delete(config)
            removed.append((ObjectKind.CONFIG, config))
    edit.delete(stack)
    return [_change(kind, obj, StackChange.REMOVED) for kind, obj in removed]


def _used_by_others(users: Iterable[Service], own_ids: set[str]) -> bool:
    return any(service.id not in own_ids for service in users)
