"""Ports for the servers of tests.

They are below those that the system gives to outgoing connections, so that no connection takes one while its server is
down, and no process hands one out twice; processes that run side by side begin far from each other.
"""

import contextlib
import itertools
import os
import socket

FIRST, COUNT = 20_000, 12_000  # Linux gives out 32768 and above
_SPREAD = 64  # between processes with neighbouring ids
_offsets = itertools.count(os.getpid() * _SPREAD)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on, one after the other in value."""
    while True:
        first = FIRST + next(_offsets) % (COUNT - count)
        for _ in range(count - 1):
            next(_offsets)
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind((host, port))
            return list(range(first, first + count))
