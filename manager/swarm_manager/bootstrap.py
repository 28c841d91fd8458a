"""`swarm-manager init`: a new cluster, whose first manager is this machine.

Nothing runs yet.  The identity goes to `<state>/node`, new keys for the data at rest to `<state>/manager/keys`, the
first change set (the cluster object with its CA and tokens, and this node) to a seed file, which the first `run`
commits to Raft and removes.  With autolock, too, the keys lie open until then: that run wraps them and adds one.
"""

import contextlib
import ipaddress
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api import defaults, ids, store_pb2
from swarm_api.identity import (
    ROLE_MANAGER,
    NodeCredentials,
    ca_digest,
    make_token,
    new_key_and_csr,
    utc_now,
)
from swarm_api.ids import base36
from swarm_api.join_token import DIGEST_DIGITS
from swarm_api.objects_pb2 import Cluster, Node, ObjectKind
from swarm_api.types_pb2 import NodeAvailability, NodeRole

from swarm_manager import pki
from swarm_manager.config import NodeFile, Settings, check_advertised, raft_address, split_address
from swarm_manager.core.codec import SCHEMA_VERSION
from swarm_manager.errors import StartError
from swarm_manager.members_file import save_members
from swarm_manager.raft.config import Member
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.errors import RaftError
from swarm_manager.raft.keys import KeyFile
from swarm_manager.seed_file import SeedFile
from swarm_manager.unlock_key import new_unlock_key

_AVAILABILITIES = ("active", "pause", "drain")


@dataclass(frozen=True, slots=True)
class NewCluster:
    """What an operator decides about a new cluster; see `swarm-manager init --help`."""

    advertise_address: str
    listen_address: str = ""
    name: str = "default"
    address_pools: tuple[str, ...] = defaults.ADDRESS_POOLS
    subnet_prefix_length: int = defaults.SUBNET_PREFIX_LENGTH
    vxlan_port: int = defaults.VXLAN_PORT
    availability: str = "active"
    autolock: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """What `init` prints."""

    node_id: str
    cluster_id: str
    worker_token: str
    manager_token: str
    unlock_key: str = ""  # with autolock


def create_cluster(settings: Settings, wanted: NewCluster) -> Created:
    """Make CA, identity and seed below the state directory; StartError when it is no good or there is one."""
    check(wanted)
    if (settings.node_dir / "node.crt").exists():
        raise StartError(
            f"{settings.node_dir} holds an identity already: this machine is a node; leave the cluster first"
        )
    if settings.raft_dir.exists() and any(settings.raft_dir.iterdir()):
        raise StartError(f"{settings.raft_dir} holds the data of a manager already: move it away first")
    now = utc_now()
    node_id, cluster_id = ids.new_id(), ids.new_id()
    ca = pki.create_ca(cluster_id, now)
    tokens = [str(make_token(ca.certificate_pem, pki.new_secret())) for _ in range(2)]
    cluster = _cluster(cluster_id, wanted, ca, tokens)
    _save(settings, wanted, ca, _node(node_id, wanted), cluster)
    return Created(node_id, cluster_id, tokens[0], tokens[1], cluster.unlock_key)


def check(wanted: NewCluster) -> None:
    """Raise StartError with the first thing that cannot be."""
    check_advertised(wanted.advertise_address)
    if wanted.listen_address:
        split_address(wanted.listen_address, "--listen-address")
    if wanted.availability not in _AVAILABILITIES:
        raise StartError(f"--availability is active, pause or drain, not {wanted.availability!r}")
    if not 0 < wanted.vxlan_port < 65536:
        raise StartError(f"--vxlan-port is a UDP port from 1 to 65535, not {wanted.vxlan_port}")
    for pool in wanted.address_pools:
        _check_pool(pool, wanted.subnet_prefix_length)


def _check_pool(pool: str, prefix_length: int) -> None:
    try:
        network = ipaddress.IPv4Network(pool)
    except ValueError as error:
        raise StartError(f"--address-pool {pool!r} is no IPv4 network such as 10.128.0.0/11: {error}") from error
    if not network.prefixlen <= prefix_length <= 28:
        raise StartError(
            f"--subnet-prefix-length {prefix_length} does not fit: it must be from {network.prefixlen} "
            f"(the length of the address pool {pool}) to 28"
        )


def _cluster(cluster_id: str, wanted: NewCluster, ca: pki.CertificateAuthority, tokens: list[str]) -> Cluster:
    cluster = Cluster(id=cluster_id)
    spec = cluster.spec
    spec.annotations.name = wanted.name or "default"
    spec.heartbeat_period.CopyFrom(_seconds(defaults.HEARTBEAT_PERIOD_S))
    spec.node_down_after.CopyFrom(_seconds(defaults.NODE_DOWN_AFTER_S))
    spec.certificate_validity.CopyFrom(_seconds(defaults.CERTIFICATE_VALIDITY_S))
    spec.orphan_after.CopyFrom(_seconds(defaults.ORPHAN_AFTER_S))
    spec.task_history_limit = defaults.TASK_HISTORY_LIMIT
    spec.address_pools.extend(wanted.address_pools)
    spec.subnet_prefix_length = wanted.subnet_prefix_length
    spec.vxlan_port = wanted.vxlan_port
    spec.autolock = wanted.autolock
    cluster.unlock_key = new_unlock_key() if wanted.autolock else ""
    cluster.root_ca.certificate_pem = ca.certificate_pem
    cluster.root_ca.key_pem = ca.key_pem
    digest = int.from_bytes(ca_digest(ca.certificate_pem), "big")
    cluster.root_ca.digest = base36(digest, DIGEST_DIGITS)
    cluster.root_ca.join_tokens.worker, cluster.root_ca.join_tokens.manager = tokens
    return cluster


def _node(node_id: str, wanted: NewCluster) -> Node:
    node = Node(id=node_id, role=NodeRole.MANAGER, manager_address=wanted.advertise_address)
    node.spec.role = NodeRole.MANAGER
    node.spec.availability = NodeAvailability.Value(wanted.availability.upper())
    node.certificate_ends.FromDatetime(utc_now() + pki.DEFAULT_VALIDITY)
    return node


def _save(settings: Settings, wanted: NewCluster, ca: pki.CertificateAuthority, node: Node, cluster: Cluster) -> None:
    seed = _seed(cluster, node)
    address = wanted.advertise_address
    file = NodeFile(node.id, cluster.id, ROLE_MANAGER, address, wanted.listen_address, (address,))
    try:
        _save_seed(settings, seed)
        save_alone(settings, file, ca)
        file.save(settings.node_dir)
    except RaftError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"{settings.state_dir} cannot be written: {error.strerror or error}") from error


def save_alone(settings: Settings, node: NodeFile, ca: pki.CertificateAuthority) -> None:
    """Write what the only manager of a cluster starts with: its certificate, and that it has no others to join.

    Only `node.json` is missing: it makes the machine a node, so it is the caller's to write, last.
    """
    key_pem, csr_pem = new_key_and_csr()
    certificate = pki.issue_from_csr(
        ca, csr_pem, node_id=node.node_id, role=ROLE_MANAGER, cluster_id=node.cluster_id, now=utc_now()
    )
    save_members(settings, [Member(node.node_id, raft_address(node.advertise_address))], joining=False)
    NodeCredentials(ca.certificate_pem, certificate, key_pem).save(settings.node_dir)


def _save_seed(settings: Settings, seed: store_pb2.ChangeSet) -> None:
    with contextlib.closing(KeyFile(LocalDisk(settings.key_dir))) as key_file:
        SeedFile(settings.seed_file, key_file.create()).save(seed)


def _seed(cluster: Cluster, node: Node) -> store_pb2.ChangeSet:
    seed = store_pb2.ChangeSet(schema_version=SCHEMA_VERSION, request_id=f"init-{cluster.id}")
    now = Timestamp()
    now.GetCurrentTime()
    seed.proposed_at.CopyFrom(now)
    put = seed.changes.add(kind=ObjectKind.CLUSTER, id=cluster.id, expected_version=0)
    put.object.cluster.CopyFrom(cluster)
    put = seed.changes.add(kind=ObjectKind.NODE, id=node.id, expected_version=0)
    put.object.node.CopyFrom(node)
    return seed


def _seconds(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
