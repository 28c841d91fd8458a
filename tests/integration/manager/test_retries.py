"""Every write ends before its deadline - done, refused, or outcome unknown - and a retry neither loses nor doubles."""

import signal
import threading
from dataclasses import dataclass, field

import grpc
import pytest
from swarm_api.control_pb2 import CreateServiceRequest, ListRequest
from swarm_api.control_pb2_grpc import ControlStub

from tests.integration.manager.processes import ManagerProcess, service, wait_for
from tests.integration.manager.test_three_managers import leader_of

pytestmark = pytest.mark.integration
DEADLINE_S = 10.0  # a manager answers long before; if it does not, gRPC says DEADLINE_EXCEEDED, and the test fails
PAUSE_S = 0.05
CLIENTS = 4


@dataclass
class Client:
    """Creates services one after the other, each under one request id until it is done."""

    name: str
    manager: ManagerProcess
    stop: threading.Event
    done: list[str] = field(default_factory=list)
    unknown: int = 0
    surprises: list[str] = field(default_factory=list)

    def run(self) -> None:
        control = self.manager.control
        while not self.stop.is_set():
            name = f"{self.name}-{len(self.done)}"
            if self._is_done(control, CreateServiceRequest(spec=service(name, replicas=0), request_id=f"r-{name}")):
                self.done.append(name)
            else:
                self.stop.wait(PAUSE_S)

    def _is_done(self, control: ControlStub, request: CreateServiceRequest) -> bool:
        try:
            control.CreateService(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # it is safe to try that again, and only that
                self.surprises.append(f"{error.code()}: {error.details()}")
                self.stop.set()
            self.unknown += 1
            return False
        return True


def test_writes_through_a_freeze_and_a_death_end_in_time_and_are_done_once(managers: list[ManagerProcess]) -> None:
    leader = leader_of(managers)
    followers = [manager for manager in managers if manager is not leader]
    stop = threading.Event()
    clients = [Client(f"c{n}", followers[n % 2], stop) for n in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()

    def more(count: int) -> None:
        target = [len(client.done) + count for client in clients]
        wait_for("more writes", lambda: all(len(c.done) >= t for c, t in zip(clients, target, strict=True)))

    try:
        more(10)
        assert leader.process is not None
        leader.process.send_signal(signal.SIGSTOP)  # it holds writes of which nobody knows what became
        more(10)
        leader.process.send_signal(signal.SIGCONT)
        more(5)
        leader.kill()
        more(10)
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * DEADLINE_S)
    assert [client.surprises for client in clients] == [[]] * CLIENTS, "a write done twice would be ALREADY_EXISTS"
    found = followers[0].control.ListServices(ListRequest(), timeout=5).services
    names = [one.spec.annotations.name for one in found]
    assert len(names) == len(set(names))
    assert {name for client in clients for name in client.done} <= set(names)
