"""The Python client of a Raftswarm cluster: sync, typed, and at home with managers that come and go.

    from swarm_api.client import Client

    with Client.connect(context="prod") as client:
        service = client.services.create(replicated("web", "nginx:1", replicas=3))
        client.wait_converged(service.id, timeout_s=60)
        for task in client.tasks.list(service="web"):
            print(task.slot, task.node_id, task.status.state)

Objects are the API's protobuf messages (swarm_api.objects_pb2), specs are swarm_api.specs_pb2.  Every write
carries a request id, so it is retried safely on another manager.  What can go wrong is swarm_api.errors.
A client is for one thread; make one for each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from swarm_api import nouns
from swarm_api.access import Access, find_access
from swarm_api.backing_up import read_backup
from swarm_api.backup_pb2 import BackupHead
from swarm_api.ca_pb2 import IssueAdminCertificateRequest, IssueAdminCertificateResponse
from swarm_api.ca_pb2_grpc import CaStub
from swarm_api.channel import CALL_BUDGET_S, ManagerConnection
from swarm_api.control_pb2 import (
    Filter,
    GetClusterRequest,
    GetInfoRequest,
    GetInfoResponse,
    GetJoinTokensRequest,
    GetJoinTokensResponse,
    GetUnlockKeyRequest,
    UnlockRequest,
    UpdateClusterRequest,
)
from swarm_api.converging import Convergence, Convergences
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Cluster, Service
from swarm_api.specs_pb2 import ClusterSpec, ContainerSpec, ServiceSpec, TaskSpec
from swarm_api.types_pb2 import Annotations
from swarm_api.watching import PATIENCE_S, Watch

__all__ = ["Client", "Convergence", "Watch", "replicated"]


def replicated(
    name: str, image: str, *, replicas: int = 1, args: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> ServiceSpec:
    """The spec of a plain replicated service; it is a protobuf message: set whatever else is wanted."""
    spec = ServiceSpec(
        annotations=Annotations(name=name),
        task=TaskSpec(
            container=ContainerSpec(
                image=image, args=args, env=[f"{key}={value}" for key, value in (env or {}).items()]
            )
        ),
    )
    spec.replicated.replicas = replicas
    return spec


class Client:
    """A connection to whichever manager answers.

    `services`, `nodes`, `tasks`, `networks`, `secrets`, `configs` and `stacks` hold the requests of each noun.
    Every request raises NoManagerError when no manager has answered within the budget (4 s), and a
    RequestError when a manager refuses.
    """

    def __init__(self, access: Access, *, budget_s: float = CALL_BUDGET_S, stale: bool = False) -> None:
        self._access = access
        self._budget_s = budget_s
        self.connection = ManagerConnection(access.endpoints, budget_s=budget_s, stale=stale)
        self.services = nouns.Services(self.connection)
        self.rebalancing = nouns.Rebalancing(self.connection)
        self.nodes = nouns.Nodes(self.connection)
        self.tasks = nouns.Tasks(self.connection)
        self.networks = nouns.Networks(self.connection)
        self.secrets = nouns.Secrets(self.connection)
        self.configs = nouns.Configs(self.connection)
        self.stacks = nouns.Stacks(self.connection)

    @classmethod
    def connect(
        cls,
        managers: Sequence[str] = (),
        *,
        context: str | None = None,
        state_dir: str | None = None,
        run_dir: str | None = None,
        budget_s: float = CALL_BUDGET_S,
        stale: bool = False,
    ) -> "Client":
        """A client for the cluster that the arguments, the environment or this node name (see swarm_api.access).

        With `stale`, reads are answered by whichever manager is asked, from its own copy: without a quorum, too, and
        perhaps behind the others.  Nothing is sent yet.  AccessError: no address or no certificate is known.
        """
        return cls(find_access(managers, context, state_dir=state_dir, run_dir=run_dir), budget_s=budget_s, stale=stale)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later request opens it again."""
        self.connection.close()

    def info(self, *, stale: bool = False) -> GetInfoResponse:
        """The cluster as a whole; `stale`: as the manager that answers knows it, also without a quorum."""
        return self.connection.call(lambda stub: stub.GetInfo, GetInfoRequest(stale=stale))

    def cluster(self) -> Cluster:
        """The cluster's settings, without its keys."""
        return self.connection.call(lambda stub: stub.GetCluster, GetClusterRequest()).cluster

    def edit_cluster(self, change: Callable[[ClusterSpec], None]) -> Cluster:
        """Read, change and write the cluster's settings; ConflictError when somebody changed them meanwhile."""
        cluster = self.cluster()
        spec = ClusterSpec()
        spec.CopyFrom(cluster.spec)
        change(spec)
        request = UpdateClusterRequest(version=cluster.meta.version, spec=spec, request_id=new_id())
        return self.connection.call(lambda stub: stub.UpdateCluster, request).cluster

    def join_tokens(self) -> GetJoinTokensResponse:
        """The join tokens, and the managers' addresses to use them with."""
        return self.connection.call(lambda stub: stub.GetJoinTokens, GetJoinTokensRequest())

    def rotate_join_token(self, *, worker: bool = False, manager: bool = False) -> GetJoinTokensResponse:
        """Replace a role's join token; the old one admits nobody any more."""
        cluster = self.cluster()
        request = UpdateClusterRequest(
            version=cluster.meta.version,
            spec=cluster.spec,
            rotate_worker_token=worker,
            rotate_manager_token=manager,
            request_id=new_id(),
        )
        self.connection.call(lambda stub: stub.UpdateCluster, request)
        return self.join_tokens()

    def unlock_key(self) -> str:
        """What managers that start are unlocked with; empty when autolock is off."""
        return self.connection.call(lambda stub: stub.GetUnlockKey, GetUnlockKeyRequest()).unlock_key

    def rotate_unlock_key(self) -> str:
        """Replace the unlock key; the new one.  A manager that is off meanwhile takes the old one once more."""
        request = UpdateClusterRequest(rotate_unlock_key=True, request_id=new_id())
        self.connection.call(lambda stub: stub.UpdateCluster, request)
        return self.unlock_key()

    def unlock(self, unlock_key: str) -> None:
        """Unlock the manager at the other end, which must be this machine's; PreconditionError: it is not locked."""
        self.connection.call(lambda stub: stub.Unlock, UnlockRequest(unlock_key=unlock_key))

    def admin_certificate(self, csr_pem: bytes, name: str) -> IssueAdminCertificateResponse:
        """A person's certificate for the key that signed the request, with the CA's and the managers' addresses."""
        request = IssueAdminCertificateRequest(csr_pem=csr_pem, name=name)
        return self.connection.call_on(lambda channel: CaStub(channel).IssueAdminCertificate, request)

    def backup(self) -> tuple[BackupHead, Iterator[bytes]]:
        """The whole state with all writes acknowledged before: what it is, and its bytes in pieces.

        It holds every secret and the CA's key in the clear; `swarm_api.backup_file` seals it.  A manager that goes away
        in the middle makes the iterator raise NoManagerError: then begin anew.
        """
        self.info()  # finds a manager that answers, with a leader behind it, or says why there is none
        return read_backup(self.connection.stub(self.connection.current()))

    def watch(
        self,
        kinds: Iterable[str] = (),
        *,
        resume_from: int = 0,
        filter: Filter | None = None,  # noqa: A002 - the field's name in the API
        patience_s: float = PATIENCE_S,
    ) -> Watch:
        """Changes from now on (or after version `resume_from`) of these kinds (`service`, `task`, ...; none: all).

        Iterate over it; it resumes by itself when managers change.  `close` it when done.
        """
        connection = ManagerConnection(self._access.endpoints, budget_s=self._budget_s)
        return Watch(connection, kinds, resume_from=resume_from, filter=filter, patience_s=patience_s)

    def wait_converged(
        self,
        services: Service | str | Sequence[Service | str],
        *,
        timeout_s: float | None = None,
        stable_s: float = 0.0,
        on_progress: Callable[[list[Convergence]], None] | None = None,
    ) -> list[Convergence]:
        """Wait until the services (objects, ids or names) run as their specs want, for `stable_s` seconds on end.

        `on_progress` is called with how each stands after every look.  Raises NotConvergedError after
        `timeout_s` seconds (None: never) and UpdateStoppedError when an update is paused or rolled back.
        """
        wanted = [services] if isinstance(services, (Service, str)) else services
        ids = [one.id if isinstance(one, Service) else self.services.get(one).id for one in wanted]
        watcher = ManagerConnection(self._access.endpoints, budget_s=self._budget_s)
        return Convergences(self.connection, watcher, ids).wait(timeout_s, stable_s, on_progress)
