"""Docker's engine as `runtime.Runtime`: the container calls."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import docker.utils
from swarm_api import naming
from swarm_api.objects_pb2 import NodeDescription
from swarm_api.types_pb2 import Mount

from swarm_worker.core.events import Container, Phase
from swarm_worker.engine import read, spec
from swarm_worker.engine.api import LONG_S, QUICK_S, SILENCE_S, DockerApi
from swarm_worker.engine.machine import describe
from swarm_worker.engine.networks import DockerBridges
from swarm_worker.engine.watch import PATIENCE_S, EngineWatch
from swarm_worker.runtime import CreateOrder, NotThereError, RefusedError, RuntimeEvent


class DockerRuntime:
    """The containers of one node on one Docker engine. Its methods block and may be called from any thread."""

    def __init__(self, api: DockerApi, bridges: DockerBridges, node_id: str, patience_s: int = PATIENCE_S) -> None:
        """`patience_s`: see `EngineWatch`."""
        self._api = api
        self._patience_s = patience_s
        self._bridges = bridges
        self._node_id = node_id
        self._watch: EngineWatch | None = None

    def watch(self, listener: Callable[[RuntimeEvent], None]) -> None:
        """See `Runtime.watch`."""
        self._watch = EngineWatch(self._api, self._node_id, listener, self._patience_s)
        self._watch.start()

    def resync(self) -> None:
        """See `Runtime.resync`."""
        if self._watch:
            self._watch.resync()

    def close(self) -> None:
        """See `Runtime.close`."""
        if self._watch:
            self._watch.close()

    def describe(self) -> NodeDescription:
        """See `Runtime.describe`."""
        return describe(self._api, self._patience_s)

    def create(self, order: CreateOrder) -> Container:
        """See `Runtime.create`."""
        name = naming.container_name(order.task)
        body = self._body(order)
        try:
            container_id = self._create(name, body)
        except RefusedError as refusal:
            found = self._existing(name, order.task.id)
            if found is None:
                raise
            if found.phase is not Phase.CREATED:
                return found
            self.remove(found.id)  # half made: perhaps not yet in all of its networks
            del refusal
            container_id = self._create(name, body)
        self._connect(order, container_id)
        return Container(container_id, order.task.id, Phase.CREATED)

    def pull(self, image: str) -> None:
        """See `Runtime.pull`."""
        repository, tag = docker.utils.parse_repository_tag(image)
        with self._api.call(SILENCE_S) as client:
            for line in client.pull(repository, tag=tag or "latest", stream=True, decode=True):
                if "error" in line:
                    raise RefusedError(str(line["error"]))

    def start(self, container_id: str) -> Container:
        """See `Runtime.start`."""
        with self._api.call(LONG_S) as client:
            client.start(container_id)
            return read.container(client.inspect_container(container_id))

    def signal(self, container_id: str, signal: str) -> None:
        """See `Runtime.signal`."""
        with self._api.call(QUICK_S) as client:
            client.kill(container_id, signal or "SIGTERM")

    def remove(self, container_id: str) -> None:
        """See `Runtime.remove`."""
        with contextlib.suppress(NotThereError), self._api.call(LONG_S) as client:
            client.remove_container(container_id, v=True, force=True)

    def _body(self, order: CreateOrder) -> spec.Json:
        with self._api.call(QUICK_S):  # agrees on the API version, which the body depends on
            version = self._api.version
        container = order.task.spec.container
        refusal = spec.unmet(container, version)
        if refusal:
            raise RefusedError(refusal)
        _make_bind_sources(list(container.mounts))
        return spec.create_body(order, self._docker_ids(order), version)

    def _docker_ids(self, order: CreateOrder) -> dict[str, str]:
        wanted = [attachment.network_id for attachment in order.task.networks]
        return self._bridges.docker_ids(wanted) if wanted else {}

    def _create(self, name: str, body: spec.Json) -> str:
        with self._api.call(LONG_S) as client:
            made = client.create_container_from_config(body, name)
            return str(made["Id"])

    def _existing(self, name: str, task_id: str) -> Container | None:
        """The container of that name if it is this task's: an earlier attempt's, whose answer was lost."""
        try:
            with self._api.call(QUICK_S) as client:
                found = read.container(client.inspect_container(name))
        except NotThereError:
            return None
        return found if found.task_id == task_id else None

    def _connect(self, order: CreateOrder, container_id: str) -> None:
        """Join the networks after the first; a container that cannot join one of them is not kept."""
        ids = self._docker_ids(order) if len(order.task.networks) > 1 else {}
        try:
            for index, attachment in enumerate(order.task.networks[1:], start=1):
                settings = spec.endpoint(order, index, self._api.version)
                with self._api.call(LONG_S) as client:
                    client.connect_container_to_network(
                        container_id,
                        ids[attachment.network_id],
                        ipv4_address=attachment.address or None,
                        mac_address=settings.get("MacAddress"),
                    )
        except RefusedError:
            self.remove(container_id)
            raise


def _make_bind_sources(mounts: list[Mount]) -> None:
    """Make the folders that were asked to be made; engines before API 1.42 do not do it themselves."""
    for mount in mounts:
        if mount.type == Mount.BIND and mount.bind_create_source:
            try:
                Path(mount.source).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RefusedError(f"The folder {mount.source} could not be made: {error.strerror}.") from error
