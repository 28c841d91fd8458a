"""Connections to the API end before the certificate does that they were made with, also after it was renewed."""

import socket
import ssl
from datetime import datetime

import pytest
from swarm_api import ca_pb2, identity
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.control_pb2 import GetClusterRequest, UpdateClusterRequest
from swarm_api.identity import NodeCredentials, load_certificate, utc_now

from tests.integration.manager.processes import ManagerProcess, wait_for

pytestmark = pytest.mark.integration
VALID_S = 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and empty settings
LOOKS_S = 0.1


class Connection:
    """HTTP/2 over mutual TLS, on which nobody calls anything."""

    def __init__(self, manager: ManagerProcess) -> None:
        node = manager.state_dir / "node"
        context = ssl.create_default_context(cafile=str(node / "ca.crt"))
        context.load_cert_chain(node / "node.crt", node / "node.key")
        context.set_alpn_protocols(["h2"])
        host, _, port = manager.address.rpartition(":")
        plain = socket.create_connection((host, int(port)), timeout=5)
        self._socket = context.wrap_socket(plain, server_hostname="swarm-manager")
        shown = self._socket.getpeercert(binary_form=True)
        assert shown is not None
        self.not_after = load_certificate(ssl.DER_cert_to_PEM_cert(shown).encode()).not_valid_after_utc
        self._socket.sendall(PREFACE)
        self._socket.settimeout(LOOKS_S)

    def has_ended(self) -> bool:
        """Whether the manager closed it by now; waits for a moment."""
        try:
            return not self._socket.recv(4096)
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._socket.close()


def end_of(connection: Connection, until: datetime) -> bool:
    while utc_now() < until:
        if connection.has_ended():
            return True
    return False


def renew(manager: ManagerProcess) -> None:
    """As the node's daemon does, with what the cluster's setting says now."""
    own = manager.credentials
    request = ca_pb2.RenewNodeCertificateRequest(csr_pem=identity.make_csr(own.key_pem))
    answer = CaStub(manager.channel()).RenewNodeCertificate(request, timeout=5)
    NodeCredentials(answer.ca_pem, answer.certificate_pem, own.key_pem).save(manager.state_dir / "node")


def set_validity(manager: ManagerProcess, seconds: int) -> None:
    cluster = manager.control.GetCluster(GetClusterRequest(), timeout=5).cluster
    cluster.spec.certificate_validity.FromSeconds(seconds)
    manager.control.UpdateCluster(UpdateClusterRequest(version=cluster.meta.version, spec=cluster.spec), timeout=5)


def test_connections_end_before_a_certificate_that_lives_shorter_than_the_one_before(manager: ManagerProcess) -> None:
    renew(manager)
    lasting = Connection(manager)
    set_validity(manager, VALID_S)
    renew(manager)
    wait_for("the connections of before to end", lasting.has_ended)
    short = wait_for("a connection", lambda: Connection(manager))
    assert (short.not_after - utc_now()).total_seconds() <= VALID_S
    assert end_of(short, short.not_after), "a connection outlived the manager's certificate"
    for connection in (lasting, short):
        connection.close()
    set_validity(manager, 90 * 24 * 3600)
    renew(manager)
    wait_for("the manager to answer", manager.info)
