"""What a change of managers means for the quorum, told before it is made. (What would lose it the managers refuse.)"""

from swarm_api.control_pb2 import GetInfoResponse
from swarm_api.objects_pb2 import Reachability
from swarm_api.types_pb2 import NodeRole

_A_PAIR = 2


def role_warning(info: GetInfoResponse, count: int, role: "NodeRole.ValueType") -> str:
    """What somebody should know before making `count` nodes managers, or workers; empty: nothing."""
    voters = [one for one in info.managers if one.voter]
    reachable = sum(one.leader or one.reachability == Reachability.REACHABLE for one in voters)
    dead = len(voters) - reachable
    after = len(voters) + (count if role == NodeRole.MANAGER else -count)
    spare = after - dead - (after // 2 + 1)
    if after == _A_PAIR:
        return "Two managers are worse than one, because both must live: go on to three, or stay with one."
    if after == 1 and role == NodeRole.WORKER:
        return "One manager is left: when its machine fails nothing can be changed, and its data is the only copy."
    if role == NodeRole.MANAGER and dead and spare <= 0:
        return f"{dead} of the managers cannot be reached, so of {after} no more may fail; demote the dead ones, too."
    if role == NodeRole.MANAGER and after % 2 == 0:
        return f"{after} managers stand no more losses than {after - 1} do: an odd number is better."
    return ""
