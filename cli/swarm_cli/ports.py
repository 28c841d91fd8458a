"""Published ports, as `--publish` and compose's `ports` write them."""

import ipaddress
import re

from swarm_api.types_pb2 import PortConfig

from swarm_cli.fields import parse_fields

_MAX_RANGE = 1024
_FIELDS = ("target", "published", "protocol", "mode", "name", "host_ip")
_ALIASES = {"source": "published", "src": "published", "dst": "target", "destination": "target"}


def parse_publish(text: str) -> list[PortConfig]:
    """`8080:80`, `80`, `53:53/udp`, `8000-8002:80-82`, or `published=8080,target=80,protocol=tcp,mode=host`."""
    if "=" in text:
        return _long(text)
    ports, host_ip = parse_short(text)
    _refuse_address(text, host_ip)
    return ports


def is_any_address(host_ip: str) -> bool:
    """Whether it means all addresses of a node: 0.0.0.0 or [::]."""
    return ipaddress.ip_address(host_ip).is_unspecified


def _refuse_address(text: str, host_ip: str) -> None:
    """A port of the mesh answers everywhere: to open it in silence would betray who wrote 127.0.0.1."""
    if host_ip and not is_any_address(host_ip):
        raise ValueError(
            f"{text!r} names a host address, but a published port answers on all addresses of all nodes: leave it out, "
            f"or write published=...,target=...,mode=host,host_ip={host_ip} for the task's node alone."
        )


def parse_short(text: str) -> tuple[list[PortConfig], str]:
    """The ports of `[HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]`, and the host address ("" when there is none)."""
    spec, slash, protocol_text = text.strip().partition("/")
    protocol = parse_protocol(protocol_text if slash else "tcp")
    published_text, target_text, host_ip = _split(spec, text)
    targets = parse_range(target_text, text)
    published = parse_range(published_text, text) if published_text else [0] * len(targets)
    if len(published) != len(targets):
        if len(targets) != 1:
            raise ValueError(f"In {text!r} the two ranges differ in length.")
        raise ValueError(f"In {text!r} one port is published as a range; name one published port, or none.")
    ports = [
        PortConfig(protocol=protocol, target_port=target, published_port=outer)
        for target, outer in zip(targets, published, strict=True)
    ]
    return ports, host_ip


def _split(spec: str, text: str) -> tuple[str, str, str]:
    outer, _, target = spec.rpartition(":")
    host_ip, colon, published = outer.rpartition(":")
    if colon:
        host_ip = host_ip.strip("[]")
        try:
            ipaddress.ip_address(host_ip)
        except ValueError:
            raise ValueError(f"{text!r} is no port: {host_ip!r} is no IP address.") from None
    return published, target, host_ip


def parse_range(text: str, whole: str) -> list[int]:
    """`80` or `8000-8010` as a list of ports."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text.strip())
    if match is None:
        raise ValueError(f"{whole!r} is no port: write TARGET, PUBLISHED:TARGET or PUBLISHED:TARGET/udp.")
    first, last = int(match.group(1)), int(match.group(2) or match.group(1))
    if not 0 < first <= last < 65536:
        raise ValueError(f"{whole!r} is no port: ports are 1 to 65535, and a range goes upwards.")
    if last - first >= _MAX_RANGE:
        raise ValueError(f"{whole!r} names more than {_MAX_RANGE} ports.")
    return list(range(first, last + 1))


def parse_protocol(text: str) -> PortConfig.Protocol.ValueType:
    """`tcp`, `udp` or `sctp`."""
    if text.lower() not in ("tcp", "udp", "sctp"):
        raise ValueError(f"{text!r} is no protocol of a port: use tcp, udp or sctp.")
    return PortConfig.Protocol.Value(text.upper())


def parse_publish_mode(text: str) -> PortConfig.PublishMode.ValueType:
    """`ingress` (every node answers) or `host` (the task's node answers)."""
    if text.lower() not in ("ingress", "host"):
        raise ValueError(f"{text!r} is no mode of a port: use ingress or host.")
    return PortConfig.PublishMode.Value(text.upper())


def _long(text: str) -> list[PortConfig]:
    fields = parse_fields(text, "--publish", _FIELDS, _ALIASES)
    if "target" not in fields:
        raise ValueError(f"{text!r} lacks target=PORT, the port in the container.")
    mode = parse_publish_mode(fields.get("mode", "ingress"))
    host_ip = _address(text, fields.get("host_ip", ""))
    if mode == PortConfig.INGRESS:
        _refuse_address(text, host_ip)
    targets = parse_range(fields["target"], text)
    published = parse_range(fields["published"], text) if fields.get("published", "0") != "0" else [0] * len(targets)
    if len(published) != len(targets):
        raise ValueError(f"In {text!r} the two ranges differ in length.")
    return [
        PortConfig(
            name=fields.get("name", ""),
            protocol=parse_protocol(fields.get("protocol", "tcp")),
            target_port=target,
            published_port=outer,
            publish_mode=mode,
            host_ip=host_ip,
        )
        for target, outer in zip(targets, published, strict=True)
    ]


def _address(text: str, host_ip: str) -> str:
    """The host address to bind; "" where that is any."""
    if not host_ip:
        return ""
    try:
        return "" if is_any_address(host_ip) else str(ipaddress.ip_address(host_ip))
    except ValueError:
        raise ValueError(f"{text!r} is no port: {host_ip!r} is no IP address.") from None
