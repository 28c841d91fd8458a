"""Channels to the managers' API, as this node: mutual TLS with the certificate it has now."""

import asyncio
from collections.abc import Callable

import grpc
from swarm_api.identity import NodeCredentials

MANAGER_NAME = "swarm-manager"  # in every manager's certificate
_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.ssl_target_name_override", MANAGER_NAME),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # a whole set of assignments
    ("grpc.http2.bdp_probe", 0),  # a ping to measure the line with each heartbeat; a fixed window is enough
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
)
CONNECT_S = 2.0


def open_channel(address: str, credentials: NodeCredentials, connect_s: float = CONNECT_S) -> grpc.aio.Channel:
    """A channel to the manager at `host:port`; it connects with its first call, which may take `connect_s`."""
    tls = grpc.ssl_channel_credentials(credentials.ca_pem, credentials.key_pem, credentials.certificate_pem)
    connecting = ("grpc.min_reconnect_backoff_ms", int(connect_s * 1000))  # in spite of its name: how long it may take
    return grpc.aio.secure_channel(address, tls, (*_OPTIONS, connecting))


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Why a call failed, for people: what the manager said, or that it cannot be reached.  No full stop."""
    text = (error.details() or error.code().name).rstrip(".")
    if not text.startswith("failed to connect to all addresses"):
        return text
    last = text.rpartition(": ")[2]
    return "no answer" if last == "tcp handshaker shutdown" else f"cannot be reached ({last})"


class ChannelPool:
    """One channel for each manager, kept while the certificate stays the same."""

    def __init__(self, opener: Callable[[str], grpc.aio.Channel]) -> None:
        self._open = opener
        self._channels: dict[str, grpc.aio.Channel] = {}

    def to(self, address: str) -> grpc.aio.Channel:
        """The channel to this manager."""
        if address not in self._channels:
            self._channels[address] = self._open(address)
        return self._channels[address]

    def is_connected(self, address: str) -> bool:
        """Whether the channel to this manager has a connection, as far as anybody noticed."""
        channel = self._channels.get(address)
        return channel is not None and channel.get_state() is grpc.ChannelConnectivity.READY

    async def drop(self, address: str) -> None:
        """Close the channel to this manager: the next call connects anew."""
        channel = self._channels.pop(address, None)
        if channel:
            await channel.close(None)

    async def close(self) -> None:
        """Close all of them."""
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.close(None) for channel in channels))
