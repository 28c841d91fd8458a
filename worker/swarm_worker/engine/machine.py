"""What a node tells of its machine: from the engine when it answers, else from the kernel."""

import os
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from swarm_api.objects_pb2 import NodeDescription

from swarm_worker.engine import read
from swarm_worker.engine.api import QUICK_S, DockerApi
from swarm_worker.runtime import EngineError

NANO = 1_000_000_000


def describe(api: DockerApi, patience_s: int = QUICK_S) -> NodeDescription:
    """Host name, processors, memory, engine; `engine_error` when there is no engine to speak of."""
    description = _from_kernel()
    try:
        with api.call(patience_s) as client:
            info: dict[str, Any] = client.info()
    except EngineError as problem:
        description.engine_error = str(problem)
        return description
    description.engine.CopyFrom(read.engine_description(info))
    description.platform.os = info.get("OSType") or description.platform.os
    description.platform.architecture = read.architecture(info.get("Architecture") or platform.machine())
    description.resources.generic.update(read.generic_resources(info))
    description.resources.nano_cpus = int(info.get("NCPU") or 0) * NANO or description.resources.nano_cpus
    description.resources.memory_bytes = int(info.get("MemTotal") or 0) or description.resources.memory_bytes
    return description


def _from_kernel() -> NodeDescription:
    description = NodeDescription(hostname=socket.gethostname(), raftswarm_version=_own_version())
    description.platform.os = platform.system().lower()
    description.platform.architecture = read.architecture(platform.machine())
    description.resources.nano_cpus = (os.cpu_count() or 1) * NANO
    description.resources.memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return description


def _own_version() -> str:
    try:
        return version("raftswarm")
    except PackageNotFoundError:
        return ""
