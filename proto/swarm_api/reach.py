"""Looking at an address without gRPC: which of several answers first, and why one does not.

gRPC tells "no connection" in prose that changes between its releases.  When a call fails, `diagnose` repeats
the first steps by hand - TCP, TLS, the first bytes of HTTP/2 - and so knows which one failed.
"""

import contextlib
import enum
import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from swarm_api.access import Credentials, Endpoint

_STAGGER_S = 0.2  # a second address is tried beside the first when that has not answered by then
SERVER_NAME = "swarm-manager"  # in every manager's certificate


class Finding(enum.Enum):
    """How far a connection gets."""

    ANSWERS = "answers"
    REFUSED = "refuses the connection"
    SILENT = "does not answer"
    UNKNOWN_HOST = "is not a known host name"
    NO_TLS = "does not speak TLS"
    OTHER_CLUSTER = "has no certificate of this cluster"
    NO_HTTP2 = "is not the API port"
    CERTIFICATE_REFUSED = "refuses our certificate"

    @property
    def is_final(self) -> bool:
        """Whether trying again soon is of no use."""
        return self not in (Finding.ANSWERS, Finding.REFUSED, Finding.SILENT)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found at an address, and the system's words for it."""

    finding: Finding
    detail: str = ""


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as (host, port)."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def first_reachable(addresses: Sequence[str], deadline: float) -> int | None:
    """The index of the first `host:port` that accepts a TCP connection before `deadline` (monotonic seconds).

    The next address is tried at once when one refuses, and after a short while when one is silent: a machine
    that lost power must not cost more than that.  None: nobody accepts.
    """
    with _Race() as race:
        return race.run(iter(enumerate(addresses)), deadline)


class _Race:
    """Connections being made, side by side."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for connection in self._open:
            connection.close()

    def run(self, waiting: Iterator[tuple[int, str]], deadline: float) -> int | None:
        """The index of the first to connect."""
        exhausted = False
        while (left := deadline - time.monotonic()) > 0:
            exhausted = exhausted or not self._start_next(waiting)
            if exhausted and not self._selector.get_map():
                return None
            for key, _ in self._selector.select(left if exhausted else min(_STAGGER_S, left)):
                connection: socket.socket = key.fileobj  # type: ignore[assignment]  # only sockets are registered
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    return int(key.data)
                self._selector.unregister(connection)
        return None

    def _start_next(self, waiting: Iterator[tuple[int, str]]) -> bool:
        """Start connecting to the next address that resolves; False when there is none left."""
        for index, address in waiting:
            with contextlib.suppress(OSError):  # an unknown host name: `diagnose` says so when nobody else answers
                family, kind, proto, _, target = socket.getaddrinfo(*split_address(address), type=socket.SOCK_STREAM)[0]
                connection = socket.socket(family, kind, proto)
                self._open.append(connection)
                connection.setblocking(False)
                if connection.connect_ex(target) in (0, errno.EINPROGRESS):
                    self._selector.register(connection, selectors.EVENT_WRITE, index)
                    return True
        return False


def diagnose(endpoint: Endpoint, timeout_s: float) -> Diagnosis:
    """How far a connection to the endpoint gets within `timeout_s`."""
    try:
        if endpoint.is_local or endpoint.credentials is None:
            return _knock_local(endpoint.address.removeprefix("unix:"), timeout_s)
        with socket.create_connection(split_address(endpoint.address), timeout=timeout_s) as connection:
            return _handshake(connection, endpoint.credentials)
    except ConnectionRefusedError as error:
        return Diagnosis(Finding.REFUSED, error.strerror or "")
    except socket.gaierror as error:
        return Diagnosis(Finding.UNKNOWN_HOST, error.strerror or "")
    except OSError as error:
        return Diagnosis(Finding.SILENT, error.strerror or "no answer")


def _knock_local(path: str, timeout_s: float) -> Diagnosis:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
        except FileNotFoundError as error:
            return Diagnosis(Finding.REFUSED, error.strerror or "")
        return Diagnosis(Finding.ANSWERS)


def _handshake(connection: socket.socket, credentials: Credentials) -> Diagnosis:
    try:
        context = _tls_context(credentials)
    except ssl.SSLError as error:
        return Diagnosis(Finding.CERTIFICATE_REFUSED, f"it cannot be read: {error.reason or error}")
    try:
        tls = context.wrap_socket(connection, server_hostname=SERVER_NAME)
    except ssl.SSLCertVerificationError as error:
        return Diagnosis(Finding.OTHER_CLUSTER, error.verify_message)
    except (ssl.SSLError, ConnectionResetError) as error:
        return Diagnosis(Finding.NO_TLS, str(error))
    with tls:
        if tls.selected_alpn_protocol() != "h2":
            return Diagnosis(Finding.NO_HTTP2)
        return _first_bytes(tls)


def _first_bytes(tls: ssl.SSLSocket) -> Diagnosis:
    """In TLS 1.3 the server judges our certificate after our handshake is over: its first bytes tell."""
    try:
        if tls.recv(1):
            return Diagnosis(Finding.ANSWERS)
    except TimeoutError:
        return Diagnosis(Finding.SILENT, "connected, but nothing was answered")
    except OSError as error:
        return Diagnosis(Finding.CERTIFICATE_REFUSED, str(error))
    return Diagnosis(Finding.CERTIFICATE_REFUSED, "the connection was closed")


def _tls_context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=credentials.ca_pem.decode("ascii", "replace"))
    descriptor = os.memfd_create("client")  # ssl reads keys from files only; this one is never on a disk
    try:
        os.write(descriptor, credentials.certificate_pem + b"\n" + credentials.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context
