"""Addresses as people and certificates of the cluster write them: `host:port`."""

import ipaddress
import socket

from swarm_api.defaults import API_PORT

from swarm_worker.errors import JoinError


def with_port(address: str, what: str) -> str:
    """`address` with the API's port where it names none; JoinError when it is no address."""
    host, port = split(address, what)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str, what: str = "address") -> tuple[str, int]:
    """(host, port) of `host`, `host:port`, `v6` or `[v6]:port`; JoinError names `what` when it is none of them."""
    text = address.strip()
    if _is_v6(text):
        return text, API_PORT
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(API_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65535 or "/" in host:
        raise JoinError(f"{address!r} is no {what}: write HOST or HOST:PORT, for example 10.0.0.1:{API_PORT}.")
    return host, int(port)


def local_address_towards(remote_host: str, port: int) -> str:
    """The local address this machine's packets to `remote_host` leave from. JoinError when there is no way there."""
    try:
        family, kind, proto, _, target = socket.getaddrinfo(remote_host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(target)  # sends nothing: UDP
            return str(probe.getsockname()[0])
    except OSError as error:
        raise JoinError(
            f"The address of this machine towards {remote_host} cannot be found ({error.strerror or error}): "
            "give it with --advertise-addr."
        ) from error


def is_on_this_machine(address: str) -> bool:
    """Whether an interface of this machine has the address of `host:port`."""
    host, _ = split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def check_local(address: str, *, may_be_forwarded: bool) -> None:
    """Raise JoinError when other nodes could not reach this machine by `address`.

    It is one of this machine's own, or something in between forwards it: a typing error looks the same, so who means
    that says where the manager listens, which is what `may_be_forwarded` is.
    """
    host, _ = split(address, "advertise address")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return
    if ip.is_unspecified:
        raise JoinError(
            f"{host} is no address that other nodes can reach: give this machine's own with --advertise-addr."
        )
    if not may_be_forwarded and not is_on_this_machine(address):
        raise JoinError(
            f"{host} is no address of this machine ('ip -brief address' lists them): give one that is with "
            "--advertise-addr, or, if something forwards that address to this machine, say so with --listen-addr."
        )


def is_ip(host: str) -> bool:
    """Whether this is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_v6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
