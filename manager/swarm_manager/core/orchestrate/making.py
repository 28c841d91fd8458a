"""What a new task of a service looks like, before it has a slot."""

from swarm_api.objects_pb2 import NetworkAttachment, Service, Task
from swarm_api.types_pb2 import PENDING

from swarm_manager.core.allocate.ports import has_ingress_ports
from swarm_manager.core.scratch import Scratch


def template(scratch: Scratch, service: Service) -> Task:
    """What all new tasks of a service have in common."""
    task = Task(service_id=service.id, spec=service.spec.task, spec_version=service.spec_version)
    task.meta.created_at.CopyFrom(scratch.now)
    task.status.timestamp.CopyFrom(scratch.now)
    task.status.message = "created"
    task.service_annotations.CopyFrom(service.spec.annotations)
    task.endpoint.CopyFrom(service.endpoint)
    task.endpoint.ClearField("virtual_ips")
    task.networks.extend(attachments(scratch, service))
    if not task.networks:  # it has all the addresses it needs
        task.status.state = PENDING
    return task


def attachments(scratch: Scratch, service: Service) -> list[NetworkAttachment]:
    """The networks a service's tasks join, without addresses yet: those it names, and ingress for its ports."""
    wanted = {a.target: NetworkAttachment(network_id=a.target, aliases=a.aliases) for a in service.spec.task.networks}
    ingress = scratch.ingress_network()
    if ingress is not None and has_ingress_ports(service):
        wanted.setdefault(ingress.id, NetworkAttachment(network_id=ingress.id))
    return list(wanted.values())
