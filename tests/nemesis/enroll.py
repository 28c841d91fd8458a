"""Makes a host a node with a manager's identity, as its daemon would: `python -m tests.nemesis.enroll SETTINGS`.

SETTINGS is JSON: via (HOST:PORT of a manager), token, ca (file), node_dir, address (of the new manager).
"""

import json
import sys
from pathlib import Path

import grpc
from swarm_api import ca_pb2, identity
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.join_token import JoinToken

from tests.integration.manager.processes import NAME, save_node


def main() -> None:
    """Ask for a certificate with a join token, and write the identity down."""
    settings = json.loads(sys.argv[1])
    secret = JoinToken.parse(settings["token"]).secret
    leaf, key = identity.joiner_leaf(secret, identity.JOINER_MANAGER, identity.utc_now())
    credentials = grpc.ssl_channel_credentials(Path(settings["ca"]).read_bytes(), key, leaf)
    key_pem, csr_pem = identity.new_key_and_csr()
    request = ca_pb2.IssueNodeCertificateRequest(csr_pem=csr_pem, hostname=settings["address"])
    with grpc.secure_channel(settings["via"], credentials, NAME) as channel:
        answer = CaStub(channel).IssueNodeCertificate(request, timeout=20)
    save_node(Path(settings["node_dir"]), answer, key_pem, settings["address"])


if __name__ == "__main__":
    main()
