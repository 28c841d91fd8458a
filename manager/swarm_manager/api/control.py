"""The Control service: its nouns together."""

from swarm_api.control_pb2_grpc import ControlServicer

from swarm_manager.api.backup import BackupRpcs
from swarm_manager.api.cluster import ClusterRpcs
from swarm_manager.api.configs import ConfigRpcs
from swarm_manager.api.info import InfoRpcs
from swarm_manager.api.networks import NetworkRpcs
from swarm_manager.api.nodes import NodeRpcs
from swarm_manager.api.rebalance import RebalanceRpcs
from swarm_manager.api.secrets import SecretRpcs
from swarm_manager.api.services import ServiceRpcs
from swarm_manager.api.stacks import StackRpcs
from swarm_manager.api.tasks import TaskRpcs
from swarm_manager.api.watch import WatchRpcs


class ControlRpcs(
    InfoRpcs,
    ClusterRpcs,
    NodeRpcs,
    ServiceRpcs,
    RebalanceRpcs,
    TaskRpcs,
    NetworkRpcs,
    SecretRpcs,
    ConfigRpcs,
    StackRpcs,
    WatchRpcs,
    BackupRpcs,
    ControlServicer,
):
    """Every RPC of control.proto."""
