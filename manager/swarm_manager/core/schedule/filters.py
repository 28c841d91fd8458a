"""Which nodes may take a task, and why the others may not.

A filter that a task does not care about is left out, so that a plain task costs one test a node.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from swarm_api.constraints import Constraint, ConstraintError, parse_constraint, parse_constraints, same_architecture
from swarm_api.objects_pb2 import Node, Task
from swarm_api.types_pb2 import (
    Platform,
)

from swarm_manager.core.draft import is_assigned, is_live, port_key
from swarm_manager.core.schedule.affinities import Beside, avoided_by, besides
from swarm_manager.core.schedule.nodes import NodeInfo, demand_of, host_ports_of
from swarm_manager.core.snapshot import View


@dataclass(frozen=True, slots=True)
class Filter:
    """A test of a node, and the words for the nodes that fail it: after "1 node" and after "3 nodes"."""

    admits: Callable[[NodeInfo], bool]
    one: str
    many: str


def filters_for(view: View, task: Task, affinities: Sequence[Beside] | None = None) -> list[Filter]:
    """The filters that a task has, the cheapest first. They follow what is counted in on the nodes."""
    return [
        *_resources(task),
        *_platform(task),
        *_max_replicas(task),
        *_constraints(task),
        *_affinities(besides(view, task) if affinities is None else affinities),
        *_avoided(view, task),
        *_host_ports(view, task),
    ]


def _resources(task: Task) -> Iterable[Filter]:
    cpus, memory, generic, _ = demand_of(task)
    if cpus:
        words = f"cpu for a reservation of {cpus / 1e9:g}"
        yield Filter(lambda info: info.nano_cpus >= cpus, f"lacks {words}", f"lack {words}")
    if memory:
        words = f"memory for a reservation of {memory / 2**20:.0f} MiB"
        yield Filter(lambda info: info.memory_bytes >= memory, f"lacks {words}", f"lack {words}")
    for name, count in generic:
        yield _generic(name, count)


def _generic(name: str, count: int) -> Filter:
    def admits(info: NodeInfo) -> bool:
        have = info.facts.node.description.resources.generic.get(name, 0)
        return have - dict(info.generic).get(name, 0) >= count

    return Filter(admits, f"lacks {name} for a reservation of {count}", f"lack {name} for a reservation of {count}")


def _platform(task: Task) -> Iterable[Filter]:
    platforms = list(task.spec.placement.platforms)
    if platforms:
        words = " or ".join(f"{p.os or 'any'}/{p.architecture or 'any'}" for p in platforms)
        yield Filter(
            lambda info: platform_fits(info.facts.node, platforms), f"is not of {words}", f"are not of {words}"
        )


def platform_fits(node: Node, platforms: list[Platform]) -> bool:
    """Whether a node is of one of the platforms; no platforms: any will do. Empty parts are not compared."""
    have = node.description.platform
    return not platforms or any(
        (not p.os or p.os == have.os) and (not p.architecture or same_architecture(p.architecture, have.architecture))
        for p in platforms
    )


def _max_replicas(task: Task) -> Iterable[Filter]:
    limit = task.spec.placement.max_replicas
    if limit:
        words = f"the most replicas a node may have ({limit})"
        yield Filter(lambda info: info.of_service < limit, f"has {words}", f"have {words}")


def _constraints(task: Task) -> Iterable[Filter]:
    for text in task.spec.placement.constraints:
        if (test := _constraint(text)) is not None:
            yield test


def _constraint(text: str) -> Filter | None:
    """A test for a hard constraint; None for a soft one, which is a wish."""
    try:
        constraint = parse_constraint(text)
    except ConstraintError:
        words = f"meet the constraint {text!r}, which cannot be read"
        return Filter(lambda info: False, f"does not {words}", f"do not {words}")  # noqa: ARG005  # a filter's form
    if constraint.soft:
        return None
    return Filter(
        lambda info: constraint.matches(info.facts.node), f"fails {constraint.text}", f"fail {constraint.text}"
    )


def wishes_for(task: Task, affinities: Sequence[Beside]) -> list[Callable[[NodeInfo], bool]]:
    """The soft constraints and affinities: nodes that meet more of them come first."""
    return [
        *(_wish(c) for c in parse_constraints(task.spec.placement.constraints, skip_unreadable=True) if c.soft),
        *(beside.met for beside in affinities if beside.rule.soft),
    ]


def _wish(constraint: Constraint) -> Callable[[NodeInfo], bool]:
    return lambda info: constraint.matches(info.facts.node)


def _affinities(affinities: Sequence[Beside]) -> Iterable[Filter]:
    for beside in affinities:
        if not beside.rule.soft and not beside.is_first:
            words = f"the affinity {beside.rule.text}"
            yield Filter(beside.met, f"fails {words}", f"fail {words}")


def _avoided(view: View, task: Task) -> Iterable[Filter]:
    for name, node_ids in avoided_by(view, task):
        yield _keeps_away(name, node_ids)


def _keeps_away(name: str, node_ids: frozenset[str]) -> Filter:
    words = f"service {name}, which keeps away from this one"
    return Filter(lambda info: info.id not in node_ids, f"runs {words}", f"run {words}")


def _host_ports(view: View, task: Task) -> Iterable[Filter]:
    for key in host_ports_of(task):
        yield _host_port(view, key)


def _host_port(view: View, key: str) -> Filter:
    words = f"port {key} in use"

    def admits(info: NodeInfo) -> bool:
        if key in view.published or key in info.ports:
            return False
        on_node = view.tasks_on_node(info.id).values()
        return not any(is_live(task) and is_assigned(task) and _holds(task, key) for task in on_node)

    return Filter(admits, f"has {words}", f"have {words}")


def _holds(task: Task, key: str) -> bool:
    given = (p for p in task.status.host_ports if p.published_port)
    return key in host_ports_of(task) or any(port_key(p) == key for p in given)
