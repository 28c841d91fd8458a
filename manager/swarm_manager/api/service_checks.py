"""Whether a service can be made or changed as its spec says, in the present state.

`settle` returns the spec as it is stored: with the ids of the networks, secrets and configs it names.
"""

from swarm_api.objects_pb2 import ObjectKind, Service
from swarm_api.privileges import privileges
from swarm_api.specs_pb2 import ServiceSpec

from swarm_manager.api.references import refuse_taken_name, resolve
from swarm_manager.api.writes import check_spec, copy_of
from swarm_manager.core.draft import published_ports
from swarm_manager.core.snapshot import View
from swarm_manager.errors import RefusedError
from swarm_manager.time_zones import zone_of


def settle(view: View, spec: ServiceSpec, existing: Service | None = None) -> ServiceSpec:
    """The spec to store, for a new service or instead of an existing one's; raises ManagerError with the reason."""
    check_spec(spec)
    settled = copy_of(spec)
    name = spec.annotations.name
    if existing is None:
        refuse_taken_name(view, ObjectKind.SERVICE, name)
    else:
        _refuse_another_kind(existing.spec, spec)
    _resolve_references(view, settled, f"Service {name}")
    _refuse_taken_ports(view, settled, existing)
    _refuse_privileges(view, settled, existing)
    _refuse_unknown_zone(settled)
    return settled


def _refuse_another_kind(old: ServiceSpec, new: ServiceSpec) -> None:
    name = old.annotations.name
    if new.annotations.name != name:
        raise RefusedError(
            f"Service {name} cannot be renamed to {new.annotations.name}; create a new service and remove this one."
        )
    before, after = old.WhichOneof("mode"), new.WhichOneof("mode")
    if before != after:
        raise RefusedError(
            f"The mode of service {name} cannot change from {_words(before)} to {_words(after)}; remove it and create "
            "it anew."
        )


def _words(mode: str | None) -> str:
    return (mode or "replicated").replace("_", " ")


def _resolve_references(view: View, spec: ServiceSpec, user: str) -> None:
    for attachment in spec.task.networks:
        attachment.target = resolve(view, ObjectKind.NETWORK, attachment.target, user)
    for secret in spec.task.container.secrets:
        secret.secret_id = resolve(view, ObjectKind.SECRET, secret.secret_id or secret.secret_name, user)
        secret.secret_name = view.secrets[secret.secret_id].spec.annotations.name
    for config in spec.task.container.configs:
        config.config_id = resolve(view, ObjectKind.CONFIG, config.config_id or config.config_name, user)
        config.config_name = view.configs[config.config_id].spec.annotations.name


def _refuse_taken_ports(view: View, spec: ServiceSpec, existing: Service | None) -> None:
    own_id = existing.id if existing is not None else ""
    for key in published_ports(Service(spec=spec)):
        owner = view.published.get(key)
        if owner is not None and owner != own_id:
            protocol, number = key.split("/")
            name = view.services[owner].spec.annotations.name
            raise RefusedError(
                f"Port {number}/{protocol} is already published by service {name}; publish another port, or remove "
                "that service first."
            )


def _refuse_privileges(view: View, spec: ServiceSpec, existing: Service | None) -> None:
    """Refuse what is new: a service that was allowed before can still be scaled when the policy is stricter."""
    if view.cluster is not None and view.cluster.spec.allow_privileged:
        return
    had = privileges(existing.spec.task.container) if existing is not None else []
    asked = [privilege for privilege in privileges(spec.task.container) if privilege not in had]
    if asked:
        raise RefusedError(
            f"Service {spec.annotations.name} asks for {', '.join(asked)}, which gives its containers power over their "
            "nodes and is not allowed in this cluster; 'swarm-cli cluster update --allow-privileged' allows it."
        )


def _refuse_unknown_zone(spec: ServiceSpec) -> None:
    name = spec.schedule.time_zone
    if zone_of(name) is None:
        raise RefusedError(
            f"Service {spec.annotations.name} has the time zone {name}, which this manager does not know; use an IANA "
            "name such as Europe/Berlin, or install the package tzdata on the managers."
        )
