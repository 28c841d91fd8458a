"""Updates and jobs on real engines: nothing restarts for nothing, no port stalls, jobs complete, schedules come."""

from typing import Any

import pytest

from tests.testbed.load import Load
from tests.testbed.swarm import Swarm

SLEEPER = ("busybox:local", "sleep", "1000")
SH = ("busybox:local", "sh", "-c")


def task_ids(swarm: Swarm, name: str) -> set[str]:
    tasks = swarm.ask("service", "ps", name)["tasks"]
    return {task["id"] for task in tasks if task["desired_state"] == "RUNNING"}


def service(swarm: Swarm, name: str) -> Any:
    return swarm.ask("service", "inspect", name)


def versions(swarm: Swarm, name: str) -> list[str]:
    return [one["version"]["index"] for one in swarm.ask("service", "history", name)]


def test_changing_nothing_restarts_nothing(swarm: Swarm) -> None:
    swarm.cli("service", "create", "--name", "still", "--replicas", "2", "--env", "A=1", *SLEEPER)
    before = task_ids(swarm, "still")
    swarm.cli("service", "update", "still")
    swarm.cli("service", "update", "still", "--env-add", "A=1", "--replicas", "2")
    swarm.cli("service", "scale", "still=2")
    assert task_ids(swarm, "still") == before
    assert len(versions(swarm, "still")) == 1
    swarm.cli("service", "update", "still", "--restart-delay", "7s", "--label-add", "seen=yes")
    assert task_ids(swarm, "still") == before


def test_history_and_rollback_to_a_kept_version(swarm: Swarm) -> None:
    swarm.cli("service", "create", "--name", "back", "--env", "V=1", *SLEEPER)
    for number in ("2", "3"):
        swarm.cli("service", "update", "back", "--env-add", f"V={number}", "--update-monitor", "1s")
    first = versions(swarm, "back")[-1]
    assert len(versions(swarm, "back")) == 3
    swarm.cli("service", "rollback", "back", "--to", first)
    assert service(swarm, "back")["spec"]["task"]["container"]["env"] == ["V=1"]
    assert service(swarm, "back")["update_status"]["state"] == "ROLLBACK_COMPLETED"
    refused = swarm.cli("service", "update", "back", "--env-add", "V=9", "--if-version", first, check=False)
    assert refused.returncode == 1
    assert "was changed by" in refused.stderr


def test_start_first_with_a_host_port_on_every_node_does_not_stall(swarm: Swarm) -> None:
    port = "published=8099,target=80,mode=host"
    flags = ("--update-order", "start-first", "--update-monitor", "1s", "--stop-grace-period", "1s")
    swarm.cli("service", "create", "--name", "proxy", "--replicas", "5", "-p", port, *flags, *SLEEPER)
    before = task_ids(swarm, "proxy")
    swarm.cli("service", "update", "proxy", "--env-add", "V=2", "--timeout", "100")
    assert not task_ids(swarm, "proxy") & before
    assert service(swarm, "proxy")["update_status"]["state"] == "COMPLETED"
    swarm.cli("service", "rm", "proxy")


@pytest.fixture(scope="module")
def website(swarm: Swarm) -> str:
    """A service of web servers, each ready a second after its start, published on port 8098."""
    serve = "mkdir /www && echo here > /www/index.html && sleep 1 && exec httpd -f -p 80 -h /www"
    health = ("--health-cmd", "wget -q -O /dev/null http://127.0.0.1/", "--health-interval", "2s")
    flags = ("--init", "--update-parallelism", "3", "--update-monitor", "1s", *health)
    swarm.cli("service", "create", "--name", "site", "--replicas", "6", "-p", "8098:80", *flags, *SH, serve)
    return "site"


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_nobody_notices_a_rolling_update(swarm: Swarm, website: str, order: str) -> None:
    before = task_ids(swarm, website)
    with Load(swarm.hosts, 8098, requests_a_second=10) as load:
        swarm.cli("service", "update", website, "--env-add", f"ORDER={order}", "--update-order", order)
        fared = load.stop()
    assert not task_ids(swarm, website) & before
    assert [one.failures for one in fared.values() if one.failures] == []
    assert all(one.requests > 10 for one in fared.values())


def test_a_job_runs_so_often_and_then_is_over(swarm: Swarm) -> None:
    flags = ("--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2", "--name", "batch")
    swarm.cli("service", "create", *flags, "busybox:local", "sh", "-c", "sleep 1")
    assert "0/5 (5 completed)" in swarm.cli("service", "ls").stdout
    done = task_ids(swarm, "batch")
    assert len(done) == 5
    swarm.cli("service", "update", "batch", "--force")
    assert len(task_ids(swarm, "batch")) == 5 and not task_ids(swarm, "batch") & done
    flags = ("--mode", "replicated-job", "--restart-delay", "1s", "--restart-max-attempts", "1", "--name", "doomed")
    failed = swarm.cli("service", "create", *flags, "busybox:local", "sh", "-c", "exit 3", check=False)
    assert failed.returncode == 1
    assert "The job doomed failed: 0 of 1 runs completed" in failed.stderr
    task = swarm.ask("task", "inspect", swarm.cli("service", "ps", "-q", "doomed").stdout.split()[0])
    assert task["status"]["container"]["exit_code"] == 3
    assert [one["state"] for one in task["status"]["states"]][-1] == "FAILED"


def test_a_job_with_a_schedule_runs_when_its_time_comes(swarm: Swarm) -> None:
    flags = ("--mode", "global-job", "--schedule", "* * * * *", "--name", "tick")
    swarm.cli("service", "create", *flags, "busybox:local", "true")
    assert "next run" in swarm.cli("service", "ls").stdout

    def has_run() -> bool:
        runs = swarm.ask("service", "runs", "tick").get("runs", [])
        return any(run["outcome"] == "COMPLETED" for run in runs)

    swarm.wait(has_run, "a run that completed", 90)
    assert len(task_ids(swarm, "tick")) == len(swarm.hosts)
    swarm.cli("service", "update", "tick", "--suspend")
    assert "suspended" in swarm.cli("service", "ls").stdout


def variables(swarm: Swarm, name: str) -> list[str]:
    tasks = swarm.ask("service", "ps", "--running", name)["tasks"]
    return sorted(env for task in tasks for env in task["spec"]["container"]["env"])


def test_a_canary_is_tried_taken_back_and_promoted(swarm: Swarm) -> None:
    flags = ("--update-monitor", "1s", "--update-parallelism", "0", "--stop-grace-period", "1s")
    swarm.cli("service", "create", "--name", "tried", "--replicas", "5", "--env", "V=1", *flags, *SLEEPER)
    before = task_ids(swarm, "tried")
    said = swarm.cli("service", "update", "tried", "--env-add", "V=2", "--canary", "20%")
    assert "canary: 1 of 5 on version" in said.stderr
    assert variables(swarm, "tried") == ["V=1"] * 4 + ["V=2"]
    assert "waiting for promote" in swarm.cli("service", "ls").stdout
    swarm.cli("service", "rollback", "tried")
    assert variables(swarm, "tried") == ["V=1"] * 5
    assert len(task_ids(swarm, "tried") & before) == 4
    swarm.cli("service", "update", "tried", "--env-add", "V=3", "--canary", "2")
    assert variables(swarm, "tried") == ["V=1"] * 3 + ["V=3"] * 2
    swarm.cli("service", "promote", "tried")
    assert variables(swarm, "tried") == ["V=3"] * 5
    assert service(swarm, "tried")["update_status"]["state"] == "COMPLETED"
    swarm.cli("service", "rm", "tried")
