"""Values that protobuf carries and that mean nothing."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from swarm_api.control_pb2 import CreateServiceRequest, ListTasksRequest
from swarm_api.objects_pb2 import Cluster
from swarm_api.specs_pb2 import ClusterSpec
from swarm_api.types_pb2 import PortConfig, TaskState
from swarm_api.wellformed import malformed


def port(protocol: int) -> CreateServiceRequest:
    request = CreateServiceRequest()
    request.spec.endpoint.ports.add(target_port=80).protocol = protocol  # type: ignore[assignment]
    return request


def ratio(share: float) -> CreateServiceRequest:
    request = CreateServiceRequest()
    request.spec.update.max_failure_ratio = share
    return request


def revoked(seconds: int) -> Cluster:
    cluster = Cluster()
    cluster.revoked_nodes["n1"].CopyFrom(Timestamp(seconds=seconds))
    return cluster


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (port(77), "spec.endpoint.ports.protocol is 77, which is none of TCP, UDP, SCTP."),
        (ratio(float("nan")), "spec.update.max_failure_ratio is nan, which is no number."),
        (revoked(2**62), "revoked_nodes is no time"),
        (ClusterSpec(heartbeat_period=Duration(seconds=2**50)), "heartbeat_period is no duration"),
        (ClusterSpec(heartbeat_period=Duration(seconds=1, nanos=-1)), "heartbeat_period is no duration"),
        (ClusterSpec(heartbeat_period=Duration(nanos=10**9)), "heartbeat_period is no duration"),
    ],
)
def test_it_is_named(message: Message, problem: str) -> None:
    (found,) = malformed(message)
    assert found.startswith(problem)


def test_one_bad_value_of_many_is_named() -> None:
    request = ListTasksRequest(desired_states=[TaskState.RUNNING])
    request.desired_states.append(99)  # type: ignore[arg-type]
    (found,) = malformed(request)
    assert found.startswith("desired_states is 99")


@pytest.mark.parametrize("message", [port(PortConfig.UDP), ratio(0.5), revoked(1_800_000_000), ListTasksRequest()])
def test_what_makes_sense_is_not(message: Message) -> None:
    assert list(malformed(message)) == []


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_what_passes_can_be_used(seconds: int, nanos: int) -> None:
    period = Duration(seconds=seconds, nanos=nanos)
    if not list(malformed(ClusterSpec(heartbeat_period=period))):
        period.ToJsonString()
    moment = Timestamp(seconds=seconds, nanos=nanos)
    if not list(malformed(moment)):
        moment.ToJsonString()
