"""Forwards questions about the world to the node's own name servers, as /etc/resolv.conf names them."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Collection
from ipaddress import ip_address
from pathlib import Path

_PORT = 53
_ATTEMPT_TIMEOUT_S = 2.0
_MAX_UNDER_WAY = 256
_RELOAD_PERIOD_S = 1.0
_MAX_SERVERS = 3  # glibc's MAXNS


def name_servers(resolv_conf: str, own: Collection[str]) -> list[str]:
    """The servers a resolv.conf names, without our own addresses: asking those would be asking ourselves."""
    servers = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in own and _is_address(words[1]):
            servers.append(words[1])
    return servers[:_MAX_SERVERS]


def _is_address(text: str) -> bool:
    with contextlib.suppress(ValueError):
        ip_address(text.partition("%")[0])
        return True
    return False


class Upstream:
    """The node's name servers. Reads resolv.conf again when it changed (DHCP, VPN)."""

    def __init__(self, path: Path, port: int = _PORT, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._port = port
        self._clock = clock
        self._servers: list[str] = []
        self._seen: object = None
        self._looked_at = -_RELOAD_PERIOD_S
        self._under_way = 0

    async def ask(self, packet: bytes, own: Collection[str], *, tcp: bool) -> bytes | None:
        """The answer of the first server that gives one; None when there is none, or too much is under way."""
        servers = self.servers(own)
        if self._under_way >= _MAX_UNDER_WAY:
            return None
        self._under_way += 1
        try:
            for server in servers:
                with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                    async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
                        return await (self._over_tcp(server, packet) if tcp else self._over_udp(server, packet))
        finally:
            self._under_way -= 1
        return None

    def servers(self, own: Collection[str]) -> list[str]:
        now = self._clock()
        if now - self._looked_at >= _RELOAD_PERIOD_S:
            self._looked_at = now
            self._read_if_changed()
        return [server for server in self._servers if server not in own]

    def _read_if_changed(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._servers = name_servers(self._path.read_text(errors="replace"), ())
                self._seen = seen
        except OSError:
            self._servers, self._seen = [], None  # no resolv.conf: no servers

    async def _over_udp(self, server: str, packet: bytes) -> bytes:
        # A socket a question: its random source port is half of what keeps forged answers out.
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        identity = os.urandom(2)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _OneAnswer(answer, identity), remote_addr=(server, self._port)
        )
        try:
            transport.sendto(identity + packet[2:])
            return packet[:2] + (await answer)[2:]
        finally:
            transport.close()

    async def _over_tcp(self, server: str, packet: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(len(packet).to_bytes(2, "big") + packet)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, answer: asyncio.Future[bytes], identity: bytes) -> None:
        self._answer = answer
        self._identity = identity

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's signature; connected
        if data[:2] == self._identity and not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)
