"""How often nodes are to say that they live, and after how much silence they are given up.

A heartbeat costs its leader and its node some third of a millisecond each.  Where there are so many nodes that hearing
all of them would keep the leader from its work, all of them beat more slowly, and are given up as much later.
"""

from swarm_api.defaults import HEARTBEAT_PERIOD_S, NODE_DOWN_AFTER_S

from swarm_manager.core.snapshot import View
from swarm_manager.core.times import SECOND_NS, duration_ns, seconds_ns

BEATS_A_SECOND = 500  # of all nodes together, at most


def period_ns(view: View) -> int:
    """How often each node is to say that it lives: as the cluster's spec says, more rarely with very many nodes."""
    return max(_asked_period_ns(view), len(view.nodes) * SECOND_NS // BEATS_A_SECOND)


def down_after_ns(view: View) -> int:
    """After how much silence a node is down: as the spec says, and as much later as heartbeats are rarer."""
    asked_ns = duration_ns(view.cluster.spec.node_down_after) if view.cluster is not None else 0
    return (asked_ns or seconds_ns(NODE_DOWN_AFTER_S)) * period_ns(view) // _asked_period_ns(view)


def _asked_period_ns(view: View) -> int:
    asked_ns = duration_ns(view.cluster.spec.heartbeat_period) if view.cluster is not None else 0
    return asked_ns or seconds_ns(HEARTBEAT_PERIOD_S)
