"""What a rollback brings back."""

from swarm_api.objects_pb2 import Service
from swarm_api.specs_pb2 import ServiceSpec

from swarm_manager.core.orchestrate.outdated import is_replacing


def spec_before_update(service: Service) -> ServiceSpec | None:
    """The spec from before the update that is under way; None: nothing is known of it.

    Changes that were made since and replace no task, such as another number of replicas, are not the update: what was
    before them has the same faulty tasks. A number of replicas that was asked for in the middle of the update is kept.
    """
    if service.HasField("canary"):
        return service.canary.stable
    updated_to = service.spec
    for revision in service.history:
        if is_replacing(revision.spec, service.spec):
            return _with_replicas_asked_since(revision.spec, updated_to, service.spec)
        updated_to = revision.spec
    return service.previous_spec if service.HasField("previous_spec") else None


def _with_replicas_asked_since(before: ServiceSpec, updated_to: ServiceSpec, present: ServiceSpec) -> ServiceSpec:
    wanted = ServiceSpec()
    wanted.CopyFrom(before)
    if wanted.HasField("replicated") and updated_to.replicated != present.replicated:
        wanted.replicated.CopyFrom(present.replicated)
    return wanted
