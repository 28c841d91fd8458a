"""People who use a published port while things happen to the service behind it: a client on each host.

A client asks its own host at a steady pace, whatever becomes of the answers, over a new connection each time: so each
request is balanced anew, and none waits for the one before.  The client is this file, run in the host; it ends, and
says how its requests fared, when its stdin is closed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.testbed.host import Host

TIMEOUT_S = 5.0
_LATE_S = 0.9  # a connection that is set up at the second try: its first packet got no answer


@dataclass
class Fared:
    """How the requests of a client fared; `failures` are (seconds since 1970, what happened)."""

    requests: int = 0
    late: int = 0
    slowest_s: float = 0.0
    failures: list[tuple[float, str]] = field(default_factory=list)

    def note(self, began_s: float, took_s: float, failure: str) -> None:
        """Count one request; an empty failure: it was answered."""
        self.requests += 1
        self.late += took_s > _LATE_S
        self.slowest_s = max(self.slowest_s, took_s)
        if failure:
            self.failures.append((began_s, failure))


class Load:
    """Clients on some hosts, at work from `with` on."""

    def __init__(self, hosts: Sequence[Host], port: int, requests_a_second: float) -> None:
        self._hosts = hosts
        self._port = port
        self._pace = requests_a_second
        self._clients: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for host in self._hosts:
            argv = [sys.executable, str(Path(__file__)), host.address, str(self._port), str(self._pace)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._clients.append(
                subprocess.Popen(host.exec_argv(argv), env=host.environment(), text=True, **pipes)  # type: ignore[call-overload]
            )
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.kill()
            client.wait()

    def stop(self) -> dict[str, Fared]:
        """End the clients; how each one fared, by its host."""
        said = [client.communicate(timeout=4 * TIMEOUT_S)[0] for client in self._clients]
        return {host.name: Fared(**json.loads(line)) for host, line in zip(self._hosts, said, strict=True)}


async def _ask(address: str, port: int) -> str:
    """Ask once; what went wrong, or nothing."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.close()
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except OSError as error:
        return str(error)
    return "" if b" 200 " in answer.partition(b"\r\n")[0] else f"answered {answer[:60]!r}"


async def _client(address: str, port: int, pace: float) -> None:
    fared = Fared()

    async def request() -> None:
        began_s, began = time.time(), time.monotonic()
        failure = await _ask(address, port)
        fared.note(began_s, time.monotonic() - began, failure)

    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    clock, start, number = time.monotonic, time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while not ended.done():
            group.create_task(request())
            number += 1
            await asyncio.wait([ended], timeout=max(0.0, start + number / pace - clock()))
    print(json.dumps(asdict(fared)))


if __name__ == "__main__":
    asyncio.run(_client(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
