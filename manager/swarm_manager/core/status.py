"""What is observed: workers' reports merged into tasks, nodes' states, and how far each service has come."""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.control_pb2 import ServiceProgress
from swarm_api.dispatcher_pb2 import TaskReport
from swarm_api.objects_pb2 import NodeDescription
from swarm_api.store_pb2 import Change

from swarm_manager.core.snapshot import View


def merge_reports(view: View, node_id: str, reports: Iterable[TaskReport], now: Timestamp) -> list[Change]:
    """The changes that a node's reports make; late, repeated and foreign ones make none."""
    raise NotImplementedError


def node_seen(view: View, node_id: str, description: NodeDescription, address: str, now: Timestamp) -> list[Change]:
    """The node opened a session (or described itself anew): READY, with this description and underlay address."""
    raise NotImplementedError


def node_lost(view: View, node_id: str, state: int, message: str, now: Timestamp) -> list[Change]:
    """The node is DOWN or DISCONNECTED (`state`), and why."""
    raise NotImplementedError


def progress(view: View, service_id: str) -> ServiceProgress:
    """How many tasks a service wants and has, and what the first one that does not run waits for."""
    raise NotImplementedError
