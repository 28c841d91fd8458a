"""A cluster's certificates, and managers that answer over mutual TLS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from swarm_api.access import Credentials, Endpoint
from swarm_api.identity import ROLE_ADMIN, ROLE_MANAGER, new_key_and_csr, utc_now
from swarm_manager.pki import create_ca, issue_from_csr

from tests.cli.cluster import FakeCluster, serve
from tests.ports import free_port


@dataclass
class Authority:
    """A cluster's CA, as far as tests need it."""

    cluster_id: str = "cluster1"
    _ca: object = field(init=False)

    def __post_init__(self) -> None:
        self._ca = create_ca(self.cluster_id, utc_now())

    def credentials(self, role: str = ROLE_ADMIN) -> Credentials:
        """A certificate of this role."""
        key, csr = new_key_and_csr()
        certificate = issue_from_csr(
            self._ca, csr, node_id="someone", role=role, cluster_id=self.cluster_id, now=utc_now()
        )
        return Credentials(self._ca.certificate_pem, certificate, key)

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a manager of this cluster serves with."""
        mine = self.credentials(ROLE_MANAGER)
        return grpc.ssl_server_credentials(
            [(mine.key_pem, mine.certificate_pem)], root_certificates=mine.ca_pem, require_client_auth=True
        )


@dataclass
class Manager:
    """A server at an address."""

    cluster: FakeCluster
    address: str
    server: grpc.Server

    def kill(self) -> None:
        """Stop at once; calls under way break."""
        self.server.stop(None).wait()


Start = Callable[..., Manager]


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def start(authority: Authority) -> Iterator[Start]:
    """Start managers over mutual TLS; all are stopped at the end."""
    managers: list[Manager] = []

    def begin(cluster: FakeCluster | None = None, port: int = 0, of: Authority = authority) -> Manager:
        held = cluster or FakeCluster()
        address = f"127.0.0.1:{port or free_port()}"
        managers.append(Manager(held, address, serve(held, address, of.server_credentials())))
        return managers[-1]

    yield begin
    for manager in managers:
        manager.cluster.end_streams()
        manager.kill()


@pytest.fixture
def endpoints(authority: Authority) -> Callable[..., tuple[Endpoint, ...]]:
    """Endpoints at addresses, with an admin's certificate."""
    credentials = authority.credentials()
    return lambda *addresses: tuple(Endpoint(address, credentials) for address in addresses)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[tuple[FakeCluster, Endpoint]]:
    """A manager at a local socket."""
    cluster = FakeCluster()
    address = f"unix:{tmp_path}/manager.sock"
    server = serve(cluster, address)
    yield cluster, Endpoint(address)
    cluster.end_streams()
    server.stop(None).wait()
