"""Published ports: those a service names, and those chosen for it."""

from collections.abc import Iterator

from swarm_api.defaults import PUBLISHED_PORTS
from swarm_api.objects_pb2 import Service
from swarm_api.types_pb2 import PortConfig

from swarm_manager.core.draft import port_key
from swarm_manager.core.snapshot import View


def resolved_ports(view: View, service: Service) -> list[PortConfig]:
    """The service's ports with the published ones filled in; ports it was given before stay.

    A port for which nothing is free is left out. Host-mode ports without a number stay so: the engine chooses.
    """
    taken: set[str] = set()
    return [port for asked in service.spec.endpoint.ports if (port := _resolved(view, service, asked, taken))]


def _resolved(view: View, service: Service, asked: PortConfig, taken: set[str]) -> PortConfig | None:
    if asked.published_port or asked.publish_mode == PortConfig.HOST:
        return asked
    for candidate in _candidates(service, asked):
        key = port_key(candidate)
        if key not in taken and view.published.get(key, service.id) == service.id:
            taken.add(key)
            return candidate
    return None


def _candidates(service: Service, asked: PortConfig) -> Iterator[PortConfig]:
    for had in service.endpoint.ports:
        if had.target_port == asked.target_port and had.protocol == asked.protocol and had.published_port:
            yield _with_number(asked, had.published_port)
    for number in range(PUBLISHED_PORTS[0], PUBLISHED_PORTS[1] + 1):
        yield _with_number(asked, number)


def _with_number(asked: PortConfig, number: int) -> PortConfig:
    port = PortConfig()
    port.CopyFrom(asked)
    port.published_port = number
    return port


def has_ingress_ports(service: Service) -> bool:
    """Whether the service publishes a port that every node answers on."""
    return any(port.publish_mode == PortConfig.INGRESS for port in service.spec.endpoint.ports)
