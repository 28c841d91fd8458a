"""Why no node will do, in words."""

from collections import Counter
from collections.abc import Iterable, Sequence

from swarm_manager.core.schedule.filters import Filter
from swarm_manager.core.schedule.nodes import NodeInfo


def explain(infos: Iterable[NodeInfo], filters: Sequence[Filter]) -> str:
    """A sentence such as: No suitable node: 2 nodes are not ready, 1 node fails node.labels.disk == ssd."""
    refused: Counter[str] = Counter()
    failed: Counter[int] = Counter()
    for info in infos:
        if info.facts.refusal:
            refused[info.facts.refusal] += 1
        elif (number := _first_failed(info, filters)) is not None:
            failed[number] += 1
    parts = [f"{_nodes(count)} {'is' if count == 1 else 'are'} {why}" for why, count in sorted(refused.items())]
    parts += [
        f"{_nodes(count)} {filters[number].one if count == 1 else filters[number].many}"
        for number, count in sorted(failed.items())
    ]
    return f"No suitable node: {', '.join(parts) or 'the cluster has none'}."


def _first_failed(info: NodeInfo, filters: Sequence[Filter]) -> int | None:
    return next((number for number, test in enumerate(filters) if not test.admits(info)), None)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
