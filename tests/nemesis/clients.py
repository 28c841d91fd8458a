"""Clients that write down what they asked for and were told: `python -m tests.nemesis.clients SETTINGS`.

SETTINGS is JSON: see `Settings`.  They work until the end of stdin; then every object is read once more, through the
managers in turn, and the last line written is `end`.  The objects are services without replicas: the Control API
creates them by unique names, updates them on condition of a version, removes them in two steps, and reads them.

An answer may be lost.  Then a client either asks again with the same request id, through any manager, or gives up and
writes the outcome down as unknown.  A refusal that follows a lost answer says nothing of the first attempt, which may
still be on its way: that outcome is unknown, too.
"""

import itertools
import json
import math
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from swarm_api import control_pb2 as api
from swarm_api.access import Credentials, Endpoint
from swarm_api.channel import is_retried, open_channel
from swarm_api.client import replicated
from swarm_api.control_pb2_grpc import ControlStub
from swarm_api.identity import NodeCredentials
from swarm_api.ids import new_id
from swarm_api.objects_pb2 import Service
from swarm_api.specs_pb2 import ServiceSpec

from tests.linearizability.history import Operation, Outcome, Verb
from tests.linearizability.prefix import StaleRead
from tests.nemesis.pool import Pool, Shared
from tests.nemesis.recording import Complaint, Recorder

DEADLINE_S = 10.0  # more than any manager may take to answer something
RETRY_FOR_S = 20.0
FINAL_TRIES_S = 30.0
TAG = "tag"
PAUSE_S = 0.02  # a client's own time between requests
REFUSALS = {
    grpc.StatusCode.ALREADY_EXISTS: Outcome.TAKEN,
    grpc.StatusCode.ABORTED: Outcome.CONFLICT,
    grpc.StatusCode.NOT_FOUND: Outcome.ABSENT,
    grpc.StatusCode.FAILED_PRECONDITION: Outcome.LEAVING,
}


@dataclass(frozen=True)
class Settings:
    """What a group of clients is told."""

    managers: Mapping[str, str]  # name -> HOST:PORT
    credentials: str  # folder
    output: str
    seed: int
    prefix: str  # of the names of their objects
    clients: int = 6
    stale_reads: bool = False  # take stale reads for fresh ones: a judge that is awake finds that


class Unanswered(Exception):
    """No manager said what became of the request."""


class Refused(Exception):
    """It had no effect, and the model has no word for why (a full disk)."""


class Managers:
    """One client's channels to all managers."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        node = NodeCredentials.load(Path(settings.credentials))
        credentials = Credentials(node.ca_pem, node.certificate_pem, node.key_pem)
        self._rng = rng
        self._stubs = {
            name: ControlStub(open_channel(Endpoint(address, credentials)))
            for name, address in settings.managers.items()
        }

    def any(self) -> tuple[str, ControlStub]:
        """One of them."""
        return self._rng.choice(list(self._stubs.items()))

    def all(self) -> list[tuple[str, ControlStub]]:
        """Each of them."""
        return list(self._stubs.items())


class Client:
    """One client: one request after the other."""

    def __init__(self, name: str, settings: Settings, pool: Pool, recorder: Recorder) -> None:
        self.name = name
        self._settings = settings
        self._rng = random.Random(f"{settings.seed} {name}")
        self._managers = Managers(settings, self._rng)
        self._pool = pool
        self._recorder = recorder

    def work(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.wait(self._rng.random() * PAUSE_S):
            shared = self._pool.pick(self._rng)
            act = self._rng.choices(
                [self._create, self._update, self._remove, self._read, self._look], weights=(3, 9, 1, 9, 2)
            )[0]
            act(shared)

    # ---------------------------------------------------------------------------------------- requests

    def _create(self, shared: Shared) -> None:
        spec = _spec(shared.name, tag := self._tag())
        request = api.CreateServiceRequest(spec=spec, request_id=new_id())
        self._write(shared, Verb.CREATE, lambda stub: stub.CreateService, request, tag)

    def _update(self, shared: Shared) -> None:
        if not shared.last_seen:
            self._read(shared)
            return
        old = self._rng.choices([shared.last_seen[0], shared.last_seen[-1]], weights=(1, 6))[0]
        request = api.UpdateServiceRequest(
            id=shared.name, version=old.meta.version, spec=_spec(shared.name, tag := self._tag()), request_id=new_id()
        )
        self._write(shared, Verb.UPDATE, lambda stub: stub.UpdateService, request, tag, expected=_tag_of(old))

    def _remove(self, shared: Shared) -> None:
        request = api.RemoveRequest(id=shared.name, request_id=new_id())
        self._write(shared, Verb.DELETE, lambda stub: stub.RemoveService, request, "")

    def _read(self, shared: Shared) -> None:
        manager, stub = self._managers.any()
        self.read_through(manager, stub, shared)

    def read_through(self, manager: str, stub: ControlStub, shared: Shared) -> bool:
        """Read one object through one manager; False: it did not say."""
        request = api.GetRequest(id=shared.name, stale=self._settings.stale_reads)
        invoked = time.monotonic()
        try:
            service = self._ask(manager, stub.GetService, request).service
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                return False
            self._note(shared, Verb.READ, Outcome.ABSENT, invoked)
            return True
        self._saw(shared, service, invoked)
        return True

    def _look(self, shared: Shared) -> None:
        """See all objects as one manager has them."""
        del shared
        manager, stub = self._managers.any()
        invoked = time.monotonic()
        try:
            own = api.Filter(name_prefixes=[self._settings.prefix])
            services = self._ask(manager, stub.ListServices, api.ListRequest(filter=own, stale=True)).services
        except grpc.RpcError:
            return  # it is down, or starts: there is nothing to see
        seen = {s.spec.annotations.name: (_tag_of(s), s.spec_version.index) for s in services}
        self._recorder.stale(StaleRead(manager, invoked, time.monotonic(), seen))

    # ----------------------------------------------------------------------------------------- writing

    def _write(
        self,
        shared: Shared,
        verb: Verb,
        method: Callable[[ControlStub], Any],
        request: Any,
        tag: str,
        expected: str = "",
    ) -> None:
        """Send a write to the end, and write down what is known of it."""
        invoked = time.monotonic()
        try:
            outcome, answer = self._settle(method, request)
        except Unanswered:
            shared.doubtful += 1
            self._note(shared, verb, Outcome.UNKNOWN, invoked, tag, expected)
            return
        except Refused:
            return
        service = getattr(answer, "service", None)
        version = service.spec_version.index if service is not None and _tag_of(service) == tag else 0
        self._note(shared, verb, outcome, invoked, tag if outcome is Outcome.OK else "", expected, version)
        if service is not None and _tag_of(service):  # it shows somebody's later write, or only the id of what is gone
            self._saw(shared, service, invoked)

    def _settle(self, method: Callable[[ControlStub], Any], request: Any) -> tuple[Outcome, Any]:
        """The outcome of a write, in as many attempts as it takes or this client has patience for."""
        persistent = self._rng.random() < 0.6
        give_up_at = time.monotonic() + RETRY_FOR_S
        lost = False
        while True:
            manager, stub = self._managers.any()
            try:
                return Outcome.OK, self._ask(manager, method(stub), request)
            except grpc.RpcError as error:
                if error.code() in REFUSALS and not lost:
                    return REFUSALS[error.code()], None
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not lost:
                    raise Refused from error
                lost = True
                if not persistent or not is_retried(error) or time.monotonic() > give_up_at:
                    raise Unanswered from error
                time.sleep(PAUSE_S)

    def _ask(self, manager: str, method: Any, request: Any) -> Any:
        invoked = time.monotonic()
        try:
            return method(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if is_late or not (is_retried(error) or error.code() in (*REFUSALS, grpc.StatusCode.RESOURCE_EXHAUSTED)):
                what = f"{type(request).__name__}: {error.code().name} {error.details()}"
                self._recorder.complaint(Complaint(manager, what, invoked, time.monotonic(), is_late))
            raise

    # ---------------------------------------------------------------------------------------- recording

    def _saw(self, shared: Shared, service: Service, invoked: float) -> None:
        shared.note(service)
        self._note(shared, Verb.READ, Outcome.OK, invoked, _tag_of(service), version=service.spec_version.index)

    def _note(
        self,
        shared: Shared,
        verb: Verb,
        outcome: Outcome,
        invoked: float,
        tag: str = "",
        expected: str = "",
        version: int = 0,
    ) -> None:
        returned = math.inf if outcome is Outcome.UNKNOWN else time.monotonic()
        operation = Operation(shared.name, verb, outcome, invoked, returned, tag, expected, version, self.name)
        self._recorder.operation(operation)

    def _tag(self) -> str:
        return new_id()[:12]

    def final_reads(self, names: list[str]) -> bool:
        """Read every object, through the managers in turn, as often as it takes; False when one does not answer."""
        deadline = time.monotonic() + FINAL_TRIES_S
        for (manager, stub), name in zip(itertools.cycle(self._managers.all()), names, strict=False):
            while not self.read_through(manager, stub, Shared(name)):
                if time.monotonic() > deadline:
                    return False
                time.sleep(PAUSE_S)
        return True


def _spec(name: str, tag: str) -> ServiceSpec:
    spec = replicated(name, "busybox", replicas=0)
    spec.annotations.labels[TAG] = tag
    return spec


def _tag_of(service: Service) -> str:
    return str(dict(service.spec.annotations.labels).get(TAG, ""))


def main() -> int:
    """Work until the end of stdin, look once more, say `end`."""
    settings = Settings(**json.loads(sys.argv[1]))
    pool, stop = Pool(settings.prefix), threading.Event()
    with Path(settings.output).open("w") as file:
        recorder = Recorder(file)
        clients = [Client(f"client-{n}", settings, pool, recorder) for n in range(settings.clients)]
        with ThreadPoolExecutor(len(clients)) as threads:
            working = [threads.submit(client.work, stop) for client in clients]
            sys.stdin.read()
            stop.set()
            for client in working:
                client.result()  # whatever ended one before its time ends us, without `end`
        if not clients[0].final_reads(pool.names()):
            return 1
        recorder.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
