"""New versions of secrets and configs: other data, the same name, and the services that use it follow in one commit.

Theory of operation
    The data of a secret or config never changes: tasks name it by id, and a task must find tomorrow what it found
    today, also when its node prepares it late or its service is rolled back.  So an update makes a new object.  It
    takes the name; the old one is called NAME@VERSION from then on, says by `replaced_by` what took its place, and
    the services that name the old id are given the new one.  That changes their specs, so that their tasks are
    replaced as their update settings say; and a rollback of a service brings back the version its spec had then.

    An old version is kept while anything can want it: a live task, or a service's spec, previous spec, history, or what
    its canary leaves alone.  The next update, and the removal, of the name forgets those that nothing wants.  A service
    pinned to an old version (`NAME@VERSION`) does not follow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Config, Secret, Service
from swarm_api.specs_pb2 import ConfigSpec, ContainerSpec, SecretSpec

from swarm_manager.api.canary import respecified
from swarm_manager.api.references import users_of_config, users_of_secret
from swarm_manager.api.writes import Edit, check_spec, copy_of
from swarm_manager.core.draft import is_live
from swarm_manager.core.snapshot import View
from swarm_manager.errors import RefusedError

F = TypeVar("F", Secret, Config)
_SEPARATOR = "@"  # no name that a user may give has it


@dataclass(frozen=True, slots=True)
class Renewal(Generic[F]):
    """What an update comes to."""

    current: F  # with the wanted spec: a new object, or the old one where only its labels change
    replaced: F | None = None  # the old object under its new name; None: the object stays the same
    users: tuple[Service, ...] = ()  # changed copies of the services that follow

    def record(self, edit: Edit, view: View) -> None:
        """Write down the objects (not the services), and forget the old versions that nothing wants."""
        if self.replaced is None:
            edit.update(self.current)
            return
        wanted = referenced(view)
        for version in (*versions_of(view, self.current), self.replaced):
            if version.id not in wanted:
                edit.delete(version)
            elif version is self.replaced:
                edit.update(version)
        edit.create(self.current)


def wanted_spec(existing: F, asked: SecretSpec | ConfigSpec) -> SecretSpec | ConfigSpec:
    """The whole spec that an update's request asks for: what it leaves out stays."""
    noun, name = existing.DESCRIPTOR.name.lower(), existing.spec.annotations.name
    if existing.replaced_by:
        current = name.rpartition(_SEPARATOR)[0]
        raise RefusedError(f"The {noun} {name} is an old version, which does not change; update {current}.")
    if asked.annotations.name not in ("", name):
        raise RefusedError(f"The {noun} {name} cannot be renamed; create {asked.annotations.name} and remove this one.")
    spec = copy_of(asked)
    spec.annotations.name = name
    if not spec.data:
        spec.data, spec.templating = existing.spec.data, existing.spec.templating
    check_spec(spec)
    return spec


def renewed(view: View, existing: F, spec: SecretSpec | ConfigSpec, at: Timestamp) -> Renewal[F]:
    """What it takes to give `existing` this spec."""
    if (spec.data, spec.templating) == (existing.spec.data, existing.spec.templating):
        changed = copy_of(existing)
        changed.spec.CopyFrom(spec)  # type: ignore[arg-type]  # the spec of this kind
        return Renewal(changed)
    replaced, current = copy_of(existing), type(existing)(id=new_id())
    current.spec.CopyFrom(spec)  # type: ignore[arg-type]  # the spec of this kind
    replaced.spec.annotations.name += f"{_SEPARATOR}{existing.meta.version.index}"
    replaced.replaced_by = current.id
    users = users_of_secret if isinstance(existing, Secret) else users_of_config
    following = tuple(_following(user, existing.id, current.id, at) for user in users(view, existing.id))
    return Renewal(current, replaced, following)


def versions_of(view: View, current: Secret | Config) -> list[Secret | Config]:
    """The old versions that are kept under a name."""
    prefix = f"{current.spec.annotations.name}{_SEPARATOR}"
    things: Iterable[Secret | Config] = (view.secrets if isinstance(current, Secret) else view.configs).values()
    return [thing for thing in things if thing.replaced_by and thing.spec.annotations.name.startswith(prefix)]


def referenced(view: View) -> set[str]:
    """The ids of all secrets and configs that a task uses, or that a service may still give to one."""
    return {found for container in _containers(view) for found in _ids(container)}


def _containers(view: View) -> Iterator[ContainerSpec]:
    for service in view.services.values():
        if not service.pending_delete:
            yield service.spec.task.container
            yield service.previous_spec.task.container
            yield service.canary.stable.task.container
            yield from (revision.spec.task.container for revision in service.history)
    yield from (task.spec.container for task in view.tasks.values() if is_live(task))


def _ids(container: ContainerSpec) -> Iterator[str]:
    yield from (reference.secret_id for reference in container.secrets)
    yield from (reference.config_id for reference in container.configs)


def _following(service: Service, old_id: str, current_id: str, at: Timestamp) -> Service:
    spec = copy_of(service.spec)
    for secret in spec.task.container.secrets:
        if secret.secret_id == old_id:
            secret.secret_id = current_id
    for config in spec.task.container.configs:
        if config.config_id == old_id:
            config.config_id = current_id
    return respecified(service, spec, at)
