"""`swarm-cli service`, from the command line to the request and back to the table."""

import json

import pytest
from swarm_api.affinities import affinity_text
from swarm_api.control_pb2 import CreateServiceRequest, UpdateServiceRequest
from swarm_api.objects_pb2 import ScheduledRun, Service, UpdateStatus
from swarm_api.specs_pb2 import Placement, TaskSpec
from swarm_api.types_pb2 import TaskState

from tests.cli.cluster import FakeCluster
from tests.cli.conftest import Run, make_node


def last(cluster: FakeCluster, kind: type) -> object:
    return [request for request in cluster.requests if isinstance(request, kind)][-1]


def test_create_waits_until_it_runs_and_prints_the_id_alone_on_standard_output(
    cluster: FakeCluster, swarm: Run
) -> None:
    done = swarm("service", "create", "--name", "web", "--replicas", "2", "-p", "8080:80", "nginx:1")
    assert (done.code, done.out) == (0, f"{cluster.service('web').id}\n")
    assert done.err == "web: 2 of 2 running (done)\n"


def test_create_takes_a_name_from_the_image_and_words_after_it_as_the_command(cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("service", "create", "-d", "registry:5000/team/web:1.2", "sh", "-c", "echo --name").code == 0
    spec = cluster.service("web").spec
    assert list(spec.task.container.args) == ["sh", "-c", "echo --name"]
    assert spec.replicated.replicas == 1


def test_the_common_flags_reach_the_spec(cluster: FakeCluster, swarm: Run) -> None:
    done = swarm(
        *("service", "create", "-d", "--name", "web", "-e", "A=1", "-e", "B=x=y", "--network", "name=net,alias=w"),
        *("--constraint", "node.role == worker", "--mount", "type=bind,src=/srv,dst=/data,ro", "-l", "team=a"),
        *("--container-label", "c=d", "--limit-cpu", "0.5", "--limit-memory", "512m", "--reserve-memory", "1g"),
        *("--restart-condition", "on-failure", "--restart-delay", "2s", "--update-order", "start-first"),
        *("--stop-grace-period", "1m", "--health-cmd", "true", "--health-interval", "5s", "--hostname", "h"),
        *("--user", "1000:1000", "--workdir", "/app", "--entrypoint", "/bin/run -x", "--secret", "key"),
        *("--config", "source=conf,target=/etc/conf,mode=0400", "--placement-pref", "spread=node.labels.zone"),
        *("--publish", "published=53,target=5353,protocol=udp,mode=host", "--replicas-max-per-node", "2", "nginx:1"),
    )
    assert (done.code, done.err) == (0, "")
    spec = last(cluster, CreateServiceRequest).spec  # type: ignore[attr-defined]
    container = spec.task.container
    assert list(container.env) == ["A=1", "B=x=y"]
    assert (spec.task.networks[0].target, list(spec.task.networks[0].aliases)) == ("net", ["w"])
    assert list(spec.task.placement.constraints) == ["node.role == worker"]
    assert (container.mounts[0].source, container.mounts[0].read_only) == ("/srv", True)
    assert (dict(spec.annotations.labels), dict(container.labels)) == ({"team": "a"}, {"c": "d"})
    assert spec.task.resources.limits.nano_cpus == 500_000_000
    assert spec.task.resources.limits.memory_bytes == 512 * 2**20
    assert spec.task.resources.reservations.memory_bytes == 2**30
    assert (spec.task.restart.condition, spec.task.restart.delay.seconds) == (1, 2)
    assert (spec.update.order, spec.update.parallelism) == (1, 1)
    assert container.stop_grace_period.seconds == 60
    assert list(container.healthcheck.test) == ["CMD-SHELL", "true"]
    assert (container.hostname, container.user, container.dir) == ("h", "1000:1000", "/app")
    assert list(container.command) == ["/bin/run", "-x"]
    assert (container.secrets[0].secret_name, container.secrets[0].target.name) == ("key", "/run/secrets/key")
    assert (container.configs[0].target.name, container.configs[0].target.mode) == ("/etc/conf", 0o400)
    assert spec.task.placement.preferences[0].descriptor == "node.labels.zone"
    port = spec.endpoint.ports[0]
    assert (port.published_port, port.target_port, port.protocol, port.publish_mode) == (53, 5353, 1, 1)
    assert spec.task.placement.max_replicas == 2


def test_where_it_may_run(swarm: Run, cluster: FakeCluster) -> None:
    words = (
        "service create -d --name web --strategy random --affinity service==db --affinity tier!=~front "
        "--rebalance --platform linux/arm64 --generic-resource gpu=2,fpga=1 "
        "--on-disconnect keep -e constraint:node==n2 -e A=1 nginx"
    )
    assert swarm(*words.split()).err == ""
    spec = cluster.service("web").spec
    placement = spec.task.placement
    assert (placement.strategy, spec.rebalance, spec.task.on_disconnect) == (Placement.RANDOM, True, TaskSpec.KEEP)
    assert [affinity_text(a) for a in placement.affinities] == ["service == db", "tier !=~ front"]
    assert (placement.platforms[0].os, placement.platforms[0].architecture) == ("linux", "arm64")
    assert dict(spec.task.resources.reservations.generic) == {"gpu": 2, "fpga": 1}
    assert (list(placement.constraints), list(spec.task.container.env)) == (["node.hostname==n2"], ["A=1"])

    words = (
        "service update -d --affinity-rm service==db --strategy default --no-rebalance --generic-resource-rm fpga web"
    )
    assert swarm(*words.split()).err == ""
    spec = cluster.service("web").spec
    assert [affinity_text(a) for a in spec.task.placement.affinities] == ["tier !=~ front"]
    assert (spec.task.placement.strategy, spec.rebalance) == (Placement.CLUSTER_DEFAULT, False)
    assert dict(spec.task.resources.reservations.generic) == {"gpu": 2}


@pytest.mark.parametrize(
    ("mode", "field"), [("global", "global"), ("replicated-job", "replicated_job"), ("global-job", "global_job")]
)
def test_modes(mode: str, field: str, cluster: FakeCluster, swarm: Run) -> None:
    assert swarm("service", "create", "-d", "--name", "x", "--mode", mode, "nginx:1").code == 0
    assert cluster.service("x").spec.WhichOneof("mode") == field


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--mode", "global", "--replicas", "2"], "--replicas goes with the modes"),
        (["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck does not go"),
        (["-p", "80:80:80:80"], "no IP address"),
        (["-p", "127.0.0.1:80:80"], "names a host address"),
        (["--limit-memory", "much"], "'much' is no size"),
        (["--limit-cpu", "-1"], "is no number of CPUs"),
        (["--stop-grace-period", "soon"], "is no duration"),
        (["--mount", "type=bind,src=rel,dst=/x"], "absolute source"),
        (["--mount", "typ=bind"], "has no field 'typ'"),
        (["--env-file", "/no/such/file"], "/no/such/file"),
        (["--replicas", "many"], "'many' is not a valid integer"),
        (["--secret", "target=x"], "lacks source=NAME"),
    ],
)
def test_wrong_flags_are_usage_errors_in_one_line(
    flags: list[str], sentence: str, cluster: FakeCluster, swarm: Run
) -> None:
    done = swarm("service", "create", "-d", *flags, "nginx:1")
    assert done.code == 2
    assert sentence in done.err
    assert done.err.count("\n") == 1
    assert not cluster.requests


def test_update_changes_only_what_it_names(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "-e", "A=1", "-e", "B=2", "-p", "80:80", "-l", "a=b", "nginx:1")
    done = swarm(
        *("service", "update", "web", "--image", "nginx:2", "--env-add", "B=3", "--env-rm", "A", "--label-rm", "a"),
        *(
            "--publish-rm",
            "80",
            "--publish-add",
            "81:80",
            "--constraint-add",
            "node.id == x",
            "--force",
            "--args",
            "a b",
        ),
    )
    assert (done.code, done.out) == (0, "web\n")
    request = last(cluster, UpdateServiceRequest)
    spec = request.spec  # type: ignore[attr-defined]
    assert spec.task.container.image == "nginx:2"
    assert list(spec.task.container.env) == ["B=3"]
    assert list(spec.task.container.args) == ["a", "b"]
    assert not spec.annotations.labels
    assert [port.published_port for port in spec.endpoint.ports] == [81]
    assert (list(spec.task.placement.constraints), spec.task.force_update) == (["node.id == x"], 1)
    assert spec.replicated.replicas == 1


def test_scale_and_rollback(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    done = swarm("service", "scale", "web=3")
    assert (done.code, done.out, done.err) == (0, "web scaled to 3\n", "web: 3 of 3 running (done)\n")
    assert swarm("service", "rollback", "web").code == 0
    assert cluster.service("web").spec.replicated.replicas == 1


@pytest.mark.parametrize("target", ["web", "=3", "web=", "web=x", "web=-1"])
def test_scale_wants_a_number(target: str, cluster: FakeCluster, swarm: Run) -> None:
    done = swarm("service", "scale", target)
    assert (done.code, "SERVICE=REPLICAS" in done.err) == (2, True)


def test_ls(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "--replicas", "3", "-p", "8080:80", "nginx:1@sha256:abc")
    swarm("service", "create", "-d", "--name", "api", "api:2")
    web, api = cluster.service("web").id[:12], cluster.service("api").id[:12]
    assert swarm("service", "ls").out.splitlines() == [
        "ID             NAME   MODE         REPLICAS   IMAGE     PORTS",
        f"{api}   api    replicated   1/1        api:2",
        f"{web}   web    replicated   3/3        nginx:1   *:8080->80/tcp",
    ]
    assert swarm("service", "ls", "-q", "-f", "name=we").out == f"{cluster.service('web').id}\n"


def test_ls_says_what_is_waited_for(cluster: FakeCluster, swarm: Run) -> None:
    cluster.runs_services = False
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    cluster.run(cluster.service("web"), TaskState.PENDING, "No suitable node: 3 lack memory.")
    header, line = swarm("service", "ls").out.splitlines()
    assert header.endswith("WAITING FOR")
    assert line.endswith("No suitable node: 3 lack memory.")


def test_ps_shows_each_slot_where_it_is_and_why_it_does_not_run(cluster: FakeCluster, swarm: Run) -> None:
    node = make_node(cluster, "n1")
    swarm("service", "create", "-d", "--name", "web", "--replicas", "2", "nginx:1")
    first, second = list(cluster.objects["task"].values())
    first.node_id = node.id
    second.status.state, second.status.err = TaskState.PENDING, "No suitable node: 1 node lacks cpu."
    assert swarm("service", "ps", "web").out.splitlines() == [
        "ID             NAME    IMAGE     NODE   DESIRED   OBSERVED   WHY                                   PORTS",
        f"{first.id[:12]}   web.1   nginx:1   n1     Running   Running",
        f"{second.id[:12]}   web.2   nginx:1          Running   Pending    No suitable node: 1 node lacks cpu.",
    ]
    assert swarm("service", "ps", "-q", "--filter", "node=n1", "web").out == f"{first.id}\n"


def test_ps_marks_what_was_replaced_and_how_it_ended(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    (task,) = cluster.objects["task"].values()
    dead = type(task)()
    dead.CopyFrom(task)
    dead.id, dead.meta.created_at.seconds = "", task.meta.created_at.seconds - 60
    dead.desired_state, dead.status.state = TaskState.SHUTDOWN, TaskState.FAILED
    dead.status.container.exit_code, dead.status.container.oom_killed = 137, True
    cluster.put("task", dead)
    lines = swarm("service", "ps", "web").out.splitlines()
    assert " web.1" in lines[1]
    assert r" \_ web.1" in lines[2]
    assert "exit code 137 (out of memory)" in lines[2]
    assert len(swarm("service", "ps", "--running", "web").out.splitlines()) == 2


def test_json_is_one_document_with_the_apis_names(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    service_id = cluster.service("web").id
    listed = json.loads(swarm("service", "ls", "--format", "json").out)
    assert listed["services"][0]["spec"]["annotations"]["name"] == "web"
    counts = {"wanted": 1, "running": 1, "completed": 0, "failed": 0}
    assert listed["progress"][service_id] == {**counts, "waiting_for": ""}
    assert json.loads(swarm("--format", "json", "service", "inspect", "web").out)["id"] == service_id
    assert json.loads(swarm("service", "ps", "web", "--format", "json").out)["tasks"][0]["status"]["state"] == "RUNNING"


def test_inspect_for_people_leaves_out_what_is_empty(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    text = swarm("service", "inspect", "web").out
    assert "    container:\n      image: nginx:1\n" in text
    assert "hostname" not in text


def test_rm_goes_on_after_a_refusal_and_fails_at_the_end(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    done = swarm("service", "rm", "nope", "web")
    assert (done.code, done.out) == (1, "web\n")
    assert "There is no service 'nope'" in done.err
    assert "1 of 2 removals failed: nope" in done.err


def test_an_update_that_pauses_fails_with_its_reason(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    paused = Service()
    paused.CopyFrom(cluster.service("web"))
    paused.update_status.state, paused.update_status.message = UpdateStatus.PAUSED, "web.1 exited with 1"
    cluster.put("service", paused)
    done = swarm("service", "update", "web", "--env-add", "A=1")
    assert (done.code, "is paused: web.1 exited with 1" in done.err) == (1, True)


def test_history_names_each_version_and_what_it_changed(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    swarm("service", "update", "-d", "web", "--image", "nginx:2")
    swarm("service", "update", "-d", "web", "--replicas", "3")
    first, second, present = sorted(
        [revision.version.index for revision in cluster.service("web").history]
        + [cluster.service("web").spec_version.index]
    )
    lines = [line.split() for line in swarm("service", "history", "web").out.splitlines()]
    assert [(line[0], line[-1]) for line in lines[1:]] == [
        (str(present), "replicated.replicas"),
        (str(second), "task.container.image"),
        (str(first), "created"),
    ]
    listed = json.loads(swarm("service", "history", "web", "--format", "json").out)
    assert [one["spec"]["task"]["container"]["image"] for one in listed] == ["nginx:2", "nginx:2", "nginx:1"]
    assert listed[0]["changed_by"] == "eve"


def test_rollback_to_a_kept_version(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    first = cluster.service("web").spec_version.index
    swarm("service", "update", "-d", "web", "--image", "nginx:2")
    swarm("service", "update", "-d", "web", "--image", "nginx:3")
    assert swarm("service", "rollback", "-d", "web", "--to", str(first)).code == 0
    assert last(cluster, UpdateServiceRequest).rollback_to == first  # type: ignore[attr-defined]
    assert cluster.service("web").spec.task.container.image == "nginx:1"


def test_pause_and_resume_name_the_service_and_ls_shows_it(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    assert swarm("service", "pause", "web").out == "web\n"
    assert last(cluster, UpdateServiceRequest).command == UpdateServiceRequest.PAUSE  # type: ignore[attr-defined]
    assert swarm("service", "ls").out.splitlines()[1].endswith("update paused by eve")
    assert swarm("service", "resume", "-d", "web").out == "web\n"
    assert last(cluster, UpdateServiceRequest).command == UpdateServiceRequest.RESUME  # type: ignore[attr-defined]
    assert swarm("service", "ls").out.splitlines()[1].endswith("update resumed by eve")
    assert "message: update resumed by eve" in swarm("service", "inspect", "web").out


def test_an_update_that_names_nothing_asks_for_the_spec_that_is_there(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "-e", "A=1", "-p", "80:80", "--update-delay", "3s", "nginx:1")
    before = cluster.service("web").spec.SerializeToString(deterministic=True)
    assert swarm("service", "update", "-d", "web").code == 0
    asked = last(cluster, UpdateServiceRequest).spec  # type: ignore[attr-defined]
    assert asked.SerializeToString(deterministic=True) == before


def test_an_update_that_names_a_version_is_not_tried_again_on_a_newer_one(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    seen = cluster.service("web").spec_version.index
    swarm("service", "update", "-d", "web", "--replicas", "2")
    requests = len(cluster.requests)
    done = swarm("service", "update", "-d", "web", "--image", "nginx:2", "--if-version", str(seen))
    assert done.code == 1
    assert sum(isinstance(one, UpdateServiceRequest) for one in cluster.requests[requests:]) == 1
    assert cluster.service("web").spec.task.container.image == "nginx:1"


JOB = ("--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2", "--name", "batch", "batch:1")


def test_a_job_has_converged_when_its_runs_are_complete(cluster: FakeCluster, swarm: Run) -> None:
    cluster.runs_services = False
    cluster.when_watched.append(lambda: cluster.run(cluster.service("batch"), TaskState.COMPLETE))
    done = swarm("service", "create", *JOB)
    assert (done.code, done.err.splitlines()[-1]) == (0, "batch: 5 of 5 complete (done)")
    job = cluster.service("batch").spec.replicated_job
    assert (job.total_completions, job.max_concurrent) == (5, 2)
    assert swarm("service", "ls").out.splitlines()[1].split("   ")[2:4] == ["replicated job", "0/5 (5 completed)"]


def test_a_job_that_fails_for_good_ends_the_waiting(cluster: FakeCluster, swarm: Run) -> None:
    cluster.runs_services = False
    cluster.when_watched.append(lambda: cluster.run(cluster.service("batch"), TaskState.FAILED, "exit code 3"))
    done = swarm("service", "create", *JOB)
    assert done.code == 1
    assert "The job batch failed: 0 of 5 runs completed: exit code 3; 'swarm-cli service ps batch'" in done.err


def test_a_scheduled_job_is_made_changed_and_shown(cluster: FakeCluster, swarm: Run) -> None:
    flags = ("--schedule", "*/5 * * * *", "--time-zone", "Europe/Berlin", "--concurrency", "replace")
    done = swarm("service", "create", *flags, "--starting-deadline", "90s", "--keep-runs", "3", *JOB)
    assert done.code == 0  # it is there; nobody waits for its time
    schedule = cluster.service("batch").spec.schedule
    assert (schedule.expression, schedule.time_zone) == ("*/5 * * * *", "Europe/Berlin")
    assert (schedule.concurrency, schedule.starting_deadline.seconds, schedule.history_limit) == (2, 90, 3)
    status = cluster.service("batch").schedule_status
    status.next_run_at.seconds = 1_700_000_400
    status.runs.add(iteration=1, outcome=ScheduledRun.FAILED_RUN, message="2 of 5 tasks failed")
    status.runs[0].scheduled_at.seconds = 1_700_000_100
    listed = swarm("service", "ls").out.splitlines()[1]
    assert "cron (*/5 * * * *)" in listed
    assert listed.endswith("next run 2023-11-14 22:20:00 UTC")
    coming, first = swarm("service", "runs", "batch").out.splitlines()[1:]
    assert coming.split() == ["2023-11-14", "22:20:00", "to", "come"]
    assert (first.split()[:3], first.split()[3]) == (["1", "2023-11-14", "22:15:00"], "failed")
    assert first.endswith("2 of 5 tasks failed")
    assert swarm("service", "update", "batch", "--suspend").code == 0
    assert swarm("service", "ls").out.splitlines()[1].endswith("suspended")
    assert swarm("service", "update", "-d", "batch", "--schedule", "").code == 0
    assert not cluster.service("batch").spec.HasField("schedule")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [(["--schedule", "* * *"], "write five fields"), (["--suspend"], "--suspend goes with --schedule")],
)
def test_a_schedule_that_cannot_be_is_refused_before_anything_is_sent(
    flags: list[str], sentence: str, cluster: FakeCluster, swarm: Run
) -> None:
    done = swarm("service", "create", *flags, *JOB)
    assert (done.code, sentence in done.err) == (2, True)
    assert not cluster.requests


def test_a_canary_says_how_it_goes_on(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "--replicas", "3", "nginx:1")
    done = swarm("service", "update", "web", "--image", "nginx:2", "--canary", "10%")
    assert (done.code, done.out) == (0, "web\n")
    assert "canary: 1 of 3 on version 7, waiting for promote; 'swarm-cli service promote web' updates" in done.err
    assert last(cluster, UpdateServiceRequest).canary.percent == 10  # type: ignore[attr-defined]
    assert "waiting for promote" in swarm("service", "ls").out
    assert swarm("service", "promote", "-d", "web").out == "web\n"
    assert cluster.service("web").canary.promoted


def test_a_canary_can_be_a_setting(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "--replicas", "3", "--update-canary", "1", "nginx:1")
    assert cluster.service("web").spec.update.canary.tasks == 1
    assert cluster.service("web").spec.update.parallelism == 1
    swarm("service", "update", "-d", "web", "--update-canary", "none")
    assert not cluster.service("web").spec.update.HasField("canary")
    for words in (("--canary", "100%"), ("--canary", "1", "--rollback"), ("--update-canary", "0")):
        assert swarm("service", "update", "web", *words).code == 2


def test_ps_shows_versions_where_there_are_two(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "--replicas", "2", "nginx:1")
    assert "VERSION" not in swarm("service", "ps", "web").out
    first, second = list(cluster.objects["task"].values())
    first.spec_version.index, second.spec_version.index = 7, 5
    header, one, other = [line.split() for line in swarm("service", "ps", "web").out.splitlines()]
    assert header[3] == "VERSION"
    assert (one[3], other[3]) == ("7", "5")


def test_inspect_shows_a_task_with_all_it_went_through(cluster: FakeCluster, swarm: Run) -> None:
    swarm("service", "create", "-d", "--name", "web", "nginx:1")
    (task,) = cluster.objects["task"].values()
    task.status.container.container_id, task.status.container.exit_code = "c0ffee", 137
    task.status.container.oom_killed = True
    task.status.states.add(state=TaskState.RUNNING).since.seconds = 1_700_000_000
    shown = swarm("task", "inspect", task.id[:12])
    for line in ("container_id: c0ffee", "exit_code: 137", "oom_killed: yes", "since: 2023-11-14T22:13:20Z"):
        assert line in shown.out
    assert json.loads(swarm("task", "inspect", task.id, "--format", "json").out)["id"] == task.id
    missing = swarm("task", "inspect", "nope")
    assert (missing.code, "no task 'nope'" in missing.err) == (1, True)
