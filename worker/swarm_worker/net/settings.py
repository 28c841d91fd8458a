"""The kernel's own switches that overlay networks, VIPs and published ports stand on."""

from pathlib import Path

from swarm_worker.net.errors import KernelError, ProgramError
from swarm_worker.net.programs import run

_PROC = Path("/proc/sys/net")
_BRIDGE_FILTER = "bridge/bridge-nf-call-iptables"
_FORWARDING = "ipv4/ip_forward"


def ensure_bridge_filtering() -> None:
    """Have bridged packets pass nftables, as VIPs need: client and endpoint are on the same bridge.

    Raises KernelError when the kernel cannot.
    """
    if not (_PROC / _BRIDGE_FILTER).exists():
        try:
            run(["modprobe", "br_netfilter"])
        except ProgramError as error:
            raise KernelError(
                f"Virtual addresses do not work: the kernel has no br_netfilter module ({error})"
            ) from error
    _ensure(_BRIDGE_FILTER, "1", "virtual addresses of services")


def ensure_forwarding() -> None:
    """Have the node forward packets, as published ports need. Raises KernelError."""
    _ensure(_FORWARDING, "1", "published ports")


def ensure_localhost_routing(bridge: str) -> None:
    """Let answers to 127.0.0.1:PORT come back over this bridge (ingress guards 127.0.0.0/8 against containers)."""
    _ensure(f"ipv4/conf/{bridge}/route_localnet", "1", "published ports on 127.0.0.1")


def _ensure(name: str, value: str, purpose: str) -> None:
    path = _PROC / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
        now = path.read_text().strip()
    except OSError as error:
        raise KernelError(
            f"The kernel setting {path} could not be set to {value} for {purpose}: {error.strerror}."
        ) from error
    if now != value:
        raise KernelError(f"The kernel setting {path} stays {now}, but {purpose} need {value}.")
