"""What somebody should look after before it hurts: certificates that were not renewed, managers that are gone."""

from collections.abc import Iterable, Iterator

from swarm_api.defaults import CERTIFICATE_VALIDITY_S
from swarm_api.objects_pb2 import Cluster, Node

from swarm_manager.core.quorum import Health, dead_to_remove, quorum_of
from swarm_manager.core.snapshot import View
from swarm_manager.core.times import duration_ns, ns

OVERDUE_SHARE = 0.1  # nodes renew with a fifth of the validity left, at the latest
_A_PAIR = 2
NOTED_AFTER_S = 10.0  # managers that restart are no news


def node_warnings(view: View, members: Iterable[Health], now_ns: int) -> dict[str, str]:
    """A sentence about each node that somebody should look after, by id."""
    silent = {one.node_id: one.unreachable_s for one in members if one.unreachable_s > NOTED_AFTER_S}
    found = {}
    for node in view.nodes.values():
        parts = [_certificate(view, node, now_ns), _manager(silent.get(node.id, 0.0))]
        text = " ".join(part for part in parts if part)
        if text:
            found[node.id] = text
    return found


def cluster_warnings(view: View, members: Iterable[Health], now_ns: int) -> list[str]:
    """The same for the cluster as a whole, each with the name of the node it is about."""
    known = list(members)
    about = node_warnings(view, known, now_ns)
    texts = [f"Node {_name(view, node_id)}: {text}" for node_id, text in sorted(about.items())]
    return [*texts, *_about_quorum(known), *_about_autopilot(view, known)]


def remove_dead_after_s(cluster: Cluster | None) -> float:
    """After how long the leader takes out a dead manager; 0: never."""
    return duration_ns(cluster.spec.remove_dead_managers_after) / 1e9 if cluster is not None else 0.0


def _certificate(view: View, node: Node, now_ns: int) -> str:
    if not node.HasField("certificate_ends"):
        return ""
    left_s = (ns(node.certificate_ends) - now_ns) / 1e9
    if left_s <= 0:
        return "Its certificate has ended: run 'swarm-cli rejoin --token TOKEN' on it."
    if left_s < OVERDUE_SHARE * _validity_s(view.cluster):
        return f"Its certificate ends in {duration(left_s)} and was not renewed: see its daemon's log."
    return ""


def _validity_s(cluster: Cluster | None) -> float:
    configured_ns = duration_ns(cluster.spec.certificate_validity) if cluster is not None else 0
    return configured_ns / 1e9 or CERTIFICATE_VALIDITY_S


def _manager(silence_s: float) -> str:
    if not silence_s:
        return ""
    return (
        f"Its manager has been unreachable for {duration(silence_s)}: bring it back, or replace it (promote another "
        "node, then demote this one)."
    )


def _about_quorum(members: list[Health]) -> Iterator[str]:
    voters = [member for member in members if member.voter]
    reachable = sum(member.is_reachable for member in voters)
    if len(voters) == _A_PAIR:
        yield "There are two managers, and both must live: promote a third, or demote one."
    elif len(voters) > _A_PAIR and reachable == quorum_of(len(voters)):
        yield f"No manager more may fail: {reachable} of {len(voters)} are reachable, and that is just a quorum."


def _about_autopilot(view: View, members: list[Health]) -> Iterator[str]:
    after_s = remove_dead_after_s(view.cluster)
    if after_s:
        for node_id, reason in dead_to_remove(members, after_s).kept:
            yield f"Manager {_name(view, node_id)} is dead and is not taken out: {reason}."


def _name(view: View, node_id: str) -> str:
    node = view.nodes.get(node_id)
    return (node.spec.annotations.name or node.description.hostname or node_id) if node else node_id


def duration(seconds: float) -> str:
    """A length of time for people, in its largest unit."""
    for unit_s, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
