"""Whether a task is what its service wants now. Changing nothing restarts nothing."""

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
        return (
            essence(task.spec) != wanted
            or [p for p in task.endpoint.spec.ports if p.publish_mode == PortConfig.HOST] != host_ports
        )

    def is_outdated(task: Task) -> bool:
        version = task.spec_version.index
        if version not in known:
            known[version] = differs(task) or not networks <= {a.network_id for a in task.networks}
        return known[version]

    return is_outdated


def _host_ports(spec: ServiceSpec) -> list[PortConfig]:
    return [port for port in spec.endpoint.ports if port.publish_mode == PortConfig.HOST]
