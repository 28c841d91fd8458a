"""What carries frames between managers: a protocol, so that a simulated network can stand in for TLS.

A link joins two managers; at most one per pair is up.  It delivers whole frames in order, or goes down.  The
peer's id was proven (by its certificate) before `link_up`; whether it may take part is the handler's
business.
"""

from collections.abc import Mapping
from typing import Protocol


class LinkHandler(Protocol):
    """Who is told what happens on the links; called on the Raft thread."""

    def link_up(self, peer: str) -> None: ...
    def link_down(self, peer: str) -> None: ...
    def frame_received(self, peer: str, frame: bytes) -> None: ...


class Links(Protocol):
    """All links of one manager."""

    def open(self, handler: LinkHandler) -> None:
        """Begin to listen; OSError when the address cannot be bound."""

    def set_peers(self, addresses: Mapping[str, str]) -> None:
        """Keep links to exactly these managers (id: IP:port); links to others stay until they are dropped."""

    def send(self, peer: str, *frames: bytes) -> bool:
        """Queue these frames; False when there is no link."""

    def backlog_bytes(self, peer: str) -> int:
        """What is queued for this peer and not yet handed to the system."""

    def drop(self, peer: str, reason: str) -> None:
        """Close the link, after what is queued if possible."""

    def tick(self) -> float:
        """Dial, ping and give up as due; the clock time at which to be called again."""

    def close(self) -> None:
        """Stop listening and close every link."""
