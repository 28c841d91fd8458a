"""gRPC channels to the other managers, with this node's own certificate."""

import asyncio
from collections.abc import Callable

import grpc
from swarm_api.identity import NodeCredentials

MANAGER_NAME = "swarm-manager"  # the name every manager's certificate carries
_OPTIONS = (
    ("grpc.ssl_target_name_override", MANAGER_NAME),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # in spite of its name: how long a connection may take; 20 s by default
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.keepalive_time_ms", 3_000),  # a connection across a link that was cut resets nothing, and waits
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),  # a list of 100,000 tasks
)


class PeerChannels:
    """One channel an address, opened when first used and anew when our certificate was renewed."""

    def __init__(self, credentials: Callable[[], NodeCredentials]) -> None:
        self._credentials = credentials
        self._made_with: NodeCredentials | None = None
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def channel(self, address: str) -> grpc.aio.Channel:
        """The channel to the manager at `address` (host:port)."""
        current = self._credentials()
        if current is not self._made_with:
            self._retire()
            self._made_with = current
        if address not in self._channels:
            self._channels[address] = self._open(address, current)
        return self._channels[address]

    @staticmethod
    def _open(address: str, own: NodeCredentials) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(own.ca_pem, own.key_pem, own.certificate_pem)
        return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)

    def _retire(self) -> None:
        for channel in self._channels.values():
            task = asyncio.ensure_future(channel.close(grace=5.0))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._channels.clear()

    async def close(self) -> None:
        """Close all channels at once."""
        self._retire()
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
