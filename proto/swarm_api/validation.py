"""Whether a spec can be done at all. Used by the API before it proposes, and by the command line before it asks.

Only what a spec says by itself is looked at here: whether a name, a port or a network is there or taken is for the API,
which knows the state.  Each problem is one sentence that names the field as it is called in the API.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from swarm_api.control_pb2 import DeployStackRequest
from swarm_api.defaults import MAX_OBJECT_SIZE_BYTES, MAX_REPLICAS, MAX_SECRET_SIZE_BYTES
from swarm_api.naming import name_error
from swarm_api.specs_pb2 import (
    ClusterSpec,
    ConfigSpec,
    NetworkSpec,
    NodeSpec,
    SecretSpec,
    ServiceSpec,
    TaskSpec,
)
from swarm_api.templates import data_template_problems
from swarm_api.types_pb2 import Annotations, PortConfig, RestartPolicy, UpdateConfig
from swarm_api.validation_container import container_problems
from swarm_api.validation_job import job_problems
from swarm_api.validation_network import cluster_network_problems, network_problems
from swarm_api.validation_words import duration_problems, placement_problems, resource_problems, share_problems


def problems(spec: Message) -> list[str]:
    """What is wrong with a spec (of a service, network, secret, config, node or cluster, or a whole stack to deploy).

    Empty: nothing. Raises TypeError for any other message: that is a mistake of the caller's.
    """
    check = _CHECKS.get(type(spec))
    if check is None:
        raise TypeError(f"{type(spec).__name__} is not a spec.")
    return list(check(spec))


# Services


def _service(spec: ServiceSpec) -> Iterator[str]:
    yield from _named(spec.annotations, "service")
    yield from _mode(spec)
    yield from container_problems(spec.task.container)
    yield from resource_problems(spec.task.resources)
    yield from _restart(spec.task)
    yield from placement_problems(spec.task.placement)
    yield from _service_networks(spec)
    yield from _ports(spec)
    yield from _update("update", spec.update)
    yield from _update("rollback", spec.rollback)
    yield from _dependencies(spec)
    yield from _size(spec, "service", MAX_OBJECT_SIZE_BYTES)


def _mode(spec: ServiceSpec) -> Iterator[str]:
    mode = spec.WhichOneof("mode")
    if mode is None:
        yield "mode is missing: a service is replicated, global, or a job."
    yield from job_problems(spec)
    if spec.replicated.replicas > MAX_REPLICAS:
        yield f"replicated.replicas is {spec.replicated.replicas}; at most {MAX_REPLICAS} are allowed."


def _restart(task: TaskSpec) -> Iterator[str]:
    yield from duration_problems("task.restart", delay=task.restart.delay, window=task.restart.window)
    if task.restart.condition not in RestartPolicy.Condition.values():
        yield "task.restart.condition is none of any, on-failure and none."
    if task.on_disconnect not in TaskSpec.OnDisconnect.values():
        yield "task.on_disconnect is none of replace and keep."


def _service_networks(spec: ServiceSpec) -> Iterator[str]:
    targets = [attachment.target for attachment in spec.task.networks]
    if "" in targets:
        yield "task.networks has an entry without a target."
    for target in _repeated(targets):
        yield f"task.networks names the network {target} more than once."
    for attachment in spec.task.networks:
        if attachment.addresses:
            yield f"task.networks asks for a fixed address in {attachment.target}, which is not supported yet."


def _ports(spec: ServiceSpec) -> Iterator[str]:
    for port in spec.endpoint.ports:
        if not 1 <= port.target_port <= 65535:
            yield f"endpoint.ports has the target port {port.target_port}; ports are from 1 to 65535."
        if port.published_port > 65535:
            yield f"endpoint.ports has the published port {port.published_port}; ports are from 1 to 65535."
        if port.protocol == PortConfig.SCTP and port.publish_mode == PortConfig.INGRESS:
            yield "endpoint.ports publishes an SCTP port in ingress mode, which is not supported; use mode host."
        if port.host_ip and port.publish_mode == PortConfig.INGRESS:
            yield f"endpoint.ports binds {port.host_ip} in ingress mode, where all nodes answer; use mode host."
    published = [
        f"{p.published_port}/{PortConfig.Protocol.Name(p.protocol).lower()}"
        for p in spec.endpoint.ports
        if p.published_port
    ]
    for name in _repeated(published):
        yield f"endpoint.ports publishes the port {name} more than once."


def _update(field: str, config: UpdateConfig) -> Iterator[str]:
    yield from duration_problems(field, delay=config.delay, monitor=config.monitor)
    if not 0 <= config.max_failure_ratio <= 1:
        yield f"{field}.max_failure_ratio is {config.max_failure_ratio:g}; it is a share, from 0 to 1."
    if config.parallelism > MAX_REPLICAS:
        yield f"{field}.parallelism is {config.parallelism}; at most {MAX_REPLICAS} are allowed, and 0 means all."
    if config.order not in UpdateConfig.Order.values():
        yield f"{field}.order is none of stop-first and start-first."
    if config.failure_action not in UpdateConfig.FailureAction.values():
        yield f"{field}.failure_action is none of pause, continue and rollback."
    if config.HasField("canary"):
        yield from share_problems(f"{field}.canary", config.canary)
    if field == "rollback" and config.HasField("canary"):
        yield "rollback.canary has no meaning: a rollback is for all tasks; leave it out."
    if field == "rollback" and config.failure_action == UpdateConfig.ROLLBACK:
        yield "rollback.failure_action cannot be rollback; use pause or continue."


def _dependencies(spec: ServiceSpec) -> Iterator[str]:
    names = [dependency.service for dependency in spec.depends_on]
    if "" in names:
        yield "depends_on has an entry without a service."
    if spec.annotations.name in names:
        yield f"depends_on makes the service {spec.annotations.name} wait for itself."
    for name in _repeated(names):
        yield f"depends_on names the service {name} more than once."


# Networks, secrets, configs, nodes, the cluster


def _network(spec: NetworkSpec) -> Iterator[str]:
    yield from _named(spec.annotations, "network")
    yield from network_problems(spec)
    yield from _size(spec, "network", MAX_OBJECT_SIZE_BYTES)


def _secret(spec: SecretSpec) -> Iterator[str]:
    yield from _named(spec.annotations, "secret")
    yield from _data(spec.data, "secret")
    if spec.templating:
        yield from data_template_problems(spec.data)


def _config(spec: ConfigSpec) -> Iterator[str]:
    yield from _named(spec.annotations, "config")
    yield from _data(spec.data, "config")
    if spec.templating:
        yield from data_template_problems(spec.data)


def _data(data: bytes, what: str) -> Iterator[str]:
    if not data:
        yield f"data is empty: a {what} needs some."
    if len(data) > MAX_SECRET_SIZE_BYTES:
        yield f"data has {len(data)} bytes; a {what} has at most {MAX_SECRET_SIZE_BYTES}."


def _node(spec: NodeSpec) -> Iterator[str]:
    if spec.annotations.name and (error := name_error(spec.annotations.name, "node")) is not None:
        yield error
    yield from _labels(spec.annotations)
    if spec.role not in (0, 1):
        yield f"role is {spec.role}; a node is a worker or a manager."
    if spec.availability not in (0, 1, 2):
        yield f"availability is {spec.availability}; it is active, pause or drain."


def _cluster(spec: ClusterSpec) -> Iterator[str]:
    yield from duration_problems(
        "spec",
        heartbeat_period=spec.heartbeat_period,
        node_down_after=spec.node_down_after,
        certificate_validity=spec.certificate_validity,
        orphan_after=spec.orphan_after,
        remove_dead_managers_after=spec.remove_dead_managers_after,
    )
    if spec.HasField("heartbeat_period") and spec.HasField("node_down_after"):
        period, down_after = spec.heartbeat_period.ToTimedelta(), spec.node_down_after.ToTimedelta()
        if down_after <= period:
            yield "node_down_after must be longer than heartbeat_period, or every node is down between two beats."
    yield from cluster_network_problems(spec)


# Stacks


def _stack(request: DeployStackRequest) -> Iterator[str]:
    if (error := name_error(request.name, "stack")) is not None:
        yield error
    parts: tuple[tuple[str, Iterable[Any]], ...] = (
        ("network", request.networks),
        ("secret", request.secrets),
        ("config", request.configs),
        ("service", request.services),
    )
    for what, specs in parts:
        for name in _repeated(spec.annotations.name for spec in specs):
            yield f"The stack has more than one {what} named {name}."
        for spec in specs:
            yield from (f"In {what} {spec.annotations.name}: {problem}" for problem in problems(spec))
    yield from _cycles(list(request.services))


def _cycles(services: list[ServiceSpec]) -> Iterator[str]:
    """A sentence for the first circle of services that wait for each other."""
    waits = {s.annotations.name: [d.service for d in s.depends_on] for s in services}
    done: set[str] = set()
    for name in waits:
        circle = _circle_from(name, waits, [], done)
        if len(circle) > 2:  # a service that waits for itself is named already
            yield f"depends_on goes round in a circle: {' -> '.join(circle)}."
            return


def _circle_from(name: str, waits: dict[str, list[str]], path: list[str], done: set[str]) -> list[str]:
    if name in path:
        return [*path[path.index(name) :], name]
    if name in done:
        return []
    for other in waits.get(name, []):
        if circle := _circle_from(other, waits, [*path, name], done):
            return circle
    done.add(name)
    return []


# What all have in common


def _named(annotations: Annotations, what: str) -> Iterator[str]:
    if (error := name_error(annotations.name, what)) is not None:
        yield error
    yield from _labels(annotations)


def _labels(annotations: Annotations) -> Iterator[str]:
    if any(not key.strip() for key in annotations.labels):
        yield "labels has a label without a name."


def _size(spec: Message, what: str, limit_bytes: int) -> Iterator[str]:
    if spec.ByteSize() > limit_bytes:
        yield f"The {what} spec takes {spec.ByteSize()} bytes; at most {limit_bytes} are allowed."


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1 and name]


_CHECKS: dict[type[Message], Callable[[Any], Iterator[str]]] = {
    ServiceSpec: _service,
    NetworkSpec: _network,
    SecretSpec: _secret,
    ConfigSpec: _config,
    NodeSpec: _node,
    ClusterSpec: _cluster,
    DeployStackRequest: _stack,
}
