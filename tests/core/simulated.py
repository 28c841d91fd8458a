"""A cluster without a clock, a network or an engine: the pure core, and workers that do what they are told.

Each commit goes through the state machine and is followed by the invariants.  Nothing happens by itself: `run` lets
workers and the leader act until all is quiet, and moves the clock when only time is missing.
"""

import itertools
from collections.abc import Callable, Iterator

from google.protobuf.timestamp_pb2 import Timestamp
from swarm_api.dispatcher_pb2 import Assignment, SessionMessage, TaskReport
from swarm_api.objects_pb2 import (
    Cluster,
    Network,
    Node,
    NodeDescription,
    ObjectKind,
    Service,
    Task,
    TaskStatus,
)
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.store_pb2 import Change, ChangeSet
from swarm_api.types_pb2 import NodeState, Share, TaskState
from swarm_manager.core import diff, planner
from swarm_manager.core.dirty import dirty_ids
from swarm_manager.core.dispatch import NOTHING, Assignments, Differences, Told, affected_nodes
from swarm_manager.core.invariants import backward_steps, early_starts, index_drift, unsettled, violations
from swarm_manager.core.kinds import KINDS, Stored, wrap
from swarm_manager.core.machine import Committed, Conflict, Outcome, apply
from swarm_manager.core.orchestrate.canary import follow_change
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.status import merge_reports, node_lost, node_seen
from swarm_manager.core.times import SECOND_NS, ns, timestamp
from swarm_manager.time_zones import zone_of

START_NS = 1_700_000_000 * SECOND_NS

#: How a task comes up, one report after the other.
_WAY_UP = (TaskState.ACCEPTED, TaskState.PREPARING, TaskState.READY, TaskState.STARTING, TaskState.RUNNING)


class FakeWorker:
    """Takes assignments as a stream of differences, and moves its tasks one state a step."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.told: dict[str, Assignment] = {}
        self.sent: Told = NOTHING
        self.states: dict[str, int] = {}
        self.broken_images: dict[str, int] = {}  # image -> the state its tasks end in
        self.stuck: set[str] = set()  # images whose tasks do not get past STARTING
        self.hangs = False  # it hears what it is told, and does nothing: a call to its engine does not return
        self.said: list[TaskReport] = []  # all it ever reported

    def take(self, wanted: Told, differences: Differences) -> None:
        news = SessionMessage.FromString(differences.between(self.sent, wanted))
        self.sent = wanted
        for key in news.removed:
            del self.told[key]
        for item in news.set:
            self.told[item.key] = item
        assert self.told == dict(wanted)
        self._check_secrets()

    def _check_secrets(self) -> None:
        """A node holds no secret that none of its tasks names."""
        named = {f"secret/{ref.secret_id}" for task in self.tasks() for ref in task.spec.container.secrets}
        assert {key for key in self.told if key.startswith("secret/")} <= named

    def tasks(self) -> list[Task]:
        return [item.task for _, item in sorted(self.told.items()) if item.HasField("task")]

    def step(self) -> list[TaskReport]:
        """One step of every task that has one to take."""
        if self.hangs:
            return []
        reports = []
        for task in self.tasks():
            before = self.states.get(task.id, TaskState.ASSIGNED)
            after = self._next(task, before)
            if after != before:
                self.states[task.id] = after
                reports.append(report(task.id, after, "exit code 1" if after == TaskState.FAILED else ""))
        self.said += reports
        return reports

    def _next(self, task: Task, state: int) -> int:
        if state >= TaskState.COMPLETE:
            return state
        if task.desired_state >= TaskState.SHUTDOWN:
            return TaskState.SHUTDOWN
        if state >= TaskState.READY and task.desired_state < TaskState.RUNNING:
            return state
        image = task.spec.container.image
        if state == TaskState.STARTING and image in self.stuck:
            return state
        how = self.broken_images.get(image)
        if how is not None and state == (TaskState.PREPARING if how == TaskState.REJECTED else TaskState.STARTING):
            return how
        if state == TaskState.RUNNING:
            return state
        return next(s for s in _WAY_UP if s > state)

    def end(self, task_id: str, state: int) -> TaskReport:
        """The container of a task ends by itself."""
        self.states[task_id] = state
        return report(task_id, state, "exit code 1" if state == TaskState.FAILED else "")


def report(task_id: str, state: int, err: str = "") -> TaskReport:
    return TaskReport(task_id=task_id, status=TaskStatus(state=state, err=err))


class SimulatedCluster:
    """Managers as one state machine, workers as fakes, time as a number."""

    def __init__(self, *node_ids: str, forgetful: bool = False) -> None:
        """`forgetful`: the leader changes before every plan, so that each one starts from nothing (ALL)."""
        self.snapshot = Snapshot()
        self.now_ns = START_NS
        self.workers: dict[str, FakeWorker] = {}
        self.cut_off: set[str] = set()
        self.commits = 0
        self._view: Assignments | None = None
        self._ids: Iterator[str] = (f"t{number:04d}" for number in itertools.count(1))
        self._agenda = planner.Agenda()
        self._dirty: set[str] = set()
        self._forgetful = forgetful
        self._knows_nothing = True
        self.put(Cluster(id="cluster"))
        for node_id in node_ids:
            self.add_node(node_id)

    # Commits

    @property
    def now(self) -> Timestamp:
        return timestamp(self.now_ns)

    def propose(self, changes: list[Change], request_id: str = "") -> Outcome:
        """Commits the changes; the invariants are checked."""
        entry = ChangeSet(request_id=request_id, proposed_at=self.now, changes=changes)
        old = self.snapshot
        self.snapshot, outcome = apply(old, old.index + 1, entry)
        self.commits += 1
        happened = diff.events(old, self.snapshot, entry)
        self._dirty |= dirty_ids(happened, self.snapshot)
        assert violations(self.snapshot) == []
        assert backward_steps(old, self.snapshot) == []
        assert early_starts(old, self.snapshot) == []
        self._tell_workers(old, happened)
        return outcome

    def commit(self, changes: list[Change]) -> None:
        outcome = self.propose(changes)
        assert isinstance(outcome, Committed), outcome

    def put(self, *objects: Stored) -> None:
        self.commit([self.change(obj) for obj in objects])

    def change(self, obj: Stored) -> Change:
        kind = next(kind for kind in KINDS.values() if kind.message is type(obj))
        old = self.snapshot.get(kind.number, obj.id)
        version = 0 if old is None else old.meta.version.index
        return Change(kind=kind.number, id=obj.id, object=wrap(kind, obj), expected_version=version)

    def _tell_workers(self, old: Snapshot, happened: list[diff.Event]) -> None:
        view = self._view = Assignments(self.snapshot, self._view)
        for node_id in affected_nodes(old, self.snapshot, happened):
            if node_id in self.workers and node_id not in self.cut_off:
                worker = self.workers[node_id]
                worker.take(view.for_node(node_id, worker.sent), view.differences)

    def check_workers(self) -> None:
        """Every connected worker has been told exactly what it must know: no affected node was forgotten."""
        view = Assignments(self.snapshot)
        for node_id, worker in self.workers.items():
            if node_id not in self.cut_off:
                assert worker.told == dict(view.for_node(node_id)), node_id

    # Nodes

    def add_node(self, node_id: str, **labels: str) -> None:
        node = Node(id=node_id)
        node.spec.annotations.labels.update(labels)
        self.put(node)
        self.workers[node_id] = FakeWorker(node_id)
        self.connect(node_id)

    def connect(self, node_id: str) -> None:
        """The node opens a session; its worker takes all it is told."""
        self.cut_off.discard(node_id)
        description = NodeDescription(hostname=node_id)
        description.resources.nano_cpus = 4_000_000_000
        description.resources.memory_bytes = 8 * 2**30
        description.platform.os = "linux"
        description.platform.architecture = "amd64"
        number = 1 + sorted(self.workers).index(node_id)
        self.commit(node_seen(self.snapshot, node_id, description, f"192.168.0.{number}", self.now))
        worker = self.workers[node_id]
        worker.take(Assignments(self.snapshot).for_node(node_id), Differences())
        self._report(node_id, [report(task_id, state) for task_id, state in worker.states.items()])

    def lose(self, node_id: str) -> None:
        """The node is silent for too long; its containers may well go on."""
        self.cut_off.add(node_id)
        self.commit(node_lost(self.snapshot, node_id, NodeState.DOWN, "no heartbeat for 3 s", self.now))

    def remove_node(self, node_id: str) -> None:
        self.cut_off.add(node_id)
        self.commit([Change(kind=ObjectKind.NODE, id=node_id, delete=True)])

    def set_availability(self, node_id: str, availability: int) -> None:
        node = copy_of(self.snapshot.nodes[node_id])
        node.spec.availability = availability
        self.put(node)

    # Services

    def create(self, spec: ServiceSpec) -> str:
        service = Service(id=f"s-{spec.annotations.name}", spec=spec)
        self.put(service)
        return service.id

    def update(self, name: str, **fields: object) -> None:
        """Changes the spec: `image`, `replicas`, or any message field of the spec by name."""
        spec = copy_of(self.service(name).spec)
        for field, value in fields.items():
            if field == "image":
                spec.task.container.image = str(value)
            elif field == "replicas":
                spec.replicated.replicas = int(str(value))
            else:
                getattr(spec, field).CopyFrom(value)
        self.respecify(name, spec)

    def respecify(self, name: str, spec: ServiceSpec, canary: Share | None = None) -> None:
        """Another spec as a user's request writes it, for the tasks of a canary only when one is named."""
        before = self.service(name)
        changed = copy_of(before)
        changed.spec.CopyFrom(spec)
        if spec != before.spec or canary is not None:
            follow_change(before, changed, canary, self.now)
        self.put(changed)

    def remove(self, name: str) -> None:
        service = copy_of(self.service(name))
        service.pending_delete = True
        self.put(service)

    def add_network(self, name: str, subnet: str = "") -> str:
        network = Network(id=f"net-{name}")
        network.spec.annotations.name = name
        if subnet:
            network.spec.ipam.add(subnet=subnet)
        self.put(network)
        return network.id

    # What there is

    def service(self, name: str) -> Service:
        found = self.snapshot.id_of_name(ObjectKind.SERVICE, name)
        assert found is not None, f"no service {name}"
        return self.snapshot.services[found]

    def tasks(self, name: str) -> list[Task]:
        tasks = self.snapshot.tasks_of_service(f"s-{name}").values()
        return sorted(tasks, key=lambda t: (t.slot, ns(t.meta.created_at), t.id))

    def wanted(self, name: str) -> list[Task]:
        return [task for task in self.tasks(name) if task.desired_state <= TaskState.RUNNING]

    def running(self, name: str) -> list[Task]:
        """Wanted tasks observed running on nodes that are up."""
        return [
            task
            for task in self.wanted(name)
            if task.status.state == TaskState.RUNNING and not self.snapshot.node_is_gone(task.node_id)
        ]

    def nodes_of(self, name: str) -> list[str]:
        return sorted(task.node_id for task in self.running(name))

    # Acting

    def end_task(self, task: Task, state: int = TaskState.FAILED) -> None:
        self._report(task.node_id, [self.workers[task.node_id].end(task.id, state)])

    def _report(self, node_id: str, reports: list[TaskReport]) -> bool:
        changes = merge_reports(self.snapshot, node_id, reports, self.now)
        if changes:
            self.commit(changes)
        return bool(changes)

    def plan(self) -> bool:
        """One plan and its commit; whether it changed anything."""
        if fresh := self._forgetful or self._knows_nothing:
            self._agenda = planner.Agenda()
        dirty = planner.ALL if fresh else self._dirty | self._agenda.due(self.now)
        self._dirty, self._knows_nothing = set(), False
        made = planner.plan(self.snapshot, self.now, dirty, self._ids, zone_of)
        self._agenda.note(made)
        if made.changes:
            self.commit(made.changes)
        return bool(made.changes)

    def plan_and_die(self, changes: int) -> None:
        """A leader commits the first changes of its plan one by one and dies; the next one knows nothing of it."""
        made = planner.plan(self.snapshot, self.now, planner.ALL, self._ids, zone_of)
        for batch in itertools.islice(made.batches(max_size_bytes=1), changes):
            self.commit(batch)
        self._knows_nothing = True

    def repeat_reports(self, node_id: str, order: Callable[[list[TaskReport]], None]) -> None:
        """All that a node ever reported arrives once more, in another order."""
        said = list(self.workers[node_id].said)
        order(said)
        self._report(node_id, said)

    def step_workers(self) -> bool:
        moved = False
        for node_id, worker in sorted(self.workers.items()):
            if node_id not in self.cut_off:
                moved |= self._report(node_id, worker.step())
        return moved

    def settle(self) -> None:
        """The leader plans until it has nothing more to change; a leader that knew nothing would change nothing too."""
        for _ in range(100):
            if not self.plan():
                break
        else:
            raise AssertionError("the planner does not come to rest")
        fresh = planner.plan(self.snapshot, self.now, planner.ALL, iter(()), zone_of)
        assert fresh.changes == [], fresh.changes
        assert unsettled(self.snapshot) == []
        assert index_drift(self.snapshot) == []
        self.check_workers()

    def run(self, seconds: float = 0.0) -> None:
        """Until all is quiet; then, while `seconds` last, jumps to what waits for time."""
        until_ns = self.now_ns + int(seconds * SECOND_NS)
        while True:
            self._quieten()
            following = self._agenda.next_at()
            if following is None or ns(following) > until_ns:
                break
            self.now_ns = max(self.now_ns, ns(following))
        self.now_ns = until_ns if seconds else self.now_ns
        self._quieten()

    def _quieten(self) -> None:
        for _ in range(1000):
            self.settle()
            if not self.step_workers():
                return
        raise AssertionError("the cluster does not come to rest")


def service_spec(name: str, *, image: str = "app:1", replicas: int = 1, networks: tuple[str, ...] = ()) -> ServiceSpec:
    spec = ServiceSpec()
    spec.annotations.name = name
    spec.task.container.image = image
    spec.replicated.replicas = replicas
    for network in networks:
        spec.task.networks.add(target=network)
    return spec


__all__ = ["Conflict", "FakeWorker", "SimulatedCluster", "report", "service_spec"]
