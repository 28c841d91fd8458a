"""Scenarios as text: what somebody does to a simulated cluster, and what is there afterwards.

A scenario is a file of paragraphs.  The first line of each begins with `> ` and is a command; the lines below it are
what the command prints.  `#` begins a comment.  The test runs the commands and compares; with REWRITE_SCENARIOS=1 in
the environment it writes what it got instead, to be read and judged by a person.

Commands
    nodes NAME ...                       ready nodes
    node NAME label=value ...            one more
    network NAME [SUBNET]
    create NAME [replicas=N | mode=global | mode=replicated-job concurrent=N | mode=global-job] [image=I]
           [networks=A,B] [publish=8080:80,:81,host/90:90]
           [constraint=EXPR] [depends=B:healthy]
           [order=start-first] [parallelism=N] [delay=S] [monitor=S] [on-failure=pause|continue|rollback] [ratio=R]
           [schedule=*/5_*_*_*_* overlap=forbid|allow|replace zone=Z deadline=S suspended=yes]
           [restart=any|on-failure|none] [restart-delay=S] [max-attempts=N] [max-per-node=N] [memory=MIB] [labels=K:V]
           [strategy=spread|binpack|random] [prefer=node.labels.L,...] [affinity=EXPR] [generic=NAME:N] [rebalance=yes]
           [on-disconnect=keep|replace] [every-canary=N|P%]
    update NAME ... [canary=N|P%]        as for create; force=1: replace, or run a job again
    promote NAME | rollback NAME         its canary's change goes to all tasks | it goes back to what it was
    rm NAME | rm-network NAME | rm-node NODE
    rebalance NAME                       a user asks for it
    lose NODE | return NODE | drain NODE | activate NODE | pause NODE
    broken IMAGE [rejected|ok]           containers of the image fail at their start from now on, or not any more
    stuck IMAGE                          containers of the image start and do not become healthy
    end NAME.SLOT [complete]             its container ends by itself
    finish NAME                          the containers that run end by themselves, completed
    hold NAME | resume NAME              its update is paused, or goes on
    plan                                 the leader plans once
    step                                 every worker takes one step
    run [SECONDS]                        until all is quiet, for so long
    sleep SECONDS                        nobody leads for so long
    runs NAME                            of a job with a schedule: its runs, and the next time
    tasks NAME                           its wanted tasks: slot, node, state
    history NAME                         all its tasks, with desired states and errors
    status NAME                          wanted, running, what is waited for; the state of its update
    told NODE KIND                       what the node was told: endpoint, service, port, network, task, secret
    networks                             subnets and VXLAN ids
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from swarm_api.affinities import affinity_from_text
from swarm_api.objects_pb2 import ScheduledRun, Task, UpdateStatus
from swarm_api.specs_pb2 import CronSchedule, Placement, ServiceDependency, ServiceSpec, TaskSpec
from swarm_api.states import state_name
from swarm_api.types_pb2 import NodeAvailability, PortConfig, RestartPolicy, TaskState, UpdateConfig
from swarm_cli.quantities import parse_share
from swarm_manager.api.update_commands import paused, promoted, resumed, rolled_back
from swarm_manager.core.orchestrate.jobs import is_job
from swarm_manager.core.scratch import copy_of
from swarm_manager.core.status import progress
from swarm_manager.core.times import SECOND_NS

from tests.core.simulated import SimulatedCluster


@dataclass
class Paragraph:
    """A command and what it prints; `lead` is the comment above it."""

    command: str = ""
    expected: list[str] = field(default_factory=list)
    lead: list[str] = field(default_factory=list)


def parse(text: str) -> list[Paragraph]:
    paragraphs: list[Paragraph] = []
    lead: list[str] = []
    for line in text.splitlines():
        if line.startswith("> "):
            paragraphs.append(Paragraph(line[2:], lead=lead))
            lead = []
        elif line.startswith("#"):
            lead.append(line)
        elif line.strip():
            paragraphs[-1].expected.append(line.rstrip())
    return paragraphs


def replay(text: str, *, forgetful: bool) -> str:
    """The scenario with what its commands print now."""
    stage = Stage(forgetful=forgetful)
    lines: list[str] = []
    for paragraph in parse(text):
        lines += ["", *paragraph.lead] if paragraph.lead and lines else paragraph.lead
        lines += [f"> {paragraph.command}", *stage.do(paragraph.command)]
    return "\n".join(lines) + "\n"


class Stage:
    """A simulated cluster that takes commands."""

    def __init__(self, *, forgetful: bool) -> None:
        self.cluster = SimulatedCluster(forgetful=forgetful)

    def do(self, command: str) -> list[str]:
        verb, *words = command.split()
        action: Callable[..., list[str] | None] = getattr(self, verb.replace("-", "_"))
        options = dict(word.split("=", 1) for word in words if "=" in word)
        names = [word for word in words if "=" not in word]
        return action(*names, **{key.replace("-", "_"): value for key, value in options.items()}) or []

    # Doing

    def nodes(self, *names: str) -> None:
        for name in names:
            self.cluster.add_node(name)

    def node(self, name: str, **labels: str) -> None:
        self.cluster.add_node(name, **labels)

    def network(self, name: str, subnet: str = "") -> None:
        self.cluster.add_network(name, subnet)

    def create(self, name: str, **options: str) -> None:
        spec = ServiceSpec()
        spec.annotations.name = name
        spec.task.container.image = "app:1"
        mode = options.pop("mode", "replicated")
        getattr(spec, mode.replace("-", "_")).SetInParent()
        if mode in ("replicated", "replicated-job"):
            _replicas(spec, "1")
        apply_options(spec, options)
        self.cluster.create(spec)

    def update(self, name: str, canary: str = "", **options: str) -> None:
        spec = copy_of(self.cluster.service(name).spec)
        apply_options(spec, options)
        self.cluster.respecify(name, spec, parse_share(canary) if canary else None)

    def promote(self, name: str) -> None:
        self.cluster.put(promoted(self.cluster.service(name), "ann", self.cluster.now))

    def rollback(self, name: str) -> None:
        self.cluster.put(rolled_back(self.cluster.service(name), 0, self.cluster.now))

    def hold(self, name: str) -> None:
        self.cluster.put(paused(self.cluster.service(name), "ann", self.cluster.now))

    def resume(self, name: str) -> None:
        self.cluster.put(resumed(self.cluster.service(name), "ann", self.cluster.now))

    def rm(self, name: str) -> None:
        self.cluster.remove(name)

    def rm_network(self, name: str) -> None:
        network = copy_of(self.cluster.snapshot.networks[f"net-{name}"])
        network.pending_delete = True
        self.cluster.put(network)

    def rm_node(self, name: str) -> None:
        self.cluster.remove_node(name)

    def lose(self, name: str) -> None:
        self.cluster.lose(name)

    def return_(self, name: str) -> None:
        self.cluster.connect(name)

    def drain(self, name: str) -> None:
        self.cluster.set_availability(name, NodeAvailability.DRAIN)

    def activate(self, name: str) -> None:
        self.cluster.set_availability(name, NodeAvailability.ACTIVE)

    def pause(self, name: str) -> None:
        self.cluster.set_availability(name, NodeAvailability.PAUSE)

    def broken(self, image: str, how: str = "failed") -> None:
        for worker in self.cluster.workers.values():
            worker.broken_images.pop(image, None)
            if how != "ok":
                worker.broken_images[image] = TaskState.Value(how.upper())

    def stuck(self, image: str) -> None:
        for worker in self.cluster.workers.values():
            worker.stuck.add(image)

    def end(self, name: str, how: str = "failed") -> None:
        service, _, slot = name.rpartition(".")
        runs = (t for t in self.cluster.tasks(service) if t.status.state == TaskState.RUNNING)
        task = next(t for t in runs if slot in (str(t.slot), t.node_id))
        self.cluster.end_task(task, TaskState.Value({"failed": "FAILED", "complete": "COMPLETE"}[how]))

    def finish(self, name: str) -> None:
        for task in self.cluster.running(name):
            self.cluster.end_task(task, TaskState.COMPLETE)

    def rebalance(self, name: str) -> None:
        service = copy_of(self.cluster.service(name))
        service.rebalance_asked_at.CopyFrom(self.cluster.now)
        self.cluster.put(service)

    def plan(self) -> None:
        self.cluster.plan()

    def step(self) -> None:
        self.cluster.step_workers()

    def run(self, seconds: str = "0") -> None:
        self.cluster.run(float(seconds))

    # Looking

    def tasks(self, name: str) -> list[str]:
        return [f"  {task.slot or '-'}  {task.node_id or '?':<4} {shown(task)}" for task in self.cluster.wanted(name)]

    def history(self, name: str) -> list[str]:
        return [
            f"  {t.slot or '-'}  {t.node_id or '?':<4} {t.spec.container.image:<8} {state_name(t.status.state):<9} "
            f"wanted {state_name(t.desired_state)}{': ' + t.status.err if t.status.err else ''}"
            for t in self.cluster.tasks(name)
        ]

    def status(self, name: str) -> list[str]:
        service = self.cluster.service(name)
        at = progress(self.cluster.snapshot, service.id)
        lines = [f"  {at.running} of {at.wanted} running"]
        if is_job(service.spec):
            lines = [f"  {at.completed} of {at.wanted} completed, {at.running} running, {at.failed} failed"]
        if at.waiting_for:
            lines.append(f"  {at.waiting_for}")
        if service.update_status.state != UpdateStatus.NONE:
            lines.append(f"  {service.update_status.message}")
        return lines

    def runs(self, name: str) -> list[str]:
        status = self.cluster.service(name).schedule_status
        lines = [
            f"  {run.iteration or '-'}  {run.scheduled_at.ToJsonString() if run.HasField('scheduled_at') else '-'}  "
            f"{ScheduledRun.Outcome.Name(run.outcome).lower()}{': ' + run.message if run.message else ''}"
            for run in status.runs
        ]
        following = status.next_run_at.ToJsonString() if status.HasField("next_run_at") else status.message or "never"
        return [*lines, f"  next: {following}"]

    def sleep(self, seconds: str) -> None:
        self.cluster.now_ns += int(seconds) * SECOND_NS

    def told(self, node: str, kind: str) -> list[str]:
        items = sorted(self.cluster.workers[node].told.items())
        return [f"  {key} {_told(getattr(item, kind))}".rstrip() for key, item in items if item.HasField(kind)]

    def networks(self) -> list[str]:
        found = sorted(self.cluster.snapshot.networks.values(), key=lambda n: n.vni)
        return [f"  {n.spec.annotations.name:<8} {n.subnet or '-':<16} {n.vni}" for n in found]

    def __getattr__(self, verb: str) -> Callable[..., None]:
        if verb == "return":
            return self.return_
        raise AttributeError(f"no command {verb}")


def shown(task: Task) -> str:
    text = state_name(task.status.state)
    if task.desired_state < TaskState.RUNNING:
        text += ", to be started later"
    if task.status.err:
        text += f": {task.status.err}"
    return text


def _told(item: object) -> str:
    fields = ("address", "virtual_ip", "serving", "aliases", "gateway", "name")
    values = ((f, getattr(item, f)) for f in fields if hasattr(item, f))
    return " ".join(f"{f}={','.join(v) if f == 'aliases' else v}" for f, v in values if v)


def apply_options(spec: ServiceSpec, options: dict[str, str]) -> None:
    for key, value in options.items():
        _OPTIONS[key](spec, value)


def _replicas(spec: ServiceSpec, value: str) -> None:
    if spec.HasField("replicated_job"):
        spec.replicated_job.total_completions = int(value)
    else:
        spec.replicated.replicas = int(value)


def _concurrent(spec: ServiceSpec, value: str) -> None:
    spec.replicated_job.max_concurrent = int(value)


def _schedule(spec: ServiceSpec, value: str) -> None:
    spec.schedule.expression = value.replace("_", " ")


def _overlap(spec: ServiceSpec, value: str) -> None:
    names = {"forbid": CronSchedule.FORBID, "allow": CronSchedule.ALLOW, "replace": CronSchedule.REPLACE_RUNNING}
    spec.schedule.concurrency = names[value]


def _zone(spec: ServiceSpec, value: str) -> None:
    spec.schedule.time_zone = value


def _deadline(spec: ServiceSpec, value: str) -> None:
    spec.schedule.starting_deadline.seconds = int(value)


def _suspended(spec: ServiceSpec, value: str) -> None:
    spec.schedule.suspended = value == "yes"


def _every_canary(spec: ServiceSpec, value: str) -> None:
    spec.update.canary.CopyFrom(parse_share(value))


def _force(spec: ServiceSpec, value: str) -> None:
    spec.task.force_update += int(value)


def _image(spec: ServiceSpec, value: str) -> None:
    spec.task.container.image = value


def _networks(spec: ServiceSpec, value: str) -> None:
    del spec.task.networks[:]
    for name in value.split(","):
        spec.task.networks.add(target=f"net-{name}")


def _publish(spec: ServiceSpec, value: str) -> None:
    for port in value.split(","):
        _publish_one(spec, port)


def _publish_one(spec: ServiceSpec, value: str) -> None:
    published, _, target = value.partition(":")
    host = published.startswith("host/")
    number = int(published.removeprefix("host/") or 0)
    mode = PortConfig.HOST if host else PortConfig.INGRESS
    spec.endpoint.ports.add(target_port=int(target), published_port=number, publish_mode=mode)


def _constraint(spec: ServiceSpec, value: str) -> None:
    spec.task.placement.constraints[:] = [value] if value != "-" else []


def _depends(spec: ServiceSpec, value: str) -> None:
    service, _, condition = value.partition(":")
    spec.depends_on.add(service=service, condition=ServiceDependency.Condition.Value(condition.upper()))


def _order(spec: ServiceSpec, value: str) -> None:
    spec.update.order = UpdateConfig.Order.Value(value.upper().replace("-", "_"))


def _parallelism(spec: ServiceSpec, value: str) -> None:
    spec.update.parallelism = int(value)


def _delay(spec: ServiceSpec, value: str) -> None:
    spec.update.delay.seconds = int(value)


def _monitor(spec: ServiceSpec, value: str) -> None:
    spec.update.monitor.seconds = int(value)


def _on_failure(spec: ServiceSpec, value: str) -> None:
    spec.update.failure_action = {
        "pause": UpdateConfig.PAUSE_UPDATE,
        "continue": UpdateConfig.CONTINUE,
        "rollback": UpdateConfig.ROLLBACK,
    }[value]


def _ratio(spec: ServiceSpec, value: str) -> None:
    spec.update.max_failure_ratio = float(value)


def _restart(spec: ServiceSpec, value: str) -> None:
    spec.task.restart.condition = RestartPolicy.Condition.Value(value.upper().replace("-", "_"))


def _restart_delay(spec: ServiceSpec, value: str) -> None:
    spec.task.restart.delay.seconds = int(value)


def _max_attempts(spec: ServiceSpec, value: str) -> None:
    spec.task.restart.max_attempts = int(value)


def _max_per_node(spec: ServiceSpec, value: str) -> None:
    spec.task.placement.max_replicas = int(value)


def _memory(spec: ServiceSpec, value: str) -> None:
    spec.task.resources.reservations.memory_bytes = int(value) * 2**20


def _strategy(spec: ServiceSpec, value: str) -> None:
    spec.task.placement.strategy = Placement.Strategy.Value(value.upper())


def _prefer(spec: ServiceSpec, value: str) -> None:
    for descriptor in value.split(","):
        spec.task.placement.preferences.add(descriptor=descriptor)


def _affinity(spec: ServiceSpec, value: str) -> None:
    for text in value.split(","):
        spec.task.placement.affinities.append(affinity_from_text(text))


def _generic(spec: ServiceSpec, value: str) -> None:
    name, _, count = value.partition(":")
    spec.task.resources.reservations.generic[name] = int(count)


def _rebalance(spec: ServiceSpec, value: str) -> None:
    spec.rebalance = value == "yes"


def _on_disconnect(spec: ServiceSpec, value: str) -> None:
    spec.task.on_disconnect = TaskSpec.OnDisconnect.Value(value.upper())


def _labels(spec: ServiceSpec, value: str) -> None:
    key, _, text = value.partition(":")
    spec.annotations.labels[key] = text


_OPTIONS: dict[str, Callable[[ServiceSpec, str], None]] = {
    "replicas": _replicas,
    "concurrent": _concurrent,
    "force": _force,
    "every_canary": _every_canary,
    "schedule": _schedule,
    "overlap": _overlap,
    "zone": _zone,
    "deadline": _deadline,
    "suspended": _suspended,
    "image": _image,
    "networks": _networks,
    "publish": _publish,
    "constraint": _constraint,
    "depends": _depends,
    "order": _order,
    "parallelism": _parallelism,
    "delay": _delay,
    "monitor": _monitor,
    "on_failure": _on_failure,
    "ratio": _ratio,
    "restart": _restart,
    "restart_delay": _restart_delay,
    "max_attempts": _max_attempts,
    "max_per_node": _max_per_node,
    "memory": _memory,
    "labels": _labels,
    "strategy": _strategy,
    "prefer": _prefer,
    "affinity": _affinity,
    "generic": _generic,
    "rebalance": _rebalance,
    "on_disconnect": _on_disconnect,
}

__all__ = ["parse", "replay"]
