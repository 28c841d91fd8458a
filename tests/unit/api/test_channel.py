"""Finding a manager that answers, and saying why none does."""

import socket
import time
from collections.abc import Callable

import grpc
import pytest
from swarm_api import errors
from swarm_api.access import Credentials, Endpoint
from swarm_api.channel import ManagerConnection
from swarm_api.control_pb2 import CreateNetworkRequest, GetRequest, ListRequest
from swarm_api.ids import new_id

from tests.cli.cluster import FakeCluster
from tests.ports import free_port
from tests.unit.api.conftest import Authority, Start

Endpoints = Callable[..., tuple[Endpoint, ...]]


def list_nodes(connection: ManagerConnection) -> int:
    return len(connection.call(lambda stub: stub.ListNodes, ListRequest()).nodes)


def test_a_manager_that_refuses_is_passed_over_and_the_one_that_answered_is_kept(
    start: Start, endpoints: Endpoints
) -> None:
    manager = start()
    connection = ManagerConnection(endpoints(f"127.0.0.1:{free_port()}", manager.address))
    list_nodes(connection)
    assert connection.endpoint.address == manager.address
    list_nodes(connection)
    assert len(manager.cluster.requests) == 2
    connection.close()


def test_when_its_manager_dies_the_next_one_is_asked(start: Start, endpoints: Endpoints) -> None:
    first, second = start(), start()
    connection = ManagerConnection(endpoints(first.address, second.address))
    list_nodes(connection)
    first.kill()
    list_nodes(connection)
    assert connection.endpoint.address == second.address
    connection.close()


@pytest.mark.long
def test_a_manager_that_accepts_and_says_nothing_does_not_eat_the_whole_budget(
    start: Start, endpoints: Endpoints
) -> None:
    manager = start()
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # as a stopped process: the kernel still accepts
        connection = ManagerConnection(endpoints(f"127.0.0.1:{frozen.getsockname()[1]}", manager.address))
        list_nodes(connection)
        assert connection.endpoint.address == manager.address
        connection.close()


def test_a_manager_without_leader_is_asked_again_until_it_has_one(start: Start, endpoints: Endpoints) -> None:
    manager = start()
    manager.cluster.fails_next = [(grpc.StatusCode.UNAVAILABLE, "no leader is known")] * 3
    connection = ManagerConnection(endpoints(manager.address))
    list_nodes(connection)
    assert len(manager.cluster.requests) == 4
    connection.close()


def test_a_write_whose_answer_was_lost_is_answered_again_and_not_done_again(start: Start, endpoints: Endpoints) -> None:
    class Forgetful(FakeCluster):
        lost = 0

        def CreateNetwork(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
            answer = super().CreateNetwork(request, context)
            if not self.lost:
                self.lost += 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the leader changed")
            return answer

    manager = start(Forgetful())
    connection = ManagerConnection(endpoints(manager.address))
    request = CreateNetworkRequest(request_id=new_id())
    request.spec.annotations.name = "net"
    made = connection.call(lambda stub: stub.CreateNetwork, request).network
    assert len(manager.cluster.requests) == 2
    assert list(manager.cluster.objects["network"]) == [made.id]
    connection.close()


def test_no_quorum_ends_within_the_budget_and_says_what_the_manager_said(start: Start, endpoints: Endpoints) -> None:
    manager = start()
    manager.cluster.fails_next = [(grpc.StatusCode.UNAVAILABLE, "2 of 3 managers are missing.")] * 1000
    connection = ManagerConnection(endpoints(manager.address), budget_s=0.6)
    began = time.monotonic()
    with pytest.raises(errors.NoManagerError, match="says: 2 of 3 managers are missing; check with 'swarm-cli info'"):
        list_nodes(connection)
    assert time.monotonic() - began < 5
    connection.close()


def test_nobody_listens(endpoints: Endpoints) -> None:
    address = f"127.0.0.1:{free_port()}"
    connection = ManagerConnection(endpoints(address), budget_s=0.3)
    with pytest.raises(errors.NoManagerError, match=f"No manager can be reached: {address} refuses the connection"):
        list_nodes(connection)


def test_a_manager_of_another_cluster_ends_the_call_at_once(start: Start, endpoints: Endpoints) -> None:
    manager = start(of=Authority("cluster2"))
    connection = ManagerConnection(endpoints(manager.address), budget_s=60)
    with pytest.raises(errors.NotAManagerError, match="has no certificate of this cluster"):
        list_nodes(connection)


def test_a_refused_certificate_ends_the_call_at_once(authority: Authority, start: Start) -> None:
    manager = start()
    foreign = Authority("cluster2").credentials()
    mixed = Credentials(authority.credentials().ca_pem, foreign.certificate_pem, foreign.key_pem)
    connection = ManagerConnection((Endpoint(manager.address, mixed),), budget_s=60)
    with pytest.raises(errors.CertificateRefusedError, match="refuses our certificate"):
        list_nodes(connection)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequestError),
        (grpc.StatusCode.NOT_FOUND, errors.NotFoundError),
        (grpc.StatusCode.ALREADY_EXISTS, errors.AlreadyExistsError),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.PreconditionError),
        (grpc.StatusCode.ABORTED, errors.ConflictError),
        (grpc.StatusCode.PERMISSION_DENIED, errors.DeniedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.FullError),
        (grpc.StatusCode.OUT_OF_RANGE, errors.OutdatedError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.RequestError),
    ],
)
def test_a_refusal_is_not_retried_and_keeps_its_sentence(
    code: grpc.StatusCode, kind: type[Exception], local: tuple[FakeCluster, Endpoint]
) -> None:
    cluster, endpoint = local
    cluster.fails_next = [(code, "This is why.")]
    connection = ManagerConnection((endpoint,))
    with pytest.raises(kind, match=r"This is why\."):
        connection.call(lambda stub: stub.GetService, GetRequest(id="web"))
    assert len(cluster.requests) == 1
    connection.close()


class Distracted(FakeCluster):
    """Answers a network's creation as the test says, one answer after the other."""

    def __init__(self, *answers: tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]) -> None:
        super().__init__()
        self._answers = list(answers)

    def CreateNetwork(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
        code, text, trailing = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        context.set_trailing_metadata(trailing)
        context.abort(code, text)


LOST = (grpc.StatusCode.UNAVAILABLE, "The leadership was lost.", ())
NOT_DONE = (grpc.StatusCode.UNAVAILABLE, "No manager leads.", (errors.NOTHING_DONE,))
FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED, "No space left: make room.", ())
TAKEN = (grpc.StatusCode.ALREADY_EXISTS, "The name is taken.", ())


@pytest.mark.parametrize(
    ("answers", "kind", "text"),
    [
        ((LOST, FULL), errors.OutcomeUnknownError, "No space left: make room; the outcome of this request is unknown"),
        ((LOST, NOT_DONE), errors.OutcomeUnknownError, "No manager leads.*outcome of this request is unknown.*is safe"),
        ((LOST, TAKEN), errors.AlreadyExistsError, "The name is taken"),
        ((NOT_DONE, FULL), errors.FullError, "No space left"),
        ((NOT_DONE,), errors.NoManagerError, "No manager leads"),
    ],
    ids=["then full", "then nobody leads", "then taken", "not done, then full", "not done"],
)
def test_a_write_that_may_have_been_done_is_not_said_to_be_refused(
    answers: tuple[tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]], ...],
    kind: type[Exception],
    text: str,
    start: Start,
    endpoints: Endpoints,
) -> None:
    manager = start(Distracted(*answers))
    connection = ManagerConnection(endpoints(manager.address), budget_s=1.0)
    with pytest.raises(errors.ClientError, match=text) as ended:
        connection.call(lambda stub: stub.CreateNetwork, CreateNetworkRequest(request_id=new_id()))
    assert type(ended.value) is kind
    connection.close()


def test_a_write_that_reached_nobody_is_not_said_to_be_done_perhaps(endpoints: Endpoints) -> None:
    connection = ManagerConnection(endpoints(f"127.0.0.1:{free_port()}"), budget_s=0.3)
    with pytest.raises(errors.NoManagerError) as ended:
        connection.call(lambda stub: stub.CreateNetwork, CreateNetworkRequest(request_id=new_id()))
    assert type(ended.value) is errors.NoManagerError


def test_of_a_read_nothing_is_in_doubt(start: Start, endpoints: Endpoints) -> None:
    manager = start()
    manager.cluster.fails_next = [(grpc.StatusCode.UNAVAILABLE, "The leadership was lost.")] * 1000
    connection = ManagerConnection(endpoints(manager.address), budget_s=0.3)
    with pytest.raises(errors.NoManagerError) as ended:
        list_nodes(connection)
    assert type(ended.value) is errors.NoManagerError
    connection.close()


def test_without_any_address_nothing_is_tried() -> None:
    with pytest.raises(errors.NoManagerError, match="--manager"):
        ManagerConnection(())
