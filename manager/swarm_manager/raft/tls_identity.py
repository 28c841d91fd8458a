"""Our certificate for the Raft links, and what we demand of a peer's."""

import os
import ssl
from typing import Any

from swarm_api.identity import ROLE_MANAGER, NodeCredentials

from swarm_manager.raft.errors import InvalidConfig


class TlsIdentity:
    """TLS 1.3 contexts made from PEM bytes.  `replace` swaps the certificate, and counts up `generation`."""

    def __init__(self, credentials: NodeCredentials) -> None:
        self.server: ssl.SSLContext
        self.client: ssl.SSLContext
        self.node_id = ""
        self.cluster_id = ""
        self.generation = 0
        self.replace(credentials)

    def replace(self, credentials: NodeCredentials) -> None:
        """Use these for new links from now on.  From any thread."""
        me = credentials.identity()
        if me.role != ROLE_MANAGER:
            raise InvalidConfig(f"the certificate's role is {me.role}, but only a {ROLE_MANAGER} takes part")
        if self.node_id and (me.node_id, me.cluster_id) != (self.node_id, self.cluster_id):
            raise InvalidConfig("the new certificate is of another node or cluster")
        self.node_id, self.cluster_id = me.node_id, me.cluster_id
        self.server = _context(ssl.PROTOCOL_TLS_SERVER, credentials)
        self.server.num_tickets = 0  # no resumption: every link proves its certificate anew
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT, credentials)
        self.generation += 1

    def peer_id(self, certificate: dict[str, Any] | None) -> str | None:
        """The peer's node id, when its (already verified) certificate is a manager's of our cluster."""
        subject: dict[str, list[str]] = {}
        for part in (certificate or {}).get("subject", ()):
            for key, value in part:
                subject.setdefault(key, []).append(value)
        ids = subject.get("commonName", [])
        wanted = [self.cluster_id], [ROLE_MANAGER]
        found = subject.get("organizationName"), subject.get("organizationalUnitName")
        return ids[0] if found == wanted and len(ids) == 1 else None


def _context(protocol: int, credentials: NodeCredentials) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the peer's id is in its subject and is compared with whom we dialled
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.ca_pem.decode("ascii"))
    # The ssl module reads a chain from a file only; a memory file keeps the key off the disk.
    handle = os.memfd_create("raftswarm-tls", os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(credentials.certificate_pem + credentials.key_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    return context
