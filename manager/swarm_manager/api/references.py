"""Who names whom: what a spec refers to must exist, and what is referred to is not removed."""

from collections.abc import Iterable

from swarm_api.objects_pb2 import Service

from swarm_manager.core.kinds import KINDS
from swarm_manager.core.snapshot import View
from swarm_manager.errors import AlreadyExistsError, NotFoundError, RefusedError

_SHOWN = 3


def refuse_taken_name(view: View, kind: int, name: str) -> None:
    """Raise AlreadyExistsError when an object of the kind has this name."""
    if view.id_of_name(kind, name) is not None:
        noun = KINDS[kind].noun
        raise AlreadyExistsError(f"A {noun} named {name} exists already; choose another name or remove it first.")


def refuse_in_use(what: str, users: Iterable[Service]) -> None:
    """Raise RefusedError naming the services that use it."""
    names = sorted(service.spec.annotations.name for service in users)
    if names:
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        raise RefusedError(f"The {what} is in use by {shown}; remove or change these services first.")


def resolve(view: View, kind: int, text: str, user: str) -> str:
    """The id of the one object that `user` (a service, in words) means by an id or name; NotFoundError if none."""
    if view.get(kind, text) is not None:
        return text
    found = view.id_of_name(kind, text)
    if found is None:
        noun = KINDS[kind].noun
        raise NotFoundError(f"{user} names the {noun} {text!r}, which does not exist; create it first.")
    return found


def users_of_secret(view: View, secret_id: str) -> list[Service]:
    """The services whose containers get the secret."""
    return [s for s in _staying(view) if any(r.secret_id == secret_id for r in s.spec.task.container.secrets)]


def users_of_config(view: View, config_id: str) -> list[Service]:
    """The services whose containers get the config."""
    return [s for s in _staying(view) if any(r.config_id == config_id for r in s.spec.task.container.configs)]


def users_of_network(view: View, network_id: str) -> list[Service]:
    """The services that join the network."""
    ids = view.services_in_network(network_id)
    return [service for service in _staying(view) if service.id in ids]


def _staying(view: View) -> Iterable[Service]:
    return (service for service in view.services.values() if not service.pending_delete)
