"""Names: which are allowed, and how the names of tasks, containers, bridges and labels are made."""

import re

from swarm_api.objects_pb2 import Task

STACK_LABEL = "com.docker.stack.namespace"
TASK_ID_LABEL = "swarm.task.id"
TASK_NAME_LABEL = "swarm.task.name"
SERVICE_ID_LABEL = "swarm.service.id"
SERVICE_NAME_LABEL = "swarm.service.name"
NODE_ID_LABEL = "swarm.node.id"
CLUSTER_ID_LABEL = "swarm.cluster.id"
NETWORK_ID_LABEL = "swarm.network.id"

INGRESS_NETWORK = "ingress"
VXLAN_PREFIX = "swx-"
MAX_NAME_LENGTH = 63

_OBJECT_NAME = re.compile(r"[a-zA-Z0-9](?:[-_.]*[A-Za-z0-9]+)*")


def name_error(name: str, what: str) -> str | None:
    """Why `name` cannot name a `what` (service, network, ...), as one sentence; None when it can.

    The rule is SwarmKit's (manager/controlapi/common.go): letters, digits, and `-`, `_`, `.` between them, at most
    63 characters, because a service's name is a DNS label.
    """
    if not name:
        return f"A {what} needs a name."
    if len(name) > MAX_NAME_LENGTH:
        return f"The {what} name {name[:20]}... is {len(name)} characters long; at most {MAX_NAME_LENGTH} are allowed."
    if not _OBJECT_NAME.fullmatch(name):
        return (
            f"{name!r} cannot name a {what}: use letters and digits, with '-', '_' or '.' between them, "
            "and begin and end with a letter or digit."
        )
    return None


def task_name(task: Task) -> str:
    """`web.3` for a replicated task, `web.NODEID` for a global one; the id is added where uniqueness counts."""
    return f"{task.service_annotations.name}.{task.slot or task.node_id}"


def container_name(task: Task) -> str:
    """The task's container: unique, and never a service's name (Docker's resolver would answer it by itself)."""
    return f"{task_name(task)}.{task.id}"


def bridge_name(network_id: str) -> str:
    """The Linux bridge of an overlay network on each node (at most 15 characters)."""
    return f"sw-{network_id[:10]}"


def vxlan_name(network_id: str) -> str:
    """The VXLAN device of an overlay network on each node (at most 15 characters)."""
    return f"{VXLAN_PREFIX}{network_id[:10]}"
