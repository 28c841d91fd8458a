"""`swarm-manager reissue`: a new certificate for this manager, made with the CA's key in its own Raft data.

For a cluster whose managers' certificates have all ended: then no manager admits another, so none can be asked.  The
key lies in this manager's data all the same, and the node's folder is root's; so nobody gains anything by this that
the machine's owner did not have.  Whether this manager still belongs to the cluster the others decide: they refuse a
node that was removed, whatever its certificate says.
"""

from datetime import timedelta

from swarm_api.defaults import CERTIFICATE_VALIDITY_S
from swarm_api.identity import ROLE_MANAGER, CertificateError, NodeCredentials, new_key_and_csr, utc_now
from swarm_api.objects_pb2 import Cluster

from swarm_manager import pki, raft_folder
from swarm_manager.config import Settings
from swarm_manager.core import codec
from swarm_manager.core.times import duration_ns
from swarm_manager.errors import StartError
from swarm_manager.raft.at_rest import read_held
from swarm_manager.raft.errors import RaftError


def reissue(settings: Settings, unlock_key: bytes | None = None) -> NodeCredentials:
    """Replace this manager's certificate; what it has now. StartError: it cannot be, and nothing was changed."""
    old = _own(settings)
    cluster = _cluster(settings, unlock_key)
    identity = old.identity()
    if old.ca_pem != cluster.root_ca.certificate_pem or identity.cluster_id != cluster.id:
        raise StartError(f"{settings.node_dir} and {settings.raft_dir} are of different clusters")
    key_pem, csr_pem = new_key_and_csr()
    certificate_pem = pki.issue_from_csr(
        pki.CertificateAuthority(cluster.root_ca.certificate_pem, cluster.root_ca.key_pem),
        csr_pem,
        node_id=identity.node_id,
        role=ROLE_MANAGER,
        cluster_id=cluster.id,
        now=utc_now(),
        validity=timedelta(seconds=duration_ns(cluster.spec.certificate_validity) / 1e9 or CERTIFICATE_VALIDITY_S),
    )
    fresh = NodeCredentials(old.ca_pem, certificate_pem, key_pem)
    try:
        fresh.save(settings.node_dir)
    except OSError as error:
        raise StartError(f"{settings.node_dir} cannot be written: {error.strerror or error}") from error
    return fresh


def _own(settings: Settings) -> NodeCredentials:
    try:
        own = NodeCredentials.load(settings.node_dir)
        role = own.identity().role
    except (OSError, CertificateError) as error:
        raise StartError(f"the node's files in {settings.node_dir} cannot be used: {error}") from error
    if role != ROLE_MANAGER:
        raise StartError("this node is a worker, and only a manager has the CA's key")
    return own


def _cluster(settings: Settings, unlock_key: bytes | None) -> Cluster:
    if not settings.raft_dir.is_dir():
        raise StartError(f"{settings.raft_dir} does not exist: this manager lost its data, and with it the CA's key")
    try:
        with raft_folder.opened(settings, unlock_key) as disk:
            cluster = read_held(disk).state.cluster
    except (RaftError, OSError, codec.SnapshotError) as error:
        raise StartError(str(error)) from error
    if cluster is None:
        raise StartError(f"{settings.raft_dir} does not hold the cluster's state, and so not the CA's key")
    return cluster
