"""Rebalancing: running tasks are moved to nodes that have less, because a node joined or returned, or a user asked.

Theory of operation
    A move is a replacement that starts first and whose node is chosen with it (`Task.moved`): the old task stops when
    the new one runs.  From there on it is like any other replacement; if it fails, the old task simply stays.

    Automatic (services with `spec.rebalance`): towards nodes that became ready lately, but not before they have been
    ready for `_SETTLED_NS`, so that a flapping node gets nothing; and not to a node where a task that was moved there
    lately is not wanted any more, so that one that flaps slowly gets tasks once in `_REST_NS` at most.
    Asked for (`Service.rebalance_asked_at`): towards any node, until no move is worth it; then the field is cleared.

    A few tasks of a service are moved at once (its update's parallelism, or one), and only while all of it is quiet:
    all its tasks run and nothing of it is updated.  What to move is in `schedule.balance`; it follows from the tasks
    alone, so a new leader goes on with it, and nothing is ever moved back.
"""

from collections.abc import Iterable

from swarm_api.objects_pb2 import SERVICE, TASK, Node, Service, Task, UpdateStatus
from swarm_api.types_pb2 import FAILED, REJECTED, RUNNING, SHUTDOWN, UpdateConfig

from swarm_manager.core.draft import is_assigned
from swarm_manager.core.orchestrate.replicated import replicas_of
from swarm_manager.core.orchestrate.slots import Desk, Slot, created_ns
from swarm_manager.core.schedule.balance import MOST_ARRIVING, Balance, Move, is_spread
from swarm_manager.core.scratch import Scratch, copy_of
from swarm_manager.core.snapshot import View
from swarm_manager.core.times import SECOND_NS, ns

#: A node gets tasks by itself when it has been ready for so long, ...
_SETTLED_NS = 30 * SECOND_NS
#: ... and for so long after it became ready.
_LATELY_NS = 3600 * SECOND_NS
#: Where a task was moved in vain, none is moved for so long.
_REST_NS = 600 * SECOND_NS
#: What was asked for and could not be done is forgotten after this.
_PATIENCE_NS = 3600 * SECOND_NS
_LOOK_AGAIN_NS = 5 * SECOND_NS
#: How many more tasks in all a node has to have before one is moved for that: by itself, and when asked for.
_GAIN_BY_ITSELF = 3
_GAIN_ASKED = 2
_UNDER_WAY = frozenset({UpdateStatus.UPDATING, UpdateStatus.ROLLBACK_STARTED})


def rebalance(scratch: Scratch, service_ids: Iterable[str]) -> None:
    """Takes the moves of these services their next step."""
    balance: Balance | None = None
    for service_id in sorted(service_ids):
        service = scratch.services.get(service_id)
        if service is None or not wants_moves(scratch, service):
            continue
        rebalancing = _Rebalancing(scratch, service)
        if rebalancing.must_wait():
            continue
        balance = balance or Balance(scratch)
        rebalancing.advance(balance)


def wants_moves(view: View, service: Service) -> bool:
    """Whether the planner is to look at all: a user asked, or the service allows it and a node became ready lately."""
    if service.pending_delete or not service.spec.HasField("replicated"):
        return False
    return service.HasField("rebalance_asked_at") or (service.spec.rebalance and not why_not(view, service))


def why_not(view: View, service: Service) -> str:
    """Why the tasks of a service cannot be moved, a sentence; empty: they can."""
    spec = service.spec
    if not spec.HasField("replicated"):
        return "only replicated services can be moved."
    if not is_spread(view, service):
        return "its strategy is not spread."
    if spec.replicated.replicas <= 1 and spec.update.order != UpdateConfig.START_FIRST:
        return "its only task cannot run twice; with --update-order start-first it could be moved."
    return ""


def planned_moves(view: View, service: Service, balance: Balance) -> list[Move]:
    """All moves that a user's request makes, as things stand now."""
    if why_not(view, service):
        return []
    tasks = view.tasks_of_service(service.id).values()
    return list(balance.moves(service, _movable(tasks), _GAIN_ASKED, lambda _: True))


def _movable(tasks: Iterable[Task]) -> list[Task]:
    wanted = [task for task in tasks if task.desired_state <= RUNNING]
    replaced = {task.replaces for task in wanted if task.replaces}
    return [t for t in wanted if t.status.state == RUNNING and t.desired_state == RUNNING and t.id not in replaced]


class _Rebalancing:
    """One service, as it stands now."""

    def __init__(self, scratch: Scratch, service: Service) -> None:
        self._scratch = scratch
        self._service = service
        self._desk = Desk(scratch, service)
        self._is_asked = service.HasField("rebalance_asked_at")

    def must_wait(self) -> bool:
        """Whether nothing new can be begun now. Gives up moves that lead nowhere, and requests that cannot be met."""
        for slot in self._moving():
            self._give_up_stranded(slot)
        if self._is_asked and (why_not(self._scratch, self._service) or self._is_too_late()):
            self._clear()
            return True
        return len(self._moving()) >= self._at_once() or not self._is_quiet() or not self._has_new_nodes()

    def advance(self, balance: Balance) -> None:
        """Begins as many moves as may be under way; when there are none left to begin, a request is done."""
        room = self._at_once() - len(self._moving())
        tasks = _movable(task for slot in self._desk.slots.values() for task in slot.tasks.values())
        gain = _GAIN_ASKED if self._is_asked else _GAIN_BY_ITSELF
        moves = balance.moves(self._service, tasks, gain, lambda node: self._may_take(node, balance))
        for move in moves:
            self._begin(move)
            room -= 1
            if room <= 0:
                return
        if self._is_asked and not self._moving() and not self._is_held_up:
            self._clear()

    _is_held_up = False  # a node is too busy with tasks that arrive, or rests: look again

    def _moving(self) -> list[Slot]:
        slots = ((slot, slot.wanted()) for slot in self._desk.slots.values())
        return [slot for slot, wanted in slots if len(wanted) > 1 and wanted[-1].moved]

    def _at_once(self) -> int:
        return max(1, int(self._service.spec.update.parallelism))

    def _is_quiet(self) -> bool:
        """Whether all tasks of the service run, save those that are being moved, and none is to be updated."""
        wanted = [slot.wanted()[0] for slot in self._desk.slots.values() if slot.wanted()]
        if len(wanted) != replicas_of(self._service) or self._service.update_status.state in _UNDER_WAY:
            return False
        return all(task.status.state == RUNNING and self._is_settled(task) for task in wanted) and all(
            len(slot.wanted()) < 2 for slot in self._desk.slots.values() if slot not in self._moving()
        )

    def _is_settled(self, task: Task) -> bool:
        """Whether no update has still to come to the task; outside a canary that waits, none has."""
        if not self._desk.is_outdated(task):
            return True
        is_held = self._service.update_status.state == UpdateStatus.CANARY
        return is_held and not self._desk.is_unstable(task)

    def _has_new_nodes(self) -> bool:
        """Whether there is a node to move to by itself; asks for a look when one will have settled."""
        if self._is_asked:
            return True
        ready = [ns(f.node.status.since) for f in self._scratch.facts.values() if not f.refusal]
        new = [since_ns for since_ns in ready if since_ns > self._scratch.now_ns - _LATELY_NS]
        unsettled = [since_ns for since_ns in new if self._desk.must_wait(since_ns + _SETTLED_NS)]
        return len(unsettled) < len(new)

    # Where to

    def _may_take(self, node: Node, balance: Balance) -> bool:
        if not self._is_asked:
            ready_ns = ns(node.status.since)
            if not self._scratch.now_ns - _LATELY_NS < ready_ns <= self._scratch.now_ns - _SETTLED_NS:
                return False
        if self._failed_lately(node.id):
            return False
        if balance.arriving[node.id] >= MOST_ARRIVING:
            self._is_held_up = self._desk.must_wait(self._scratch.now_ns + _LOOK_AGAIN_NS)
            return False
        return True

    def _failed_lately(self, node_id: str) -> bool:
        """Whether a task was moved to the node in vain: since a user asked, or for a while."""
        asked_ns = ns(self._service.rebalance_asked_at)
        for task in self._scratch.tasks_on_node(node_id).values():
            if task.service_id != self._service.id or not task.moved or task.desired_state <= RUNNING:
                continue
            if not self._is_asked:
                if self._desk.must_wait(created_ns(task) + _REST_NS):
                    return True
            elif task.status.state in (FAILED, REJECTED) and created_ns(task) >= asked_ns:
                return True
        return False

    # Steps

    def _begin(self, move: Move) -> None:
        slot = self._desk.slot((move.task.slot, ""))
        task = copy_of(self._desk.create(slot, replaces=move.task))
        task.node_id, task.moved = move.to_node_id, True
        slot.tasks[task.id] = task
        self._scratch.put(TASK, task)

    def _give_up_stranded(self, slot: Slot) -> None:
        """A move whose node takes no tasks any more before it came there: it would wait for that node."""
        newest = slot.wanted()[-1]
        facts = self._scratch.facts.get(newest.node_id)
        if not is_assigned(newest) and (facts is None or facts.refusal):
            self._desk.desire(slot, newest, SHUTDOWN)

    def _is_too_late(self) -> bool:
        return not self._desk.must_wait(ns(self._service.rebalance_asked_at) + _PATIENCE_NS)

    def _clear(self) -> None:
        done = copy_of(self._service)
        done.ClearField("rebalance_asked_at")
        self._scratch.put(SERVICE, done)
