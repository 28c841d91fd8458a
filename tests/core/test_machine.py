"""The state machine's rules, one by one; that it is total is in test_properties."""

import pytest
from swarm_api.objects_pb2 import Network, Node, Object, ObjectKind, Service, Task, UpdateStatus
from swarm_api.store_pb2 import Change, ChangeSet
from swarm_api.types_pb2 import PortConfig, TaskState
from swarm_manager.core import codec
from swarm_manager.core.codec import REMEMBERED_REQUESTS, SnapshotError, dump, load
from swarm_manager.core.kinds import KINDS, Stored, wrap
from swarm_manager.core.machine import Committed, Conflict, Outcome, apply
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.snapshot import Snapshot
from swarm_manager.core.times import timestamp


class Log:
    """A snapshot that entries are applied to, one index after the other."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    def put(self, obj: Stored, *, expected: int | None = None, request_id: str = "", reply: bytes = b"") -> Outcome:
        kind = next(kind for kind in KINDS.values() if kind.message is type(obj))
        return self.apply(
            Change(kind=kind.number, id=obj.id, object=wrap(kind, obj), expected_version=expected),
            request_id=request_id,
            reply=reply,
        )

    def apply(self, *changes: Change, request_id: str = "", reply: bytes = b"") -> Outcome:
        index = self.snapshot.index + 1
        entry = ChangeSet(changes=changes, request_id=request_id, reply=reply, proposed_at=timestamp(index * 10**9))
        self.snapshot, outcome = apply(self.snapshot, index, entry)
        return outcome


def service(name: str, service_id: str = "", port: int = 0) -> Service:
    made = Service(id=service_id or f"id-{name}")
    made.spec.annotations.name = name
    if port:
        made.spec.endpoint.ports.add(target_port=80, published_port=port)
    return made


def task(state: int = TaskState.NEW, desired: int = TaskState.RUNNING, node_id: str = "") -> Task:
    made = Task(id="t", service_id="s", slot=1, node_id=node_id, desired_state=desired)
    made.status.state = state
    return made


def refusal(outcome: Outcome) -> str:
    assert isinstance(outcome, Conflict)
    return outcome.reason


def test_a_commit_stamps_versions_and_times() -> None:
    log = Log()
    log.put(Node(id="n"))
    log.put(Node(id="n"))
    meta = log.snapshot.nodes["n"].meta
    assert (meta.version.index, meta.created_at.seconds, meta.updated_at.seconds) == (2, 1, 2)


def test_an_update_must_know_the_present_version() -> None:
    log = Log()
    assert log.put(service("web"), expected=0) == Committed(1, b"")
    refused = log.put(service("web"), expected=0)
    assert refused == Conflict(ObjectKind.SERVICE, "id-web", "The service id-web exists already.", stale=True)
    assert log.put(service("web"), expected=1) == Committed(3, b"")
    assert "is at version 3, the change was decided on version 1" in refusal(log.put(service("web"), expected=1))
    assert refusal(log.put(service("db"), expected=1)) == "The service id-db is gone."


def test_one_wrong_change_undoes_the_entry() -> None:
    log = Log()
    log.put(service("web"))
    good = Change(kind=ObjectKind.NODE, id="n", object=Object(node=Node(id="n")))
    bad = Change(kind=ObjectKind.SERVICE, id="id-web", delete=True, expected_version=9)
    assert isinstance(log.apply(good, bad), Conflict)
    assert "n" not in log.snapshot.nodes
    assert log.snapshot.index == 2


def test_names_are_unique_a_kind_and_free_again_when_removed() -> None:
    log = Log()
    log.put(service("web"))
    assert refusal(log.put(service("web", "other"))) == "A service named web exists already."
    network = Network(id="n")
    network.spec.annotations.name = "web"
    assert isinstance(log.put(network), Committed)
    leaving = service("web")
    leaving.pending_delete = True
    log.put(leaving)
    assert isinstance(log.put(service("web", "other")), Committed)
    assert log.snapshot.ids_matching(ObjectKind.SERVICE, "web") == ["other"]
    assert log.snapshot.ids_matching(ObjectKind.SERVICE, "id-web") == ["id-web"]


def test_published_ports_are_unique_in_ingress_mode() -> None:
    log = Log()
    log.put(service("web", port=80))
    assert refusal(log.put(service("other", port=80))) == "Port 80/tcp is already published by service web."
    udp = service("dns", port=80)
    udp.spec.endpoint.ports[0].protocol = PortConfig.UDP
    assert isinstance(log.put(udp), Committed)
    log.put(service("web", port=81))
    assert isinstance(log.put(service("other", port=80)), Committed)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (task(TaskState.RUNNING), task(TaskState.READY), "cannot go from running to ready"),
        (task(TaskState.FAILED), task(TaskState.REMOVE), "cannot go from failed to remove"),
        (task(desired=TaskState.SHUTDOWN), task(desired=TaskState.RUNNING), "cannot go from shutdown to running"),
        (task(node_id="n1"), task(node_id="n2"), "cannot move to another node"),
    ],
)
def test_tasks_only_move_forward(before: Task, after: Task, words: str) -> None:
    log = Log()
    log.put(before)
    assert words in refusal(log.put(after))


def test_a_task_keeps_its_spec_for_life() -> None:
    log = Log()
    log.put(task())
    other = task()
    other.spec.container.image = "other"
    assert "cannot change" in refusal(log.put(other))


def test_a_repeated_request_gets_the_first_answer() -> None:
    log = Log()
    assert log.put(service("web"), expected=0, request_id="r", reply=b"first") == Committed(1, b"first")
    again = log.put(service("web", "other"), expected=0, request_id="r", reply=b"second")
    assert again == Committed(1, b"first", repeated=True)
    assert set(log.snapshot.services) == {"id-web"}


def test_a_refused_request_may_be_tried_again() -> None:
    log = Log()
    log.put(service("web"))
    assert isinstance(log.put(service("web", "other"), request_id="r"), Conflict)
    assert isinstance(log.put(service("db"), request_id="r"), Committed)


def test_remembered_requests_are_bounded_and_survive_a_snapshot() -> None:
    log = Log()
    for number in range(REMEMBERED_REQUESTS + 2):
        log.apply(request_id=f"r{number}")
    assert len(log.snapshot.requests) == REMEMBERED_REQUESTS
    assert "r1" not in log.snapshot.requests
    log.snapshot = load(b"".join(dump(log.snapshot)))
    assert log.apply(request_id="r2") == Committed(3, b"", repeated=True)
    log.apply(request_id="one more")
    assert "r2" not in log.snapshot.requests
    assert "r3" in log.snapshot.requests


def test_a_new_spec_is_a_new_version_and_the_old_one_is_kept() -> None:
    log = Log()
    log.put(service("web"))
    changed = copy_of(log.snapshot.services["id-web"])
    changed.spec.task.container.image = "new"
    changed.update_status.state = UpdateStatus.NONE
    log.put(changed)
    now = log.snapshot.services["id-web"]
    assert now.spec_version.index == 2
    assert now.previous_spec == service("web").spec
    assert [revision.version.index for revision in now.history] == [1]
    log.put(now)
    assert log.snapshot.services["id-web"].spec_version.index == 2


def test_a_new_spec_forgets_that_the_update_before_was_paused() -> None:
    log = Log()
    paused = service("web")
    paused.update_status.state = UpdateStatus.PAUSED
    log.put(paused)
    paused.spec.task.container.image = "new"
    log.put(paused)
    assert log.snapshot.services["id-web"].update_status.state == UpdateStatus.NONE


def test_an_entry_of_a_newer_version_is_refused_whole() -> None:
    snapshot, outcome = apply(Snapshot(), 1, ChangeSet(schema_version=99))
    assert "upgrade this manager" in refusal(outcome)
    assert snapshot.index == 1


def test_an_entry_is_applied_once() -> None:
    log = Log()
    log.put(Node(id="n"))
    snapshot, outcome = apply(log.snapshot, 1, ChangeSet())
    assert isinstance(outcome, Conflict)
    assert snapshot is log.snapshot


def test_a_snapshot_does_not_change() -> None:
    with pytest.raises(AttributeError, match="does not change"):
        Snapshot().index = 5


def test_ids_matching_by_prefix_and_node_names() -> None:
    log = Log()
    for node_id in ("abc", "abd"):
        node = Node(id=node_id)
        node.description.hostname = f"host-{node_id}"
        log.put(node)
    assert log.snapshot.ids_matching(ObjectKind.NODE, "ab") == ["abc", "abd"]
    assert log.snapshot.ids_matching(ObjectKind.NODE, "abc") == ["abc"]
    assert log.snapshot.ids_matching(ObjectKind.NODE, "host-abd") == ["abd"]
    assert log.snapshot.ids_matching(ObjectKind.NODE, "") == []


# The codec


def written() -> bytes:
    log = Log()
    log.put(service("web", port=80), request_id="r", reply=b"x")
    log.put(task(TaskState.RUNNING, node_id="n"))
    return b"".join(dump(log.snapshot))


def test_a_snapshot_is_written_in_small_pieces() -> None:
    log = Log()
    for number in range(50):
        big = service(f"web{number}")
        big.spec.annotations.labels["x"] = "y" * 10_000
        log.put(big)
    pieces = list(dump(log.snapshot))
    assert len(pieces) > 3
    assert max(map(len, pieces)) < 100_000
    assert load(b"".join(pieces)).services == log.snapshot.services


def test_a_snapshot_is_written_in_the_order_of_ids_however_many_are_sorted_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "SORTED_AT_ONCE", 7)
    log = Log()
    for number in range(50):
        log.put(service(f"web{number}"))
    data = b"".join(dump(log.snapshot))
    places = [data.index(service_id.encode()) for service_id in sorted(log.snapshot.services)]
    assert places == sorted(places)
    assert load(data).services == log.snapshot.services


def test_any_cut_of_a_snapshot_is_refused() -> None:
    data = written()
    for length in range(len(data)):
        with pytest.raises(SnapshotError):
            load(data[:length])


def test_any_flipped_bit_of_a_snapshot_is_refused() -> None:
    data = written()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(SnapshotError):
            load(bytes(damaged))


def test_a_snapshot_that_goes_on_is_refused() -> None:
    with pytest.raises(SnapshotError, match="after its end"):
        load(written() + written())
