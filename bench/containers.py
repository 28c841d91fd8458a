"""The ground truth of the benchmarks: which containers run where and since when, as the engines themselves tell.

Neither orchestrator is asked, and nothing is polled: every engine's event stream is read, one thread a host, and the
engine's own clock is taken, which all hosts of a testbed share with us (`time.time_ns`). So what is measured does
not depend on when our thread was given a turn.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from tests.testbed.engine import EngineError
from tests.testbed.host import Host


@dataclass(frozen=True, order=True)
class Happening:
    """A container started or ended on a host."""

    at_ns: int
    host: str
    container_id: str
    started: bool


class ContainerWatch:
    """The containers with a label (`key` or `key=value`) on some hosts, from now on.

    A host whose engine ends is watched no further: what ran there counts as running until `forget` says otherwise.
    """

    def __init__(self, hosts: Iterable[Host], label: str) -> None:
        self._hosts = list(hosts)
        self._label = label
        self._changed = threading.Condition()
        self._at_first: dict[str, set[str]] = {}
        self._happenings: list[Happening] = []
        self._streams: list[EventStream] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for host in self._hosts:
            stream = EventStream(host, self._label, ("start", "die"))
            self._streams.append(stream)
            thread = threading.Thread(target=self._read, args=(host, stream), daemon=True)
            self._threads.append(thread)
            thread.start()
        for host in self._hosts:  # after the streams are open, so that no start falls between
            running = {container["Id"] for container in host.engine.containers(label=self._label)}
            with self._changed:
                self._at_first[host.name] = running
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def wait_running(self, count: int, timeout_s: float, *, without: str | None = None) -> int | None:
        """When `count` containers ran at once (ns since the epoch), not counting those on the host `without`.

        None after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (at_ns := self._reached(count, without)) is None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)
            return at_ns

    def starts(self) -> list[Happening]:
        """All starts seen until now, in order of time."""
        with self._changed:
            return sorted(happening for happening in self._happenings if happening.started)

    def ends(self) -> list[Happening]:
        with self._changed:
            return sorted(happening for happening in self._happenings if not happening.started)

    def _reached(self, count: int, without: str | None) -> int | None:
        running = {one for host, ids in self._at_first.items() if host != without for one in ids}
        if len(running) >= count:
            return 0
        for happening in sorted(self._happenings):
            if happening.host == without:
                continue
            if happening.started:
                running.add(happening.container_id)
            else:
                running.discard(happening.container_id)
            if len(running) >= count:
                return happening.at_ns
        return None

    def _read(self, host: Host, stream: EventStream) -> None:
        for event in stream:
            happening = Happening(event["timeNano"], host.name, event["Actor"]["ID"], event["Action"] == "start")
            with self._changed:
                self._happenings.append(happening)
                self._changed.notify_all()


class EventStream:
    """An engine's events of some kinds about containers with a label, until the engine ends or `close` is called."""

    def __init__(self, host: Host, label: str, kinds: Sequence[str]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(host.engine.socket))
        filters = {"type": ["container"], "event": list(kinds), "label": [label]}
        path = f"/events?filters={quote(json.dumps(filters))}"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
        self._answer = http.client.HTTPResponse(self._socket)
        self._answer.begin()
        if self._answer.status != http.client.OK:
            raise EngineError(self._answer.status, f"{host.name}: the engine refused to tell its events")

    def close(self) -> None:
        """End it, also for a thread that reads from it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader; a close alone would not
        except OSError:
            self._socket.close()  # the engine was gone already

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            line = self._answer.readline()
        except (OSError, http.client.HTTPException):
            line = b""
        if not line.strip():
            raise StopIteration
        return json.loads(line)


def count_running(hosts: Iterable[Host], label: str) -> dict[str, int]:
    """How many containers with the label run on each host now."""
    return {host.name: len(host.engine.containers(label=label)) for host in hosts}


def count_all(hosts: Iterable[Host], label: str) -> int:
    """How many containers with the label there are, running or not."""
    return sum(len(host.engine.containers(everything=True, label=label)) for host in hosts)
