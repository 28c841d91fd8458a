"""A project as the one request that deploys it.

Names become full names, STACK_NAME, save where the file gives a `name:` or says `external`.  Networks, secrets
and configs are named in a service's spec by their full names; the managers resolve them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm_api.control_pb2 import DeployStackRequest
from swarm_api.naming import name_error

from swarm_cli.compose.convert_files import config_spec, secret_spec
from swarm_cli.compose.convert_mounts import note_volumes
from swarm_cli.compose.convert_networks import network_spec
from swarm_cli.compose.convert_service import service_spec
from swarm_cli.compose.load import Project
from swarm_cli.compose.part import Notes, Part
from swarm_cli.errors import ComposeError

DEFAULT_NETWORK = "default"


@dataclass(frozen=True, slots=True)
class Names:
    """What the short names of a compose file are in the cluster."""

    stack: str
    networks: Mapping[str, str]
    volumes: Mapping[str, str]
    secrets: Mapping[str, str]
    configs: Mapping[str, str]

    def service(self, short: str) -> str:
        """A service's full name."""
        return f"{self.stack}_{short}"


@dataclass(frozen=True, slots=True)
class Conversion:
    """The request, and what a person should know about it."""

    request: DeployStackRequest
    warnings: list[str]


def convert(project: Project, stack: str, *, prune: bool = False, dry_run: bool = False) -> Conversion:
    """The request that deploys the project as `stack`; ComposeError names a value that cannot be deployed."""
    reason = name_error(stack, "stack")
    if reason:
        raise ComposeError(reason)
    notes = Notes(project.document, list(project.warnings))
    names = Names(stack, *(_names(project, kind, stack) for kind in ("networks", "volumes", "secrets", "configs")))
    request = DeployStackRequest(name=stack, source=project.source, prune=prune, dry_run=dry_run)
    for short, service in project.services.items():
        part = Part(service, ("services", short), notes)
        request.services.append(service_spec(project, names, short, part))
    for short, definition in _used_networks(project).items():
        if not _is_external(definition):
            part = Part(definition, ("networks", short), notes)
            request.networks.append(network_spec(names.networks[short], part))
    for short, definition in project.section("secrets").items():
        if not _is_external(definition):
            part = Part(definition, ("secrets", short), notes)
            request.secrets.append(secret_spec(project, names.secrets[short], part))
    for short, definition in project.section("configs").items():
        if not _is_external(definition):
            part = Part(definition, ("configs", short), notes)
            request.configs.append(config_spec(project, names.configs[short], part))
    note_volumes(project, notes)
    top = Part(project.data, (), notes)
    for key in ("version", "name", "services", "networks", "volumes", "secrets", "configs"):
        top.take(key)
    top.finish()
    return Conversion(request, notes.warnings)


def _is_external(definition: Mapping[str, Any]) -> bool:
    return bool(definition.get("external"))


def _names(project: Project, kind: str, stack: str) -> dict[str, str]:
    sections = project.section(kind)
    if kind == "networks":
        sections.setdefault(DEFAULT_NETWORK, {})
    return {short: _full_name(short, definition, stack) for short, definition in sections.items()}


def _full_name(short: str, definition: Mapping[str, Any], stack: str) -> str:
    external = definition.get("external")
    if isinstance(external, dict) and external.get("name"):
        return str(external["name"])
    if definition.get("name"):
        return str(definition["name"])
    return short if external else f"{stack}_{short}"


def _used_networks(project: Project) -> dict[str, dict[str, Any]]:
    """The networks that a service joins: one that nobody joins is not made, as in Docker."""
    used: set[str] = set()
    for service in project.services.values():
        if not service.get("network_mode"):
            used.update(service.get("networks") or [DEFAULT_NETWORK])
    definitions = project.section("networks")
    definitions.setdefault(DEFAULT_NETWORK, {})
    return {short: definition for short, definition in definitions.items() if short in used}
