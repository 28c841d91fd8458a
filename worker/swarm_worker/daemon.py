"""The command `swarm-worker`: the node's daemon, put together and run."""

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path

import swarm_api.lean  # noqa: F401 - before structlog

# isort: split
import structlog

from swarm_worker import config, logs
from swarm_worker.config import Config
from swarm_worker.errors import ConfigError, StateError, WorkerError
from swarm_worker.networking import Network
from swarm_worker.runtime import Runtime
from swarm_worker.storage import NodeFile

log = structlog.get_logger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 failed, 2 usage."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would print is reported by our own words
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        settings = config.parse(sys.argv[1:] if arguments is None else arguments)
    except ConfigError as error:
        return _fail(error, 2)
    logs.configure(settings.log_level, settings.log_format)
    try:
        lock = _claim(settings)
        asyncio.run(_serve(settings))
    except WorkerError as error:
        return _fail(error, 1)
    settings.pid_file.unlink(missing_ok=True)
    os.close(lock)
    return _exit_now()


def docker_engine(settings: Config, node: NodeFile) -> tuple[Runtime, Network]:
    """Docker's engine and the kernel's networking, for this node."""
    # Imported here, not above: they take as long as all the rest, and the daemon can listen before.
    from swarm_worker.addresses import split
    from swarm_worker.engine.api import DockerApi
    from swarm_worker.engine.containers import DockerRuntime
    from swarm_worker.engine.networks import DockerBridges
    from swarm_worker.net.network import NodeNetwork

    api = DockerApi(settings.docker_host)
    bridges = DockerBridges(api)
    address = split(node.advertise_address)[0]
    network = NodeNetwork(bridges, node.node_id, address, settings.state_dir, settings.run_dir)
    return DockerRuntime(api, bridges, node.node_id), network


def _import_engine() -> None:
    """Import, on a thread, what `docker_engine` will need: the order to join waits for the network meanwhile."""
    import swarm_worker.engine.containers
    import swarm_worker.engine.networks
    import swarm_worker.net.network  # noqa: F401


async def _serve(settings: Config) -> None:
    from swarm_worker.control import serve
    from swarm_worker.node import Node

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    node = Node(settings, docker_engine)
    node.start(may_wait=True)
    server = await serve(node, settings.socket_path)
    log.info("ready", socket=str(settings.socket_path), state_dir=str(settings.state_dir))
    watching = loop.create_task(node.watch_address())
    await asyncio.to_thread(_import_engine)
    await stopping.wait()
    watching.cancel()
    log.info("stopping; containers run on")
    await server.stop(0.5)
    await node.stop()


def _claim(settings: Config) -> int:
    """Have the directories, and be the only daemon in them: the lock on the pid file is held until the process ends."""
    path = settings.pid_file
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StateError(
            f"{error.filename or path} cannot be used: {error.strerror}; run swarm-worker as root."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StateError(f"Another swarm-worker runs with {path}, process {_first_line(path)}.") from None
    os.truncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def _first_line(path: Path) -> str:
    return path.read_text().strip() or "unknown"


def _fail(error: WorkerError, code: int) -> int:
    sys.stderr.write(f"swarm-worker: {error}\n")
    return code


def _exit_now() -> int:
    """End without waiting for threads: one may be in the middle of a pull of minutes, which leaves nothing behind."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
