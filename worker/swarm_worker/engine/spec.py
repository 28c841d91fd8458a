"""A task as the body of Docker's `POST /containers/create`. Pure: no call is made here.

Field names are the Engine API's. Fields that older engines do not know are left out for them (`ApiVersion`), because an
old engine would ignore them in silence.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from swarm_api import naming
from swarm_api.objects_pb2 import Task
from swarm_api.specs_pb2 import ContainerSpec, TaskSpec
from swarm_api.types_pb2 import HealthConfig, Mount, PortConfig

from swarm_worker.runtime import CreateOrder, FileMount

ApiVersion = tuple[int, int]
Json = dict[str, Any]

#: Networks of the engine itself: a task asks for one by its name, alone, and gets no address from the allocator.
ENGINE_NETWORKS = frozenset({"host", "none", "bridge"})

_MOUNT_TYPES = {Mount.BIND: "bind", Mount.VOLUME: "volume", Mount.TMPFS: "tmpfs", Mount.IMAGE: "image"}
_PROTOCOLS = {PortConfig.TCP: "tcp", PortConfig.UDP: "udp", PortConfig.SCTP: "sctp"}


def create_body(order: CreateOrder, networks: Mapping[str, str], version: ApiVersion) -> Json:
    """The whole request. `networks` maps network ids to the engine's own ids of their bridges."""
    task, spec = order.task, order.task.spec.container
    body: Json = {
        "Image": spec.image,
        "Labels": labels(order),
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "User": spec.user,
        "WorkingDir": spec.dir,
        "Env": list(spec.env),
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StopSignal": spec.stop_signal,
        "ExposedPorts": {key: {} for key in _port_bindings(task)},
        "HostConfig": _host_config(order, networks, version),
        "NetworkingConfig": _networking(order, networks, version),
    }
    if order.mac_addresses and order.mac_addresses[0] and version < (1, 44):
        body["MacAddress"] = order.mac_addresses[0]  # later engines take it from the network's own settings
    body |= _given(
        Cmd=list(spec.args),
        Entrypoint=list(spec.command),
        Healthcheck=_healthcheck(spec.healthcheck, version) if spec.HasField("healthcheck") else None,
        StopTimeout=round(_seconds(spec.stop_grace_period)) if spec.HasField("stop_grace_period") else None,
    )
    return body


def endpoint(order: CreateOrder, index: int, version: ApiVersion) -> Json:
    """The engine's settings of the task's attachment to its network number `index`."""
    attachment = order.task.networks[index]
    settings: Json = {"IPAMConfig": {"IPv4Address": attachment.address}} if attachment.address else {}
    mac = order.mac_addresses[index] if index < len(order.mac_addresses) else ""
    if mac and version >= (1, 44):
        settings["MacAddress"] = mac
    # No aliases: the engine's own resolver would answer them, with a TTL of 600 s and on this node alone.
    return settings


def labels(order: CreateOrder) -> dict[str, str]:
    """The container's labels: the user's, and ours, by which we know it again."""
    task = order.task
    ours = {
        naming.TASK_ID_LABEL: task.id,
        naming.TASK_NAME_LABEL: naming.task_name(task),
        naming.SERVICE_ID_LABEL: task.service_id,
        naming.SERVICE_NAME_LABEL: task.service_annotations.name,
        naming.NODE_ID_LABEL: order.node_id,
        naming.CLUSTER_ID_LABEL: order.cluster_id,
    }
    stack = task.service_annotations.labels.get(naming.STACK_LABEL)
    return {**task.spec.container.labels, **({naming.STACK_LABEL: stack} if stack else {}), **ours}


def _host_config(order: CreateOrder, networks: Mapping[str, str], version: ApiVersion) -> Json:
    task, spec = order.task, order.task.spec.container
    config: Json = {
        "RestartPolicy": {"Name": "no"},  # a failed task is replaced, never restarted
        "NetworkMode": _network_mode(task, networks),
        "PortBindings": _port_bindings(task),
        "Mounts": [*(_mount(m, version) for m in spec.mounts), *(_file_mount(f) for f in order.files)],
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "OomKillDisable": spec.oom_kill_disable,
    }
    return config | _isolation(spec) | _name_resolution(order) | _resources(task.spec) | _devices(spec)


def _network_mode(task: Task, networks: Mapping[str, str]) -> str:
    if task.networks:
        return networks[task.networks[0].network_id]
    wanted = [attachment.target for attachment in task.spec.networks if attachment.target in ENGINE_NETWORKS]
    return wanted[0] if wanted else "bridge"


def _networking(order: CreateOrder, networks: Mapping[str, str], version: ApiVersion) -> Json:
    """Only the first network: engines before API 1.44 take one here; further ones are connected before the start."""
    if not order.task.networks:
        return {}
    first = order.task.networks[0].network_id
    return {"EndpointsConfig": {networks[first]: endpoint(order, 0, version)}}


def _name_resolution(order: CreateOrder) -> Json:
    spec = order.task.spec.container
    # An `ndots` option keeps the engine's resolver from passing single-label names on, that is: service names.
    options = [option for option in spec.dns_config.options if not option.startswith("ndots")]
    return _given(
        Dns=[*order.dns_servers, *spec.dns_config.nameservers],
        DnsSearch=list(spec.dns_config.search),
        DnsOptions=options,
        ExtraHosts=list(spec.hosts),
    )


def _isolation(spec: ContainerSpec) -> Json:
    init = {"Init": spec.init} if spec.HasField("init") else {}
    return init | _given(
        CapAdd=list(spec.cap_add),
        CapDrop=list(spec.cap_drop),
        GroupAdd=list(spec.groups),
        SecurityOpt=list(spec.security_opt),
        Sysctls=dict(spec.sysctls),
        StorageOpt=dict(spec.storage_opt),
        Annotations=dict(spec.annotations),
        PidMode=spec.pid_mode,
        IpcMode=spec.ipc_mode,
        UsernsMode=spec.userns_mode,
        UTSMode=spec.uts_mode,
        CgroupnsMode=spec.cgroupns_mode,
        Isolation=spec.isolation,
        Runtime=spec.runtime,
        DeviceCgroupRules=list(spec.device_cgroup_rules),
        CgroupParent=spec.cgroup_parent,
    )


def _resources(spec: TaskSpec) -> Json:
    limits, reserved, container = spec.resources.limits, spec.resources.reservations, spec.container
    swappiness = {"MemorySwappiness": container.memory_swappiness} if container.HasField("memory_swappiness") else {}
    return swappiness | _given(
        NanoCpus=limits.nano_cpus,
        Memory=limits.memory_bytes,
        MemoryReservation=reserved.memory_bytes,
        PidsLimit=limits.pids,
        MemorySwap=container.memory_swap_bytes,
        ShmSize=container.shm_size_bytes,
        CpuShares=container.cpu_shares,
        CpusetCpus=container.cpuset_cpus,
        OomScoreAdj=container.oom_score_adj,
        Ulimits=[{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in container.ulimits],
        LogConfig=_log_config(spec),
    )


def _log_config(spec: TaskSpec) -> Json | None:
    if not spec.HasField("log_driver"):
        return None
    return {"Type": spec.log_driver.name, "Config": dict(spec.log_driver.options)}


def _devices(spec: ContainerSpec) -> Json:
    devices = [
        {
            "PathOnHost": device.host_path,
            "PathInContainer": device.container_path or device.host_path,
            "CgroupPermissions": device.permissions or "rwm",
        }
        for device in spec.devices
    ]
    requests = [
        {
            "Driver": request.driver,
            "Count": request.count,
            "DeviceIDs": list(request.device_ids),
            "Capabilities": [list(request.capabilities)],
            "Options": dict(request.options),
        }
        for request in spec.device_requests
    ]
    return _given(Devices=devices, DeviceRequests=requests)


def _port_bindings(task: Task) -> dict[str, list[Json]]:
    """Ports published on this node alone; the ingress network's are not the engine's business."""
    bindings: dict[str, list[Json]] = {}
    for port in task.endpoint.ports:
        if port.publish_mode == PortConfig.HOST:
            key = f"{port.target_port}/{_PROTOCOLS[port.protocol]}"
            bindings.setdefault(key, []).append(
                _given(HostIp=port.host_ip) | {"HostPort": str(port.published_port or "")}
            )
    return bindings


def _healthcheck(check: HealthConfig, version: ApiVersion) -> Json:
    return _given(
        Test=list(check.test),
        Interval=_nanoseconds(check.interval),
        Timeout=_nanoseconds(check.timeout),
        Retries=check.retries,
        StartPeriod=_nanoseconds(check.start_period),
        StartInterval=_nanoseconds(check.start_interval) if version >= (1, 44) else None,
    )


def _mount(mount: Mount, version: ApiVersion) -> Json:
    body: Json = {
        "Type": _MOUNT_TYPES[mount.type],
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }
    if mount.type == Mount.BIND:
        create = mount.bind_create_source and version >= (1, 42)
        body["BindOptions"] = _given(Propagation=mount.bind_propagation, CreateMountpoint=create)
    elif mount.type == Mount.VOLUME:
        body["VolumeOptions"] = _volume_options(mount)
    elif mount.type == Mount.TMPFS:
        body["TmpfsOptions"] = _given(SizeBytes=mount.tmpfs_size_bytes, Mode=mount.tmpfs_mode)
        del body["Source"]
    return body


def _volume_options(mount: Mount) -> Json:
    driver = {"Name": mount.volume_driver or "local", "Options": dict(mount.volume_driver_opts)}
    named = mount.volume_driver or mount.volume_driver_opts
    return _given(
        NoCopy=mount.volume_no_copy,
        Labels=dict(mount.volume_labels),
        DriverConfig=driver if named else None,
        Subpath=mount.volume_subpath,
    )


def _file_mount(file: FileMount) -> Json:
    return {"Type": "bind", "Source": str(file.source), "Target": file.target, "ReadOnly": True}


def _given(**fields: Any) -> Json:
    """Only the fields somebody gave: the engine has a default of its own for the others."""
    return {name: value for name, value in fields.items() if value}


def _seconds(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds()


def _nanoseconds(duration: Duration) -> int:
    return duration.ToNanoseconds()


def unmet(spec: ContainerSpec, version: ApiVersion) -> str | None:
    """Why this engine is too old for the container, as one sentence; None when it is not."""
    if spec.annotations and version < (1, 43):
        return "The container has annotations: this node's Docker is too old for them (24 is needed)."
    for mount in spec.mounts:
        if mount.type == Mount.IMAGE and version < (1, 48):
            return f"The mount at {mount.target} is an image: this node's Docker is too old for it (28 is needed)."
        if mount.volume_subpath and version < (1, 45):
            return (
                f"The mount at {mount.target} names a subpath of a volume: this node's Docker is too old for it "
                "(26 is needed)."
            )
    return None
