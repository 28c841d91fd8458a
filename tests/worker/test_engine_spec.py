"""From a task to Docker's request, and from Docker's answers to ours. No engine needed."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from swarm_api import naming
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import ContainerSpec
from swarm_api.types_pb2 import Mount
from swarm_worker.core.events import Health, Phase
from swarm_worker.engine import read, spec
from swarm_worker.runtime import CreateOrder, FileMount

NEW, OLD = (1, 45), (1, 41)
NETWORKS = {"net1": "docker-id-1", "net2": "docker-id-2"}


def order(text: str = "", **more: object) -> CreateOrder:
    task = text_format.Parse(text, Task(id="t1", slot=2, service_id="s1"))
    task.service_annotations.name = "web"
    return CreateOrder(task, "cl", "n1", **more)  # type: ignore[arg-type]  # fields of CreateOrder


def body(text: str = "", version: spec.ApiVersion = NEW, **more: object) -> spec.Json:
    return spec.create_body(order(text, **more), NETWORKS, version)


def host(text: str, version: spec.ApiVersion = NEW) -> spec.Json:
    config: spec.Json = body(f"spec {{ {text} }}", version)["HostConfig"]
    return config


def test_a_container_is_labelled_so_that_we_know_it_again() -> None:
    labels = body('spec { container { labels { key: "swarm.task.id" value: "forged" } } }')["Labels"]
    assert labels[naming.TASK_ID_LABEL] == "t1"
    assert (labels[naming.NODE_ID_LABEL], labels[naming.CLUSTER_ID_LABEL]) == ("n1", "cl")
    assert (labels[naming.TASK_NAME_LABEL], labels[naming.SERVICE_NAME_LABEL]) == ("web.2", "web")


def test_what_nobody_gave_is_left_to_image_and_engine() -> None:
    made = body('spec { container { image: "web:1" } }')
    assert not {"Cmd", "Entrypoint", "Healthcheck", "StopTimeout", "MacAddress"} & set(made)
    assert not {"Init", "Memory", "NanoCpus", "LogConfig", "Dns", "DnsOptions", "Ulimits"} & set(made["HostConfig"])
    assert made["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert made["HostConfig"]["NetworkMode"] == "bridge"


def test_command_environment_and_the_like_are_passed_on() -> None:
    made = body(
        """spec { container { image: "web:1" command: "sh" args: "-c" args: "true" env: "A=b" env: "UNSET"
           user: "1000" dir: "/srv" hostname: "h" tty: true
           stop_signal: "SIGQUIT" stop_grace_period { seconds: 3 } } }"""
    )
    assert (made["Entrypoint"], made["Cmd"], made["Env"]) == (["sh"], ["-c", "true"], ["A=b", "UNSET"])
    assert (made["User"], made["WorkingDir"], made["Hostname"], made["Tty"]) == ("1000", "/srv", "h", True)
    assert (made["StopSignal"], made["StopTimeout"]) == ("SIGQUIT", 3)


class TestNetworks:
    JOINED = 'networks { network_id: "net1" address: "10.0.0.5" } networks { network_id: "net2" address: "10.1.0.5" }'

    def test_the_first_is_joined_at_creation_with_its_fixed_address(self) -> None:
        made = body(self.JOINED, OLD, mac_addresses=("m1", "m2"))
        assert made["HostConfig"]["NetworkMode"] == "docker-id-1"
        joined = made["NetworkingConfig"]["EndpointsConfig"]
        assert joined == {"docker-id-1": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}}}
        assert made["MacAddress"] == "m1"

    def test_newer_engines_take_the_mac_from_the_network_s_settings(self) -> None:
        made = body(self.JOINED, NEW, mac_addresses=("m1", "m2"))
        assert "MacAddress" not in made
        assert made["NetworkingConfig"]["EndpointsConfig"]["docker-id-1"]["MacAddress"] == "m1"
        assert spec.endpoint(order(self.JOINED, mac_addresses=("m1", "m2")), 1, NEW)["MacAddress"] == "m2"

    def test_no_name_of_ours_is_an_alias(self) -> None:
        assert "Aliases" not in spec.endpoint(order(self.JOINED + ' networks { aliases: "web" }'), 0, NEW)

    def test_the_node_s_resolver_comes_before_the_user_s_servers(self) -> None:
        made = body('spec { container { dns_config { nameservers: "9.9.9.9" } } }', dns_servers=("10.0.0.1",))
        assert made["HostConfig"]["Dns"] == ["10.0.0.1", "9.9.9.9"]

    def test_ndots_is_dropped_because_it_hides_service_names(self) -> None:
        config = host('container { dns_config { options: "ndots:5" options: "timeout:1" } }')
        assert config["DnsOptions"] == ["timeout:1"]

    def test_an_engine_s_own_network_may_be_asked_for(self) -> None:
        assert host('networks { target: "host" }')["NetworkMode"] == "host"

    def test_only_host_mode_ports_are_the_engine_s_business(self) -> None:
        made = body(
            """endpoint { ports { target_port: 80 published_port: 8080 }
                          ports { target_port: 53 published_port: 5353 protocol: UDP publish_mode: HOST } }"""
        )
        assert made["HostConfig"]["PortBindings"] == {"53/udp": [{"HostPort": "5353"}]}
        assert made["ExposedPorts"] == {"53/udp": {}}

    def test_one_may_be_bound_to_one_address_of_the_node(self) -> None:
        made = body('endpoint { ports { target_port: 80 publish_mode: HOST host_ip: "127.0.0.1" published_port: 81 } }')
        assert made["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "81"}]}


def test_resources_are_limited_and_reserved() -> None:
    config = host(
        """resources { limits { nano_cpus: 5 memory_bytes: 6 pids: 7 } reservations { memory_bytes: 4 } }
           container { memory_swappiness: 0 shm_size_bytes: 9 ulimits { name: "nofile" soft: 1 hard: 2 } }"""
    )
    assert (config["NanoCpus"], config["Memory"], config["PidsLimit"], config["MemoryReservation"]) == (5, 6, 7, 4)
    assert (config["MemorySwappiness"], config["ShmSize"]) == (0, 9)
    assert config["Ulimits"] == [{"Name": "nofile", "Soft": 1, "Hard": 2}]


def test_privileges_and_devices() -> None:
    config = host(
        """container { privileged: true cap_add: "NET_ADMIN" sysctls { key: "a" value: "1" } init: false
           devices { host_path: "/dev/fuse" } device_requests { count: -1 capabilities: "gpu" } }"""
    )
    assert (config["Privileged"], config["CapAdd"], config["Sysctls"]) == (True, ["NET_ADMIN"], {"a": "1"})
    assert config["Init"] is False
    assert config["Devices"][0] == {
        "PathOnHost": "/dev/fuse",
        "PathInContainer": "/dev/fuse",
        "CgroupPermissions": "rwm",
    }
    assert (config["DeviceRequests"][0]["Count"], config["DeviceRequests"][0]["Capabilities"]) == (-1, [["gpu"]])


def test_mounts_of_all_kinds() -> None:
    config = host(
        """container {
           mounts { type: BIND source: "/a" target: "/b" read_only: true bind_propagation: "rslave" }
           mounts { type: VOLUME source: "data" target: "/d" volume_no_copy: true
                    volume_driver_opts { key: "o" value: "x" } }
           mounts { type: TMPFS target: "/t" tmpfs_size_bytes: 5 tmpfs_mode: 448 } }"""
    )
    bind, volume, tmpfs = config["Mounts"]
    assert bind == {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }
    assert volume["VolumeOptions"] == {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": {"o": "x"}}}
    assert tmpfs == {
        "Type": "tmpfs",
        "Target": "/t",
        "ReadOnly": False,
        "TmpfsOptions": {"SizeBytes": 5, "Mode": 0o700},
    }


def test_secrets_are_read_only_binds_of_single_files() -> None:
    made = body(files=(FileMount(Path("/run/x/0"), "/run/secrets/p"),))
    assert made["HostConfig"]["Mounts"] == [
        {"Type": "bind", "Source": "/run/x/0", "Target": "/run/secrets/p", "ReadOnly": True}
    ]


def test_health_checks_in_nanoseconds_and_what_an_old_engine_knows_of_them() -> None:
    check = 'test: "CMD" test: "true" interval { seconds: 2 } retries: 3 start_interval { seconds: 1 }'
    text = f"spec {{ container {{ healthcheck {{ {check} }} }} }}"
    assert body(text, NEW)["Healthcheck"] == {
        "Test": ["CMD", "true"],
        "Interval": 2_000_000_000,
        "Retries": 3,
        "StartInterval": 1_000_000_000,
    }
    assert "StartInterval" not in body(text, OLD)["Healthcheck"]


def test_what_an_engine_is_too_old_for_is_named() -> None:
    image = ContainerSpec(mounts=[Mount(type=Mount.IMAGE, source="web:1", target="/w")])
    assert "/w" in (spec.unmet(image, OLD) or "")
    assert spec.unmet(image, (1, 48)) is None
    annotated = ContainerSpec(annotations={"a": "b"})
    assert "annotations" in (spec.unmet(annotated, OLD) or "")
    assert spec.unmet(annotated, NEW) is None


class TestReading:
    def inspected(self, **state: object) -> read.Json:
        return {
            "Id": "c1",
            "State": {"Status": "running", **state},
            "Config": {"Labels": {naming.TASK_ID_LABEL: "t1"}, "StopSignal": "SIGQUIT", "StopTimeout": 0},
        }

    def test_a_running_container(self) -> None:
        found = read.container(self.inspected(Pid=7))
        assert (found.task_id, found.phase, found.pid, found.health) == ("t1", Phase.RUNNING, 7, Health.NONE)
        assert (found.stop_signal, found.stop_grace_s) == ("SIGQUIT", 0.0)

    def test_an_ended_one(self) -> None:
        found = read.container(self.inspected(Status="exited", ExitCode=137, OOMKilled=True))
        assert (found.phase, found.exit_code, found.oom_killed) == (Phase.EXITED, 137, True)

    @pytest.mark.parametrize("status", ["paused", "restarting"])
    def test_one_that_is_not_over(self, status: str) -> None:
        assert read.container(self.inspected(Status=status)).phase is Phase.RUNNING

    def test_an_unhealthy_one_says_what_its_last_failed_check_printed(self) -> None:
        log = [
            {"ExitCode": 1, "Output": "old"},
            {"ExitCode": 1, "Output": "refused\n"},
            {"ExitCode": 0, "Output": "ok"},
        ]
        found = read.container(self.inspected(Health={"Status": "unhealthy", "Log": log}))
        assert (found.health, found.health_output) == (Health.UNHEALTHY, "refused")

    def test_an_engine(self) -> None:
        info = {"ServerVersion": "20.10", "Labels": ["disk=ssd"], "Plugins": {"Volume": ["local"], "Log": None}}
        found = read.engine_description(info)
        assert (found.version, dict(found.labels), list(found.plugins)) == ("20.10", {"disk": "ssd"}, ["Volume/local"])

    def test_the_counted_things_of_an_engine(self) -> None:
        discrete = {"DiscreteResourceSpec": {"Kind": "ssd", "Value": 3}}
        named = [{"NamedResourceSpec": {"Kind": "gpu", "Value": name}} for name in ("a", "b")]
        assert read.generic_resources({"GenericResources": [discrete, *named]}) == {"ssd": 3, "gpu": 2}
        assert read.generic_resources({"GenericResources": None}) == {}
