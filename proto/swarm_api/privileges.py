"""What of a container's spec takes down the wall between it and its node: the cluster must allow it.

These options make root in the container root on the node, or let it see the node's own processes, memory or devices.
A bind mount of a folder of the node is not among them: as in Docker Swarm, whoever may create services may bind.
"""

from collections.abc import Iterator

from swarm_api.specs_pb2 import ContainerSpec

#: Capabilities by which root in a container is root on the node, or reads all of its files.
_NODE_CAPABILITIES = frozenset({"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH", "BPF"})
_MODES = ("pid_mode", "ipc_mode", "uts_mode", "userns_mode", "cgroupns_mode")
_SWITCHED_OFF = ("unconfined", "disable")


def privileges(spec: ContainerSpec) -> list[str]:
    """What needs the cluster's leave, each as `field value`; empty: nothing."""
    return list(_privileges(spec))


def _privileges(spec: ContainerSpec) -> Iterator[str]:
    if spec.privileged:
        yield "privileged"
    for capability in spec.cap_add:
        if capability.upper().removeprefix("CAP_") in _NODE_CAPABILITIES:
            yield f"cap_add {capability}"
    yield from (f"devices {device.host_path}" for device in spec.devices)
    yield from (f"device_cgroup_rules {rule}" for rule in spec.device_cgroup_rules)
    yield from (f"{field} host" for field in _MODES if getattr(spec, field) == "host")
    for option in spec.security_opt:
        if option.replace(":", "=").rpartition("=")[2] in _SWITCHED_OFF:
            yield f"security_opt {option}"
