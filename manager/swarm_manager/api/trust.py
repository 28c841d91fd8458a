"""Whose certificates this manager accepts: the cluster's CA, and the tiny CA of each join token in force."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from swarm_api.identity import JOINER_MANAGER, JOINER_WORKER, joiner_anchor, utc_now
from swarm_api.join_token import JoinToken
from swarm_api.objects_pb2 import Cluster


@dataclass(frozen=True, slots=True)
class Trust:
    """The CA, and the anchors of joiners by their role; all PEM."""

    ca_pem: bytes
    anchors: Mapping[str, bytes]

    @property
    def roots(self) -> bytes:
        """What TLS is given as trusted roots."""
        return b"".join([self.ca_pem, *self.anchors.values()])


class TrustSource:
    """The trust in force now; made anew when the cluster's CA or tokens change.

    `current` is also called from gRPC's own threads (at each handshake): it only reads the snapshot's
    reference and replaces one tuple, so it needs no lock.
    """

    def __init__(self, cluster: Callable[[], Cluster | None], ca_pem: bytes) -> None:
        self._cluster = cluster
        self._known: tuple[tuple[bytes, str, str], Trust] = ((ca_pem, "", ""), Trust(ca_pem, {}))

    def current(self) -> Trust:
        """The trust as of the latest state this manager has; until it has one, the CA it was started with."""
        cluster = self._cluster()
        key, trust = self._known
        if cluster is None:
            return trust
        root = cluster.root_ca
        wanted = (root.certificate_pem, root.join_tokens.worker, root.join_tokens.manager)
        if wanted != key:
            trust = Trust(root.certificate_pem, _anchors(cluster))
            self._known = (wanted, trust)
        return trust


def _anchors(cluster: Cluster) -> dict[str, bytes]:
    tokens = cluster.root_ca.join_tokens
    now = utc_now()
    secrets = {JOINER_WORKER: JoinToken.parse(tokens.worker), JOINER_MANAGER: JoinToken.parse(tokens.manager)}
    return {role: joiner_anchor(token.secret, role, now) for role, token in secrets.items()}
