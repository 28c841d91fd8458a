"""Where a manager looks for the others."""

from swarm_manager.config import NodeFile
from swarm_manager.joining import seeds


def test_the_managers_of_node_json_are_places_to_look_at_by_their_raft_port() -> None:
    managers = ("10.0.0.1:2377", "10.0.0.2:2400", "[fd00::3]:2377", "127.0.0.1:2377", "no-such-host.invalid:2377")
    node = NodeFile("n1", "c1", "swarm-manager", "10.0.0.1:2377", managers=managers)
    assert seeds(node) == ("10.0.0.2:2401", "[fd00::3]:2378", "127.0.0.1:2378"), "not itself, and not who is unknown"
