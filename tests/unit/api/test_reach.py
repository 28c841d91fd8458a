"""Looking at addresses without gRPC."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from swarm_api.access import Credentials, Endpoint
from swarm_api.reach import Finding, diagnose, first_reachable

from tests.ports import free_port
from tests.unit.api.conftest import Authority, Start


def deadline(seconds: float = 3.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def greeter() -> Iterator[str]:
    """A server that talks, but no TLS (as an SSH server does)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.recv(100)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(2)


def test_the_address_that_accepts_wins_over_those_that_refuse_and_those_that_do_not_exist() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addresses = ["no-such-host.invalid:1", f"127.0.0.1:{free_port()}", f"127.0.0.1:{listener.getsockname()[1]}"]
        assert first_reachable(addresses, deadline()) == 2


def test_a_silent_address_does_not_hold_up_the_next_one() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_server(("127.0.0.1", 0)) as good:
        waiting = []
        for _ in range(4):  # fill the backlog: the kernel drops further connections without a word
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(full.getsockname())
            waiting.append(connection)
        addresses = [f"127.0.0.1:{full.getsockname()[1]}", f"127.0.0.1:{good.getsockname()[1]}"]
        assert first_reachable(addresses, deadline()) == 1
        for connection in waiting:
            connection.close()


def test_nobody_accepts() -> None:
    assert first_reachable([f"127.0.0.1:{free_port()}"], deadline()) is None


def test_a_manager_answers(authority: Authority, start: Start) -> None:
    manager = start()
    assert diagnose(Endpoint(manager.address, authority.credentials()), 3).finding is Finding.ANSWERS


def test_nothing_listens(authority: Authority) -> None:
    found = diagnose(Endpoint(f"127.0.0.1:{free_port()}", authority.credentials()), 3)
    assert found.finding is Finding.REFUSED
    assert not found.finding.is_final


def test_something_else_listens(authority: Authority, greeter: str) -> None:
    found = diagnose(Endpoint(greeter, authority.credentials()), 3)
    assert found.finding is Finding.NO_TLS
    assert found.finding.is_final


def test_a_manager_of_another_cluster_is_not_ours(authority: Authority, start: Start) -> None:
    manager = start(of=Authority("cluster2"))
    assert diagnose(Endpoint(manager.address, authority.credentials()), 3).finding is Finding.OTHER_CLUSTER


def test_a_manager_refuses_a_foreign_certificate(authority: Authority, start: Start) -> None:
    manager = start()
    foreign = Authority("cluster2").credentials()
    mixed = Credentials(authority.credentials().ca_pem, foreign.certificate_pem, foreign.key_pem)
    assert diagnose(Endpoint(manager.address, mixed), 3).finding is Finding.CERTIFICATE_REFUSED


def test_a_damaged_certificate_is_told(authority: Authority, start: Start) -> None:
    manager = start()
    damaged = Credentials(authority.credentials().ca_pem, b"no PEM", b"no PEM")
    found = diagnose(Endpoint(manager.address, damaged), 3)
    assert (found.finding, "cannot be read" in found.detail) == (Finding.CERTIFICATE_REFUSED, True)


def test_an_unknown_host(authority: Authority) -> None:
    found = diagnose(Endpoint("no-such-host.invalid:2377", authority.credentials()), 3)
    assert found.finding is Finding.UNKNOWN_HOST


def test_a_local_socket_that_is_not_there(tmp_path: Path) -> None:
    assert diagnose(Endpoint(f"unix:{tmp_path}/manager.sock"), 3).finding is Finding.REFUSED
