"""The exceptions of the node's networking. Each one's text is one sentence: what failed, why, what to do.

    NetworkError
        BridgeError     the engine could not make, list or remove a bridge network (raised by the BridgeDriver)
        KernelError     the kernel refused a device, an entry or a setting
        ProgramError    nft, conntrack, iptables or modprobe failed or is missing
        ResolverError   the resolver process could not be started or does not answer

They never leave NodeNetwork: apply() turns each into a Problem and goes on with the rest.
"""

from dataclasses import dataclass


class NetworkError(Exception):
    """Something of the node's networking could not be made as wanted."""


class BridgeError(NetworkError):
    """The engine refused, or did not answer."""


class KernelError(NetworkError):
    """The kernel refused."""


class ProgramError(NetworkError):
    """A system program failed."""


class ResolverError(NetworkError):
    """The resolver is not there."""


@dataclass(frozen=True)
class Problem:
    """Why the node's network is not (wholly) as wanted: one sentence for people."""

    message: str
    network_id: str = ""  # empty: it concerns more than one network

    def __str__(self) -> str:
        return self.message
