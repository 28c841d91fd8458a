"""How many containers of a service were able to serve at each moment, as the engines themselves tell.

A container serves from the moment its health check passed (or it started, when it has none) until it is sent a signal
or ends, whichever comes first.  Every engine's event stream is read; the moments are the engines' own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Self

from bench.containers import EventStream
from tests.testbed.host import Host

_BEGINS = "health_status: healthy"
_ENDS = frozenset({"kill", "die", "health_status: unhealthy"})


class ServingWatch:
    """The healthy containers with a label on some hosts, from now on."""

    def __init__(self, hosts: Iterable[Host], label: str) -> None:
        self._hosts = list(hosts)
        self._label = label
        self._lock = threading.Lock()
        self._steps: list[tuple[int, str, bool]] = []  # (when, container, serves from then on)
        self._streams: list[EventStream] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for host in self._hosts:
            stream = EventStream(host, self._label, ("health_status", "kill", "die"))
            self._streams.append(stream)
            self._threads.append(threading.Thread(target=self._read, args=(stream,), daemon=True))
            self._threads[-1].start()
        for host in self._hosts:  # after the streams are open, so that none falls between
            for container in host.engine.containers(label=self._label):
                if "(healthy)" in container["Status"]:
                    self._note(0, container["Id"], serves=True)
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def fewest(self) -> int:
        """The least number that served at once, since all that were found at first did."""
        serving: set[str] = set()
        with self._lock:
            steps = sorted(self._steps)
        fewest = sum(1 for at_ns, _, serves in steps if at_ns == 0 and serves)
        for at_ns, container, serves in steps:
            (serving.add if serves else serving.discard)(container)
            if at_ns:
                fewest = min(fewest, len(serving))
        return fewest

    def _read(self, stream: EventStream) -> None:
        for event in stream:
            if event["Action"] == _BEGINS or event["Action"] in _ENDS:
                self._note(event["timeNano"], event["Actor"]["ID"], serves=event["Action"] == _BEGINS)

    def _note(self, at_ns: int, container: str, *, serves: bool) -> None:
        with self._lock:
            self._steps.append((at_ns, container, serves))
