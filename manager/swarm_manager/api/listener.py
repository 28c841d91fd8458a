"""The API's TCP port: mutual TLS with the certificate that is on disk, and connections that end before it does.

Theory of operation
    Certificates are looked at when a connection begins, by both sides.  Our own is read anew at each handshake, so a
    renewed one is shown from the next connection on.  Connections of before are made to end in time: gRPC tells the
    client to open another one when a connection is as old as `_AGE` says, and ends it `_AGE_GRACE` later.  Both are a
    share of our certificate's life.

    gRPC takes them when a server is made.  A certificate that lives much shorter than the one before (the cluster's
    setting was changed) would be outlived by its connections; one that lives much longer would have them end every few
    seconds for nothing.  Then another server takes the place of this one: its clients connect anew, as they do when
    the age is reached.
"""

from collections.abc import Callable, Sequence

import grpc
import structlog
from swarm_api.identity import NodeCredentials, utc_now

from swarm_manager.api.trust import Trust, TrustSource
from swarm_manager.credentials import CredentialsFile
from swarm_manager.errors import StartError

_log = structlog.get_logger("api")
_AGE = (3600.0, 0.05)  # of a connection: at most, and as a share of our certificate's life
_AGE_GRACE = (30.0, 0.1)  # for calls under way, and streams
_MISFIT = 2.0  # so many times longer or shorter is worth another server
_CLOSING_S = 0.3  # for calls under way, when a server gives its place to another

Options = Sequence[tuple[str, int]]


class Listener:
    """Serves at one address for as long as it is open."""

    def __init__(
        self,
        address: str,
        make_server: Callable[[Options], grpc.aio.Server],
        credentials: CredentialsFile,
        trust: TrustSource,
    ) -> None:
        """`make_server` gives a server with all services and these options of gRPC, not bound yet."""
        self._address = address
        self._make_server = make_server
        self._credentials = credentials
        self._trust = trust
        self._server: grpc.aio.Server | None = None
        self._made_for: NodeCredentials | None = None
        self._age_s = 0.0

    async def open(self) -> None:
        """Begin to serve; StartError when the address cannot be bound."""
        own = self._credentials.current()
        self._made_for = own
        self._age_s, grace_s = _ages_s(own)
        server = self._server = self._make_server(_connection_ages(self._age_s, grace_s))
        credentials = grpc.dynamic_ssl_server_credentials(
            _tls(own, self._trust.current()),
            _TlsFetcher(self._credentials, self._trust),  # type: ignore[arg-type]  # None, for no change, is allowed
            require_client_authentication=True,
        )
        bind(lambda: server.add_secure_port(self._address, credentials), self._address)
        await server.start()

    async def look(self) -> None:
        """Make the connections' age fit our certificate, when that was renewed; StartError as from `open`."""
        own = self._credentials.current()
        if own is self._made_for:
            return
        self._made_for = own
        age_s, _ = _ages_s(own)
        if self._age_s / _MISFIT <= age_s <= self._age_s * _MISFIT:
            return
        _log.info("connections live as long as our new certificate allows from now on", seconds=round(age_s, 1))
        await self.close(_CLOSING_S)
        await self.open()

    async def close(self, grace_s: float) -> None:
        """End every connection; calls under way have `grace_s` seconds."""
        if self._server is not None:
            await self._server.stop(grace_s)


class _TlsFetcher:
    """Called by gRPC at each handshake, on a thread of its own: new TLS settings, or None for no change."""

    def __init__(self, credentials: CredentialsFile, trust: TrustSource) -> None:
        self._credentials = credentials
        self._trust = trust
        self._last: tuple[NodeCredentials, Trust] = (credentials.current(), trust.current())

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        now = (self._credentials.current(), self._trust.current())
        if now[0] is self._last[0] and now[1] is self._last[1]:
            return None
        self._last = now
        return _tls(*now)


def _ages_s(own: NodeCredentials) -> tuple[float, float]:
    """How old a connection may get before its client is told, and how long it may go on from then."""
    life_s = (own.identity().not_after - utc_now()).total_seconds()
    age_s, grace_s = (max(1.0, min(limit_s, life_s * share)) for limit_s, share in (_AGE, _AGE_GRACE))
    return age_s, grace_s


def _connection_ages(age_s: float, grace_s: float) -> Options:
    return (
        ("grpc.max_connection_age_ms", int(age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(grace_s * 1000)),
    )


def _tls(own: NodeCredentials, trust: Trust) -> grpc.ServerCertificateConfiguration:
    chain = own.certificate_pem + own.ca_pem  # joiners compare the CA with their token
    return grpc.ssl_server_certificate_configuration([(own.key_pem, chain)], root_certificates=trust.roots)


def bind(bind_port: Callable[[], int], address: str) -> None:
    """Bind a server's port; StartError when it is taken or is none of ours."""
    try:
        bound = bind_port()
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address}: is another manager running there?") from error
    if not bound and not address.startswith("unix:"):
        raise StartError(f"cannot listen on {address}: is another manager running there?")
