"""What a cluster must allow."""

import pytest
from swarm_api.privileges import privileges
from swarm_api.specs_pb2 import ContainerSpec, Device


@pytest.mark.parametrize(
    ("container", "named"),
    [
        ({"privileged": True}, "privileged"),
        ({"cap_add": ["NET_ADMIN", "SYS_ADMIN"]}, "cap_add SYS_ADMIN"),
        ({"cap_add": ["cap_all"]}, "cap_add cap_all"),
        ({"devices": [Device(host_path="/dev/fuse")]}, "devices /dev/fuse"),
        ({"device_cgroup_rules": ["c 1:3 rwm"]}, "device_cgroup_rules c 1:3 rwm"),
        ({"pid_mode": "host"}, "pid_mode host"),
        ({"ipc_mode": "host"}, "ipc_mode host"),
        ({"security_opt": ["seccomp=unconfined"]}, "security_opt seccomp=unconfined"),
        ({"security_opt": ["apparmor:unconfined"]}, "security_opt apparmor:unconfined"),
        ({"security_opt": ["label=disable"]}, "security_opt label=disable"),
    ],
)
def test_what_needs_leave(container: dict[str, object], named: str) -> None:
    assert privileges(ContainerSpec(**container)) == [named]  # type: ignore[arg-type]  # its fields


def test_what_does_not() -> None:
    plain = ContainerSpec(
        cap_add=["NET_ADMIN"],
        cap_drop=["ALL"],
        security_opt=["no-new-privileges=true"],
        ipc_mode="private",
        sysctls={"net.core.somaxconn": "1"},
    )
    assert privileges(plain) == []
