"""A load generator for etcd as lean as Python allows: `python -m bench.etcd_client SPEC`, one JSON result.

Why not grpcio: on a machine of two cores its Python client takes more of them than etcd itself, and the figure would
be the client's.  This one writes the same HTTP/2 frames (RFC 9113) over one TLS connection: a unary call is a HEADERS
frame, always the same bytes, and one DATA frame; its answer ends with END_STREAM, and a call that failed has no DATA.
Both flow-control windows are minded.  Messages are etcd's `PutRequest` and `RangeRequest`, two fields each.
"""

import contextlib
import json
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
MAX_WINDOW = 2**31 - 1
FIRST_WINDOW_BYTES = 65_535
FRAME_HEAD_BYTES = 9
KEYS = 1000
PROBE_S = 0.02
CONNECT_S = 10.0
_READ_BYTES = 1 << 18


class EtcdError(Exception):
    """etcd ended the connection or answered what no answer should be."""


class Connection:
    """One HTTP/2 connection: `call` begins a unary call, `ended` waits for the next ones to end."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        plain = socket.create_connection(address, CONNECT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=address[0])
        self._authority = f"{address[0]}:{address[1]}"
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._window = FIRST_WINDOW_BYTES
        self._next_stream = 1
        self._answered: set[int] = set()
        settings = struct.pack(">HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, MAX_WINDOW)
        self._outbox += b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, settings)
        self._outbox += _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_WINDOW - FIRST_WINDOW_BYTES))

    def call(self, headers: bytes, message: bytes) -> int:
        """Queue a call; its stream's number."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        body = b"\0" + struct.pack(">I", len(message)) + message
        self._outbox += _frame(HEADERS, END_HEADERS, stream, headers)
        self._outbox += _frame(DATA, END_STREAM, stream, body)
        self._window -= len(body)
        return stream

    def headers(self, path: str) -> bytes:
        """The header block of a call, without any compression."""
        block = b"\x83\x87" + b"\x04" + _text(path) + b"\x01" + _text(self._authority)
        for name, value in (("content-type", "application/grpc"), ("te", "trailers")):
            block += b"\0" + _text(name) + _text(value)
        return block

    def may_send(self, size_bytes: int) -> bool:
        """Whether the peer takes another message of this size now."""
        return self._window > size_bytes + 5

    def flush(self) -> None:
        """Write what is queued."""
        if self._outbox:
            self._socket.sendall(self._outbox)
            self._outbox.clear()

    def ended(self) -> list[tuple[int, bool]]:
        """Wait for the peer's next bytes; (stream, whether it was answered) of the calls that ended by them."""
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise EtcdError("etcd closed the connection")
        self._inbox += data
        out = []
        for kind, flags, stream, payload in self._frames():
            if kind == DATA:
                self._answered.add(stream)
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                out.append((stream, stream in self._answered))
                self._answered.discard(stream)
            elif kind not in (DATA, HEADERS):
                self._mind(kind, flags, stream, payload)
        return out

    def wait_at_most(self, timeout_s: float) -> None:
        """From now on `ended` raises TimeoutError after so long."""
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        self._socket.close()

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        place, inbox = 0, self._inbox
        while len(inbox) - place >= FRAME_HEAD_BYTES:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", inbox, place)
            end = place + FRAME_HEAD_BYTES + (high << 16 | low)
            if end > len(inbox):
                break
            yield kind, flags, stream, bytes(inbox[place + FRAME_HEAD_BYTES : end])
            place = end
        del inbox[:place]

    def _mind(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == GOAWAY:
            raise EtcdError(f"etcd ends the connection: {payload[8:].decode(errors='replace')}")
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += struct.unpack(">I", payload)[0]
        elif kind == SETTINGS and not flags & ACK:
            self._outbox += _frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._outbox += _frame(PING, ACK, 0, payload)


def put_request(number: int, value: bytes) -> bytes:
    """etcd's PutRequest: one of KEYS keys and a value."""
    key = b"key-%08d" % (number % KEYS)
    return _field(1, key) + _field(2, value)


def range_request() -> bytes:
    """etcd's RangeRequest of one key, linearizable (the default)."""
    return _field(1, b"key-%08d" % 0)


def _field(number: int, data: bytes) -> bytes:
    length, size = bytearray(), len(data)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + bytes(length) + data


def _text(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 65535, kind, flags, stream) + payload


def tls(folder: str) -> ssl.SSLContext:
    """mTLS 1.3 with the certificates in this folder."""
    context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    context.set_alpn_protocols(["h2"])
    return context


def run(spec: dict[str, Any]) -> dict[str, object]:
    """Keep `outstanding` calls going for `duration_s`; how many were answered, and their latencies."""
    connection = Connection((spec["host"], spec["port"]), tls(spec["tls"]))
    is_put = spec["what"] == "write"
    headers = connection.headers(f"/etcdserverpb.KV/{'Put' if is_put else 'Range'}")
    value = bytes(range(256)) * (spec["size_bytes"] // 256)
    began: dict[int, float] = {}
    latencies: list[float] = []
    failed = number = 0
    start = now = time.monotonic()
    end = start + spec["duration_s"]
    while now < end or began:
        message = put_request(number, value) if is_put else range_request()
        while now < end and len(began) < spec["outstanding"] and connection.may_send(len(message)):
            began[connection.call(headers, message)] = time.monotonic()
            number += 1
            message = put_request(number, value) if is_put else message
        connection.flush()
        ended = connection.ended()
        now = time.monotonic()
        for stream, answered in ended:
            took_s = now - began.pop(stream)
            latencies.append(took_s) if answered else None
            failed += not answered
    connection.close()
    return summary(latencies, failed, time.monotonic() - start)


def probe(spec: dict[str, Any]) -> dict[str, object]:
    """Put every PROBE_S for `duration_s`; when each that was answered began and ended (monotonic clock)."""
    connection = Connection((spec["host"], spec["port"]), tls(spec["tls"]))
    connection.wait_at_most(PROBE_S)
    headers = connection.headers("/etcdserverpb.KV/Put")
    began: dict[int, float] = {}
    answered: list[tuple[float, float]] = []
    end = time.monotonic() + spec["duration_s"]
    while (now := time.monotonic()) < end:
        began[connection.call(headers, put_request(0, b"a" * spec["size_bytes"]))] = now
        connection.flush()
        with contextlib.suppress(TimeoutError):
            for stream, done in connection.ended():
                at = time.monotonic()
                answered += [(began[stream], at)] * done
            time.sleep(max(0.0, now + PROBE_S - time.monotonic()))
    return {"answered": answered}


def summary(latencies_s: list[float], failed: int, took_s: float) -> dict[str, object]:
    """What both sides' load generators tell."""
    ordered = sorted(latencies_s)
    at = {f"p{share}_ms": ordered[len(ordered) * share // 100] * 1000 for share in (50, 99)} if ordered else {}
    return {"count": len(ordered), "failed": failed, "per_s": len(ordered) / took_s, **at}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(probe(asked) if asked["what"] == "probe" else run(asked)))
