"""Whether a task is what its service wants now, and what changes of a spec replace tasks.

Changing nothing restarts nothing.
"""

from collections.abc import Callable

from swarm_api.essence import essence
from swarm_api.objects_pb2 import Service, Task
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import PortConfig

from swarm_manager.core.orchestrate.making import attachments
from swarm_manager.core.scratch import Scratch


def outdated_test(scratch: Scratch, service: Service) -> Callable[[Task], bool]:
    """A test for the service's tasks: must this one be replaced to be what the service wants?

    Tasks made from the same version of the spec are compared once.
    """
    wanted = essence(service.spec.task)
    host_ports = _host_ports(service.spec)
    networks = {a.network_id for a in attachments(scratch, service)}
    known = {service.spec_version.index: False}

    def differs(task: Task) -> bool:
        return essence(task.spec) != wanted or list(filter(is_host_port, task.endpoint.spec.ports)) != host_ports

    def is_outdated(task: Task) -> bool:
        version = task.spec_version.index
        if version not in known:
            known[version] = differs(task) or not networks <= {a.network_id for a in task.networks}
        return known[version]

    return is_outdated


def is_replacing(before: ServiceSpec, after: ServiceSpec) -> bool:
    """Whether a change of a service's spec has its tasks replaced."""
    if essence(before.task) != essence(after.task):
        return True
    if all(map(is_host_port, before.endpoint.ports)) and not all(map(is_host_port, after.endpoint.ports)):
        return True  # they have to join the network of published ports
    return _host_ports(before) != _host_ports(after)


def is_host_port(port: PortConfig) -> bool:
    """Whether it is a port of the task's own node, which is made with the container."""
    return port.publish_mode == PortConfig.HOST


def _host_ports(spec: ServiceSpec) -> list[PortConfig]:
    return [port for port in spec.endpoint.ports if is_host_port(port)]
