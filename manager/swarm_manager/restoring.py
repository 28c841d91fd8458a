"""`swarm-manager restore`: a cluster of one manager, this machine as a new node, from a backup.

The order of writing makes it repeatable: the Raft data are prepared, then come the identity and the decision for
those data, and `node.json`, which alone makes this machine a node, comes last.  A restore that was cut short left no
node, and the next one begins anew.
"""

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api import ids
from swarm_api.backup_file import BackupFileError, unpack, unseal
from swarm_api.backup_pb2 import BackupHead
from swarm_api.eras import first_index, first_term, next_era
from swarm_api.identity import ROLE_MANAGER
from swarm_api.objects_pb2 import Cluster, Node, Restoration
from swarm_api.types_pb2 import NodeAvailability, NodeState

from swarm_manager import pki, raft_folder
from swarm_manager.bootstrap import save_alone
from swarm_manager.config import NodeFile, Settings, check_advertised, raft_address, split_address
from swarm_manager.core import codec
from swarm_manager.core.refounding import Refounding, refounded
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import SECOND_NS, seconds_ns, timestamp
from swarm_manager.errors import StartError
from swarm_manager.raft.at_rest import write_founding
from swarm_manager.raft.config import Member
from swarm_manager.raft.disk import LocalDisk
from swarm_manager.raft.keys import KeyFile

_AS_IT_WAS = "nothing was changed on this machine"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator decides about a restored cluster; see `swarm-manager restore --help`."""

    backup: Path
    passphrase: bytes
    advertise_address: str
    listen_address: str = ""
    availability: str = "active"
    nodes_due_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` prints."""

    node_id: str
    cluster_id: str
    taken_at: str  # RFC 3339
    era: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was read to its end and found sound."""

    head: BackupHead
    state: Snapshot
    cluster: Cluster


def restore(settings: Settings, wanted: Wanted) -> Restored:
    """Make Raft data and identity below the state directory; StartError, and nothing changed, when it cannot be."""
    check_advertised(wanted.advertise_address)
    if wanted.listen_address:
        split_address(wanted.listen_address, "--listen-address")
    _refuse_if_used(settings)
    backup = read_backup(wanted.backup, wanted.passphrase)
    plan = _plan(backup, wanted, time.time_ns())
    try:
        _write(settings, wanted, backup, plan)
    except OSError as error:
        raft_folder.discard(settings)
        raise StartError(
            f"{settings.state_dir} cannot be written ({error.strerror or error}): {_AS_IT_WAS}; make room or choose "
            "another --state-dir, then restore again"
        ) from error
    return Restored(
        plan.founder.id,
        backup.cluster.id,
        _shown(backup.head.taken_at),
        plan.restoration.era,
        tuple(sorted(_name(node) for node in backup.state.nodes.values())),
    )


def read_backup(path: Path, passphrase: bytes) -> Backup:
    """The whole backup, decrypted and checked; StartError when it is not one, or not one for this version."""
    try:
        with path.open("rb") as file:
            head, state = unpack(unseal(file, passphrase))
    except OSError as error:
        raise StartError(f"the backup {path} cannot be read: {error.strerror or error}") from error
    except BackupFileError as error:
        raise StartError(f"{path}: {error}") from error
    if head.schema_version > codec.SCHEMA_VERSION:
        raise StartError(
            f"{path} was made by raftswarm {head.raftswarm_version}, whose state (schema {head.schema_version}) this "
            f"version (schema {codec.SCHEMA_VERSION}) does not know: restore it with that version or a newer one"
        )
    try:
        loaded = codec.load(state)
    except codec.SnapshotError as error:
        raise StartError(f"{path}: {error}") from error
    if loaded.cluster is None:
        raise StartError(f"{path} holds no cluster: it was taken while the cluster was being made; use another backup")
    return Backup(head, loaded, loaded.cluster)


def _refuse_if_used(settings: Settings) -> None:
    if (settings.node_dir / "node.json").exists():
        raise StartError(
            f"this machine is a node already ({settings.node_dir}): 'swarm-cli leave' takes it out of its cluster first"
        )
    if settings.raft_dir.exists() and any(settings.raft_dir.iterdir()):
        raise StartError(f"{settings.raft_dir} holds the data of a manager already: move it away first")


def _plan(backup: Backup, wanted: Wanted, now_ns: int) -> Refounding:
    era = next_era(backup.head.term, now_ns / SECOND_NS)
    now = timestamp(now_ns)
    due = timestamp(now_ns + seconds_ns(wanted.nodes_due_after_s))
    restoration = Restoration(era=era, restored_at=now, taken_at=backup.head.taken_at, nodes_due=due)
    return Refounding(_founder(wanted, now), first_index(era, backup.state.index), restoration)


def _founder(wanted: Wanted, now: Timestamp) -> Node:
    node = Node(id=ids.new_id(), manager_address=wanted.advertise_address)
    node.spec.availability = NodeAvailability.Value(wanted.availability.upper())
    node.status.state = NodeState.UNKNOWN
    node.status.message = "The cluster was restored here; its daemon has not reported yet."
    node.status.since.CopyFrom(now)
    return node


def _write(settings: Settings, wanted: Wanted, backup: Backup, plan: Refounding) -> None:
    raft_folder.discard(settings)  # of a restore that was cut short
    founder = Member(plan.founder.id, raft_address(wanted.advertise_address))
    state = refounded(backup.state, plan)
    with contextlib.closing(KeyFile(LocalDisk(settings.key_dir))) as key_file:
        raft_folder.prepare(
            settings,
            key_file.create(),
            lambda disk: write_founding(
                disk, founder, codec.dump(state), index=plan.index, term=first_term(plan.restoration.era)
            ),
        )
    root = backup.cluster.root_ca
    address = wanted.advertise_address
    node = NodeFile(founder.node_id, backup.cluster.id, ROLE_MANAGER, address, wanted.listen_address, (address,))
    save_alone(settings, node, pki.CertificateAuthority(root.certificate_pem, root.key_pem))
    raft_folder.decide(settings)
    node.save(settings.node_dir)


def _name(node: Node) -> str:
    return node.spec.annotations.name or node.description.hostname or node.id


def _shown(moment: Timestamp) -> str:
    return datetime.fromtimestamp(moment.seconds, UTC).isoformat()
