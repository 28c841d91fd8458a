"""What must hold after each commit. Asserted by tests and simulations; a manager may check it too.

`violations` must be empty at any index, `unsettled` after the planner has nothing more to do, `backward_steps` and
`early_starts` between any two indexes.
"""

import ipaddress
import itertools
from collections import Counter
from collections.abc import Iterator

from swarm_api.objects_pb2 import Network, Task
from swarm_api.states import state_name
from swarm_api.types_pb2 import (
    RUNNING,
)

from swarm_manager.core.allocate.addresses import address_number, usable_range
from swarm_manager.core.draft import Draft, is_assigned, is_live, published_ports
from swarm_manager.core.kinds import KINDS, Stored, is_leaving, name_of
from swarm_manager.core.snapshot import VIEW_FIELDS, Snapshot, View


def violations(view: View) -> list[str]:
    """What is wrong with the state, one sentence each; empty: nothing."""
    return [*_slots(view), *_addresses(view), *_subnets(view), *_vnis(view), *_names(view), *_ports(view)]


def unsettled(view: View) -> list[str]:
    """What the planner should not have left behind."""
    return [
        f"Task {task.id} is wanted on node {task.node_id}, which does not exist."
        for task in view.tasks.values()
        if is_assigned(task) and is_live(task) and _is_wanted(task) and task.node_id not in view.nodes
    ]


def backward_steps(old: View, new: View) -> list[str]:
    """Tasks that went backwards from one snapshot to a later one."""
    pairs = ((old.tasks[task.id], task) for task in new.tasks.values() if task.id in old.tasks)
    return [text for before, after in pairs for text in _backward(before, after)]


def early_starts(old: View, new: View) -> list[str]:
    """Tasks that were let run from one snapshot to the next while another one of their slot was still being stopped.

    What is on a node that is down or gone cannot be waited for.
    """
    released = [task for task in new.tasks.values() if _is_released(old.tasks.get(task.id), task)]
    return [
        f"Task {task.id} was let run before task {other.id} of its slot had stopped."
        for task in released
        for other in new.tasks_of_service(task.service_id).values()
        if other.id != task.id and _slot_of(other) == _slot_of(task) and _is_stopping(new, other)
    ]


def _is_released(before: Task | None, after: Task) -> bool:
    return after.desired_state == RUNNING and (before is None or before.desired_state < RUNNING)


def _is_stopping(view: View, task: Task) -> bool:
    is_held = is_live(task) and is_assigned(task) and not view.node_is_gone(task.node_id)
    return is_held and not _is_wanted(task)


def _slot_of(task: Task) -> tuple[str, int, str]:
    return (task.service_id, task.slot, "" if task.slot else task.node_id)


def index_drift(view: View) -> list[str]:
    """Names of the indexes that are not what the objects say."""
    fresh = Draft(Snapshot())
    for kind in KINDS:
        for obj in view.all_of(kind):
            fresh.put(kind, obj)
    kept = ("requests", "request_order", "first_request", "next_request", "index", "last_addresses")
    return [name for name in VIEW_FIELDS if name not in kept and getattr(view, name) != getattr(fresh, name)]


def _is_wanted(task: Task) -> bool:
    return task.desired_state <= RUNNING


def _backward(before: Task, after: Task) -> Iterator[str]:
    if after.desired_state < before.desired_state:
        yield f"The desired state of task {after.id} went back to {state_name(after.desired_state)}."
    if after.status.state < before.status.state:
        yield f"The observed state of task {after.id} went back to {state_name(after.status.state)}."


def _slots(view: View) -> Iterator[str]:
    slots: dict[tuple[str, int, str], list[Task]] = {}
    for task in view.tasks.values():
        if _is_wanted(task):
            slots.setdefault(_slot_of(task), []).append(task)
    for key, tasks in slots.items():
        if len(tasks) > 2:
            yield f"Slot {key} has {len(tasks)} wanted tasks."
        if len(tasks) == 2 and not _one_replaces_the_other(*tasks):
            yield f"Slot {key} has two wanted tasks of which neither replaces the other."


def _one_replaces_the_other(one: Task, other: Task) -> bool:
    return one.replaces == other.id or other.replaces == one.id


def _addresses(view: View) -> Iterator[str]:
    for network in view.networks.values():
        given = list(_given(view, network))
        for address, count in Counter(given).items():
            if count > 1:
                yield f"The address {address} of network {network.id} was given out {count} times."
        if not network.subnet:
            continue
        span = usable_range(network)
        for address in given:
            if address_number(address) not in span:
                yield f"The address {address} is not one that network {network.id} gives out."


def _given(view: View, network: Network) -> Iterator[str]:
    yield from network.gateways.values()
    for service in view.services.values():
        yield from (v.address for v in service.endpoint.virtual_ips if v.network_id == network.id)
    for task in view.tasks.values():
        if is_live(task):
            yield from (a.address for a in task.networks if a.network_id == network.id and a.address)


def _subnets(view: View) -> Iterator[str]:
    subnets = sorted(ipaddress.IPv4Network(n.subnet) for n in view.networks.values() if n.subnet)
    for one, other in itertools.pairwise(subnets):
        if one.overlaps(other):
            yield f"The subnets {one} and {other} overlap."


def _vnis(view: View) -> Iterator[str]:
    for vni, count in Counter(n.vni for n in view.networks.values() if n.vni).items():
        if count > 1:
            yield f"The VXLAN id {vni} was given out {count} times."


def _names(view: View) -> Iterator[str]:
    for number, kind in KINDS.items():
        objects: list[Stored] = [obj for obj in view.all_of(number) if not is_leaving(obj)]
        for name, count in Counter(name_of(obj) for obj in objects).items():
            if kind.unique_names and count > 1:
                yield f"{count} {kind.plural} are named {name}."


def _ports(view: View) -> Iterator[str]:
    for port, count in Counter(key for s in view.services.values() for key in published_ports(s)).items():
        if count > 1:
            yield f"The port {port} is published by {count} services."
