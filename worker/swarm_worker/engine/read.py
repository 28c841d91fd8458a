"""What the engine tells, as the worker's own values. Pure: the answers come as the JSON Docker sent."""

from typing import Any

from swarm_api import naming
from swarm_api.defaults import STOP_GRACE_PERIOD_S
from swarm_api.objects_pb2 import EngineDescription

from swarm_worker.core.events import Container, Health, Phase

Json = dict[str, Any]

_PHASES = {"created": Phase.CREATED, "running": Phase.RUNNING, "paused": Phase.RUNNING, "restarting": Phase.RUNNING}
_HEALTH = {"starting": Health.STARTING, "healthy": Health.HEALTHY, "unhealthy": Health.UNHEALTHY}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def container(inspected: Json) -> Container:
    """A container as `GET /containers/ID/json` describes it."""
    state, config = inspected["State"], inspected["Config"]
    grace = config.get("StopTimeout")
    return Container(
        id=inspected["Id"],
        task_id=(config.get("Labels") or {}).get(naming.TASK_ID_LABEL, ""),
        phase=_PHASES.get(state["Status"], Phase.EXITED),
        pid=state.get("Pid") or 0,
        exit_code=state.get("ExitCode") or 0,
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        health=health(state),
        health_output=health_output(state),
        stop_signal=config.get("StopSignal") or "SIGTERM",
        stop_grace_s=float(grace if grace is not None else STOP_GRACE_PERIOD_S),
    )


def health(state: Json) -> Health:
    """The verdict of its health check; NONE when it has none."""
    return _HEALTH.get((state.get("Health") or {}).get("Status", ""), Health.NONE)


def health_output(state: Json, limit: int = 400) -> str:
    """What the last failed check printed, at most `limit` characters."""
    log = (state.get("Health") or {}).get("Log") or []
    failed = [str(entry.get("Output") or "") for entry in log if entry.get("ExitCode")]
    return failed[-1].strip()[:limit] if failed else ""


def architecture(machine: str) -> str:
    """OCI's name of a machine's architecture, from the kernel's or Docker's."""
    return _ARCHITECTURES.get(machine, machine)


def engine_description(info: Json) -> EngineDescription:
    """What `GET /info` says of the engine itself."""
    pairs = (label.partition("=") for label in info.get("Labels") or [])
    plugins = info.get("Plugins") or {}
    return EngineDescription(
        version=info.get("ServerVersion") or "",
        labels={name: value for name, _, value in pairs},
        plugins=sorted(f"{kind}/{name}" for kind, names in plugins.items() for name in names or ()),
        storage_driver=info.get("Driver") or "",
        kernel_version=info.get("KernelVersion") or "",
    )


def generic_resources(info: Json) -> dict[str, int]:
    """The counted things of `GET /info` (the engine's `node-generic-resources`): named ones count one each."""
    found: dict[str, int] = {}
    for resource in info.get("GenericResources") or []:
        discrete, named = resource.get("DiscreteResourceSpec"), resource.get("NamedResourceSpec")
        kind = str((discrete or named or {}).get("Kind") or "")
        if kind:
            found[kind] = found.get(kind, 0) + (int(discrete.get("Value") or 0) if discrete else 1)
    return found
