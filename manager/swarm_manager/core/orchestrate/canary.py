"""Canaries: a change that a part of a service's tasks gets first, while the others stay what they are.

Theory of operation
    `Service.canary` is written together with the changed spec, in one commit, and holds what the service was before:
    its stable side.  From then on each task is of the present spec, or of the stable side, or of neither (an earlier
    canary, an update that was under way).  A task that is lost, ended or moved is followed by one of its own kind; a
    new slot begins on the stable side; and the update (see `update`) gives the present spec to as many slots as the
    share says, watches them, and waits.  Which slots are the canary is read from the tasks; nobody has to remember it.

    Further changes of the spec go to the canary alone.  A change of the number of replicas is for both sides, and so
    is what decides about tasks from outside, such as placement: nothing is replaced for it.

    Promoted, the canary is an update like any other; the stable side is kept until all tasks are updated, to be what
    a rollback brings back.
"""

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.essence import with_essence_of
from swarm_api.objects_pb2 import Service, UpdateStatus
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import Share

from swarm_manager.core.orchestrate.outdated import is_host_port, is_replacing
from swarm_manager.core.scratch import copy_of


def is_held_back(service: Service) -> bool:
    """Whether a part of the tasks is kept from what the service's spec says."""
    return service.HasField("canary") and not service.canary.promoted


def size_of(share: Share, total: int) -> int:
    """How many of `total` tasks a share is: one at least, all at most."""
    wanted = share.tasks if share.HasField("tasks") else total * share.percent // 100
    return min(max(int(wanted), 1), total)


def stable_side(service: Service) -> Service:
    """The service as it is for the tasks outside the canary."""
    stable = copy_of(service)
    before = service.canary.stable
    stable.spec.task.CopyFrom(with_essence_of(service.spec.task, before.task))
    stable.spec.endpoint.CopyFrom(before.endpoint)
    stable.endpoint.spec.CopyFrom(before.endpoint)
    asked = {(p.target_port, p.protocol) for p in before.endpoint.ports if not is_host_port(p)}
    kept = [p for p in service.endpoint.ports if not is_host_port(p) and (p.target_port, p.protocol) in asked]
    del stable.endpoint.ports[:]
    stable.endpoint.ports.extend([*kept, *(p for p in before.endpoint.ports if is_host_port(p))])
    stable.spec_version.CopyFrom(service.canary.stable_version)
    return stable


def follow_change(before: Service, changed: Service, asked: Share | None, at: Timestamp) -> None:
    """Begins a canary for a change of the spec, or carries the one that is on over it.

    `changed` is a copy of `before` with another spec and is completed here. `asked`: the share a user named.
    """
    if not is_replacing(before.spec, changed.spec) and asked is None:
        _follow_replicas(before, changed)
        return
    share = asked or (before.canary.share if is_held_back(before) else None) or _setting(changed.spec)
    if share is None or (not before.HasField("canary") and _is_all(share, changed.spec)):
        changed.ClearField("canary")
        return
    if not before.HasField("canary"):
        changed.canary.stable.CopyFrom(before.spec)
        changed.canary.stable_version.CopyFrom(before.spec_version)
    _follow_replicas(before, changed)
    changed.canary.share.CopyFrom(share)
    changed.canary.promoted = False
    changed.update_status.CopyFrom(
        UpdateStatus(state=UpdateStatus.UPDATING, started_at=at, message="update in progress, for the canary only")
    )


def _is_all(share: Share, spec: ServiceSpec) -> bool:
    replicas = int(spec.replicated.replicas)
    return spec.HasField("replicated") and size_of(share, replicas) == replicas


def _setting(spec: ServiceSpec) -> Share | None:
    return spec.update.canary if spec.update.HasField("canary") else None


def _follow_replicas(before: Service, changed: Service) -> None:
    """A new number of replicas outlives a rollback of the canary that was on when it was asked for."""
    if not before.HasField("canary") or not changed.canary.stable.HasField("replicated"):
        return
    if before.spec.replicated.replicas != changed.spec.replicated.replicas:
        changed.canary.stable.replicated.replicas = changed.spec.replicated.replicas


def promote(service: Service, who: str, at: Timestamp) -> None:
    """All tasks get what the canary has, as an update does it. What failed before has been seen."""
    service.canary.promoted = True
    status = service.update_status
    status.state = UpdateStatus.UPDATING
    status.resumed_at.CopyFrom(at)
    status.ClearField("completed_at")
    status.message = f"canary promoted by {who or 'a user'}, update in progress"
