"""Who calls, and whether they may: every RPC passes through `Gate` before its code runs.

Theory of operation
    TLS lets in whoever holds a certificate of the cluster's CA or of a join token.  `Authenticator` decides from
    the signature which of the two it is, and so the caller's role; a node that was removed, and a manager that was
    demoted and shows its old certificate, are recognised in the state.  `Gate` compares the role with the RPC's
    rule (`rules.py`), with no rule meaning nobody.  Only then the request is parsed.

    Certificates may end on connections that live on, so that is looked at with each call, too.

    The local unix socket has no certificates: who may open it (mode 0600) is an admin.

    A follower passes calls on to the leader (`forward.py`) with its caller's role in the metadata.  That is believed
    only of a peer whose own certificate makes it a manager.
"""

import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from swarm_api.identity import (
    JOINER_MANAGER,
    JOINER_WORKER,
    ROLE_ADMIN,
    ROLE_MANAGER,
    ROLE_WORKER,
    CertificateError,
    Identity,
    identify,
    utc_now,
)
from swarm_api.objects_pb2 import Cluster, Node
from swarm_api.types_pb2 import NodeRole

from swarm_manager.api.trust import Trust, TrustSource
from swarm_manager.errors import DeniedError

ADMIN, MANAGER, WORKER = "admin", "manager", "worker"
_ROLE_OF_CERTIFICATE = {
    ROLE_ADMIN: ADMIN,
    ROLE_MANAGER: MANAGER,
    ROLE_WORKER: WORKER,
    JOINER_WORKER: JOINER_WORKER,
    JOINER_MANAGER: JOINER_MANAGER,
}
FORWARDED_ROLE = "swarm-forwarded-role"
FORWARDED_NODE = "swarm-forwarded-node"
_CACHE_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a role of auth.proto, and the node's id (a person's name for admins; empty for joiners)."""

    role: str
    node_id: str
    forwarded: bool = False


LOCAL_ADMIN = Caller(ADMIN, "local")
_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


def caller() -> Caller:
    """The caller of the RPC that runs in this task."""
    return _caller.get()


def caller_name() -> str:
    """The caller as people call it: a person's name or a node's id; empty outside an RPC."""
    who = _caller.get(None)
    return "" if who is None else who.node_id


def set_caller(who: Caller) -> None:
    """Remember the caller for the rest of this task; `Gate` does so before an RPC's code runs."""
    _caller.set(who)


class Peer(Protocol):
    """What is known of the other end of a connection (a gRPC ServicerContext)."""

    def auth_context(self) -> Mapping[str, Any]: ...

    def invocation_metadata(self) -> Any: ...


class State(Protocol):
    """What the authenticator asks of the replicated state."""

    def cluster(self) -> Cluster | None: ...

    def node(self, node_id: str) -> Node | None: ...


class Authenticator:
    """From a TLS peer to a `Caller`; raises DeniedError with the reason."""

    def __init__(self, trust: TrustSource, state: State) -> None:
        self._trust = trust
        self._state = state
        self._seen: dict[bytes, Identity] = {}
        self._seen_under: Trust | None = None

    def __call__(self, peer: Peer) -> Caller:
        """Who is at the other end, believing a manager about whom it speaks for."""
        pem = peer.auth_context().get("x509_pem_cert")
        if not pem:
            raise DeniedError("this port admits only holders of a certificate or a join token of this cluster")
        who = self._member(self._identify(pem[0]))
        return _speaks_for(who, peer) if who.role == MANAGER else who

    def _identify(self, pem: bytes) -> Identity:
        trust = self._trust.current()
        if trust is not self._seen_under or len(self._seen) > _CACHE_LIMIT:
            self._seen, self._seen_under = {}, trust
        identity = self._seen.get(pem)
        if identity is None:
            identity = self._seen[pem] = _verified(pem, trust)
        if identity.not_after < utc_now():  # TLS looked at it when the connection began
            raise DeniedError(f"the certificate shown ended at {identity.not_after:%Y-%m-%d %H:%M} UTC: renew it")
        return identity

    def _member(self, identity: Identity) -> Caller:
        role = _ROLE_OF_CERTIFICATE[identity.role]
        cluster = self._state.cluster()
        if role in (MANAGER, WORKER) and cluster is not None:
            role = self._role_now(identity, cluster, role)
        return Caller(role, identity.node_id)

    def _role_now(self, identity: Identity, cluster: Cluster, role: str) -> str:
        if identity.cluster_id != cluster.id:
            raise DeniedError(f"the certificate of node {identity.node_id} belongs to another cluster")
        if identity.node_id in cluster.revoked_nodes:
            raise DeniedError(
                f"node {identity.node_id} was removed from the cluster: run 'swarm-cli leave --force' on it, "
                "then join it again with a join token"
            )
        node = self._state.node(identity.node_id)
        if role == MANAGER and node is not None and node.role == NodeRole.WORKER:
            return WORKER  # demoted, and still showing the certificate from before
        return role


def local_admin(peer: Peer) -> Caller:  # noqa: ARG001 - the socket's file mode has decided already
    """Everybody who could open the manager's unix socket."""
    return LOCAL_ADMIN


Authenticate = Callable[[Peer], Caller]


def _verified(pem: bytes, trust: Trust) -> Identity:
    try:
        return identify(pem, trust.ca_pem, trust.anchors)
    except CertificateError as error:
        raise DeniedError(str(error)) from error


def _speaks_for(manager: Caller, peer: Peer) -> Caller:
    metadata = dict(peer.invocation_metadata() or ())
    role = metadata.get(FORWARDED_ROLE)
    if role is None:
        return manager
    return Caller(str(role), str(metadata.get(FORWARDED_NODE, "")), forwarded=True)
