"""The resolver: a process of its own that answers DNS questions of the node's containers.

Why a process: a container whose resolver is gone waits five seconds a lookup, so the resolver lives on while the
worker is restarted or upgraded. It holds no state worth keeping: zones come from one file, which the worker replaces
atomically and then says `load` over the control socket; the answer tells that lookups from now on see them.

    zones file      <run>/resolver.json     written by the worker (dns.py)
    control socket  <run>/resolver.sock     one JSON document a line: {"op": "load" | "status" | "stop"}
    pid file        <run>/resolver.pid      locked for life: at most one resolver serves a run directory

Taking over. A new resolver loads the zones and binds the same addresses (SO_REUSEPORT) while the old one still
answers, then tells the old one to stop, waits for its lock and takes its socket's name. No question goes unanswered,
and a resolver that hangs is replaced the same way, by kill.

Sockets are bound with IP_FREEBIND: a bridge may come, go and come again under them.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, cast

from swarm_worker.net import packets
from swarm_worker.net.upstream import Upstream
from swarm_worker.net.zones import Finding, Verdict, Zones

ZONES_FILE, CONTROL_SOCKET, PID_FILE = "resolver.json", "resolver.sock", "resolver.pid"

_PORT = 53
_TTL_S = 1  # a change shows at the next lookup, and a client that asks in a loop does not ask us each time
_TCP_IDLE_S = 10.0
_MAX_TCP_CLIENTS = 200
_TAKE_OVER_TIMEOUT_S = 3.0
_BIND_RETRY_S = 5.0
_IP_FREEBIND = 15

log = logging.getLogger("resolver")


def version() -> str:
    """Names the code a resolver runs: a digest of its own modules."""
    digest = hashlib.sha256()
    for name in ("packets.py", "resolver.py", "upstream.py", "zones.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


class Responder:
    """From a question to its answer."""

    def __init__(self, upstream: Upstream) -> None:
        self.zones = Zones({}, {})
        self._upstream = upstream
        self._turn = count()

    async def respond(self, packet: bytes, gateway: str, asker: str, *, tcp: bool) -> bytes | None:
        """The answer to a packet; None for what deserves none."""
        try:
            query = packets.parse(packet)
        except packets.MalformedPacketError:
            return None
        if query.opcode != 0:
            return packets.status(query, packets.NOTIMP)
        finding = self.zones.find(gateway, asker, query.name)
        if finding.verdict is Verdict.FOREIGN:
            return await self._forward(query, packet, asker, tcp=tcp)
        return self._answer(query, finding, packets.MAX_MESSAGE_SIZE_BYTES if tcp else query.udp_size_bytes)

    def _answer(self, query: packets.Query, finding: Finding, limit_bytes: int) -> bytes:
        if finding.verdict is Verdict.REFUSED:
            return packets.status(query, packets.REFUSED)
        if finding.verdict is Verdict.UNKNOWN:
            return packets.status(query, packets.NXDOMAIN)
        if finding.verdict is Verdict.POINTER and query.qtype in (packets.PTR, packets.ANY):
            return packets.pointer(query, finding.pointer, _TTL_S)
        if finding.verdict is Verdict.ANSWER and query.qtype in (packets.A, packets.ANY):
            return packets.addresses(query, self._rotated(list(finding.addresses)), _TTL_S, limit_bytes)
        return packets.status(query, packets.NOERROR)  # the name exists, without such a record (AAAA)

    def _rotated(self, found: list[str]) -> list[str]:
        """Each answer begins with another address: clients take the first."""
        start = next(self._turn) % len(found) if found else 0
        return found[start:] + found[:start]

    async def _forward(self, query: packets.Query, packet: bytes, asker: str, *, tcp: bool) -> bytes:
        own = self.zones.gateways
        # A question from the node itself comes from a forwarder that we are the upstream of: passing it on would loop.
        answer = None if asker in own else await self._upstream.ask(packet, own, tcp=tcp)
        return answer or packets.status(query, packets.SERVFAIL)


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP face of one gateway address."""

    def __init__(self, responder: Responder, gateway: str, tasks: set[asyncio.Task[None]]) -> None:
        self._responder = responder
        self._gateway = gateway
        self._tasks = tasks
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # by interface, not by class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._respond(data, addr))
        self._tasks.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._tasks.discard)

    async def _respond(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = await self._responder.respond(data, self._gateway, addr[0], tcp=False)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


class Listener:
    """Both faces of one gateway address."""

    def __init__(self, responder: Responder, gateway: str, port: int) -> None:
        self._responder = responder
        self._gateway = gateway
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = 0
        self._closers: list[Callable[[], None]] = []

    async def open(self) -> None:
        """Bind. Raises OSError; then nothing stays bound."""
        try:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._responder, self._gateway, self._tasks),
                sock=self._socket(socket.SOCK_DGRAM),
            )
            self._closers.append(transport.close)
            server = await asyncio.start_server(self._serve, sock=self._socket(socket.SOCK_STREAM))
            self._closers.append(server.close)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        while self._closers:
            self._closers.pop()()

    def _socket(self, kind: socket.SocketKind) -> socket.socket:
        bound = socket.socket(socket.AF_INET, kind)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            bound.setblocking(False)
            bound.bind((self._gateway, self._port))
        except OSError:
            bound.close()
            raise
        return bound

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= _MAX_TCP_CLIENTS:
                await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.debug("a TCP client went away: %s", error)
        finally:
            self._clients -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asker = str(writer.get_extra_info("peername")[0])
        while True:
            async with asyncio.timeout(_TCP_IDLE_S):
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            answer = await self._responder.respond(packet, self._gateway, asker, tcp=True)
            if answer is None:
                return
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()


class Resolver:
    """All listeners, kept equal to the zones file."""

    def __init__(self, run_dir: Path, resolv_conf: Path, port: int) -> None:
        self._zones_file = run_dir / ZONES_FILE
        self._responder = Responder(Upstream(resolv_conf))
        self._port = port
        self._listeners: dict[str, Listener] = {}
        self._errors: dict[str, str] = {}
        self._sequence = 0
        self._version = version()  # of what was started, whatever is on the disk later

    async def load(self) -> None:
        """Serve what the zones file says. Raises OSError or ValueError when it cannot be read; then all stays."""
        document = json.loads(self._zones_file.read_text())
        zones = Zones.from_json(document)
        self._responder.zones = zones
        self._sequence = int(document["sequence"])
        await self.bind()

    async def bind(self) -> None:
        """Listen on exactly the gateways of the zones; what cannot be bound is tried again later."""
        wanted = self._responder.zones.gateways
        for gateway in set(self._listeners) - wanted:
            self._listeners.pop(gateway).close()
        known, self._errors = self._errors, {}
        for gateway in sorted(wanted - set(self._listeners)):
            listener = Listener(self._responder, gateway, self._port)
            try:
                await listener.open()
                self._listeners[gateway] = listener
            except OSError as error:
                self._errors[gateway] = error.strerror or str(error)
                if known.get(gateway) != self._errors[gateway]:  # said once, tried for ever
                    log.warning("cannot listen on %s:%d: %s", gateway, self._port, self._errors[gateway])

    async def retry_binds(self) -> None:
        while True:
            await asyncio.sleep(_BIND_RETRY_S)
            if self._errors:
                await self.bind()

    def status(self) -> dict[str, Any]:
        return {"version": self._version, "pid": os.getpid(), "sequence": self._sequence, "errors": self._errors}


class Control:
    """The control socket."""

    def __init__(self, resolver: Resolver, stopped: asyncio.Event) -> None:
        self._resolver = resolver
        self._stopped = stopped

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                writer.write(json.dumps(await self._do(line)).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _do(self, line: bytes) -> dict[str, Any]:
        try:
            operation = json.loads(line)["op"]
            if operation == "load":
                await self._resolver.load()
            elif operation == "stop":
                self._stopped.set()
        except (OSError, ValueError, KeyError, TypeError) as error:
            return {**self._resolver.status(), "failed": str(error)}
        return self._resolver.status()


class PidFile:
    """Held by the one resolver of a run directory for as long as it lives."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._file = os.open(run_dir / PID_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def take(self) -> None:
        """Get the lock; a holder is asked to stop, and killed when it does not."""
        if not self._try_lock():
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_TAKE_OVER_TIMEOUT_S):
                    await self._ask_to_stop()
                    await self._wait_for_lock()
            if not self._try_lock():
                self._kill_holder()
                async with asyncio.timeout(_TAKE_OVER_TIMEOUT_S):
                    await self._wait_for_lock()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def _wait_for_lock(self) -> None:
        while not self._try_lock():  # noqa: ASYNC110 - a lock of another process: there is no event to wait for
            await asyncio.sleep(0.01)

    async def _ask_to_stop(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._run_dir / CONTROL_SOCKET)
        writer.write(b'{"op": "stop"}\n')
        await reader.readline()
        writer.close()

    def _kill_holder(self) -> None:
        pid = os.pread(self._file, 32, 0).decode()
        if pid.isdigit():
            log.warning("the resolver with pid %s does not stop: killing it", pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


async def serve(run_dir: Path, resolv_conf: Path, port: int) -> None:
    """Serve until told to stop."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    resolver = Resolver(run_dir, resolv_conf, port)
    try:
        await resolver.load()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("no zones yet: %s", error)  # the worker sends `load` when it wrote them
    pid_file = PidFile(run_dir)
    await pid_file.take()
    control = await _control_server(run_dir, Control(resolver, stopped))
    binds = asyncio.create_task(resolver.retry_binds())
    log.info("serving, version %s", version())
    await stopped.wait()
    binds.cancel()
    control.close()


async def _control_server(run_dir: Path, control: Control) -> asyncio.Server:
    """Bind under a name of our own and rename: whoever connects finds either the old resolver or us, never nobody."""
    own = run_dir / f"{CONTROL_SOCKET}.{os.getpid()}"
    own.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(control.serve, own)
    own.chmod(0o600)
    own.rename(run_dir / CONTROL_SOCKET)
    return server


def main() -> None:
    run_dir, resolv_conf = Path(sys.argv[1]), Path(sys.argv[2])
    port = int(sys.argv[3]) if len(sys.argv) > 3 else _PORT
    logging.basicConfig(level=logging.INFO, format="%(asctime)s resolver[%(process)d] %(levelname)s %(message)s")
    asyncio.run(serve(run_dir, resolv_conf, port))


if __name__ == "__main__":
    main()
