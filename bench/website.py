"""The service of the benchmarks under load: a web server, ready after a second, and a health check that tells."""

from __future__ import annotations

from swarm_api.client import replicated
from swarm_api.specs_pb2 import ServiceSpec
from swarm_api.types_pb2 import UpdateConfig

from bench.raftswarm import Raftswarm
from tests.testbed.process import wait_until

PORT = 8080
READY_AFTER_S = 1
HEALTH_INTERVAL_S = 3.0  # each check starts a process: twenty tasks' are felt on two cores
_SERVE = f"mkdir -p /www && echo here > /www/index.html && sleep {READY_AFTER_S} && exec httpd -f -p 80 -h /www"
_CHECK = "wget -q -O /dev/null http://127.0.0.1/"


def website(name: str, image: str, replicas: int) -> ServiceSpec:
    """The spec; version 1 of it, so to say."""
    spec = replicated(name, image, replicas=replicas, env={"VERSION": "1"})
    container = spec.task.container
    container.command.extend(["sh", "-c", _SERVE])
    container.init = True  # so that the server ends when it is asked to
    container.healthcheck.test.extend(["CMD-SHELL", _CHECK])
    container.healthcheck.interval.FromNanoseconds(int(HEALTH_INTERVAL_S * 1e9))
    container.healthcheck.retries = 3
    spec.endpoint.ports.add(target_port=80, published_port=PORT)
    return spec


def next_version(spec: ServiceSpec, order: UpdateConfig.Order.ValueType, parallelism: int) -> None:
    """Make it another version, to be brought out in this order."""
    number = int(spec.task.container.env[0].partition("=")[2]) + 1
    spec.task.container.env[0] = f"VERSION={number}"
    spec.update.parallelism = parallelism
    spec.update.order = order
    spec.update.monitor.FromSeconds(1)


def wait_running(side: Raftswarm, name: str, count: int, timeout_s: float) -> None:
    """Wait until so many tasks of the service run, which means: are healthy."""

    def reached() -> bool:
        return [task.running for task in side.tasks(name)] == [True] * count

    wait_until(reached, f"{count} healthy tasks of {name}", timeout_s, 0.1)
