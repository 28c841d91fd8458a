"""Networks: of the file, and of a service."""

from typing import TYPE_CHECKING, Any

from swarm_api.specs_pb2 import IpamConfig, NetworkSpec
from swarm_api.types_pb2 import NetworkAttachmentConfig

from swarm_cli.compose.part import Part, pairs, scalar_text

if TYPE_CHECKING:
    from swarm_cli.compose.convert import Names

_REPLACED_DRIVERS = ("bridge", "default")


def network_spec(name: str, part: Part) -> NetworkSpec:
    """A network of the stack."""
    spec = NetworkSpec(driver=_driver(part))
    spec.annotations.name = name
    spec.annotations.labels.update({key: value or "" for key, value in pairs(part.take("labels")).items()})
    spec.driver_opts.update({key: scalar_text(value) for key, value in part.take("driver_opts", {}).items()})
    spec.internal = bool(part.take("internal", False))
    spec.attachable = bool(part.take("attachable", False))
    spec.ipv6 = bool(part.take("enable_ipv6", False))
    if part.take("enable_ipv4", True) is False:
        part.notes.warn((*part.position, "enable_ipv4"), "is not supported yet: the network has IPv4, too.")
    ipam = part.part("ipam")
    if ipam.take("driver", "default") != "default":
        ipam.notes.warn((*ipam.position, "driver"), "has no effect: the cluster gives the addresses itself.")
    for item, position in ipam.items("config"):
        spec.ipam.append(_ipam(Part(item, position, part.notes)))
    ipam.finish()
    for key in ("name", "external"):
        part.take(key)
    part.finish()
    return spec


def _driver(part: Part) -> str:
    driver = str(part.take("driver", "overlay"))
    if driver in _REPLACED_DRIVERS:
        part.notes.warn((*part.position, "driver"), f"is {driver!r}: the network becomes an overlay, on all nodes.")
        return "overlay"
    return driver


def _ipam(part: Part) -> IpamConfig:
    config = IpamConfig(
        subnet=part.take("subnet", ""), ip_range=part.take("ip_range", ""), gateway=part.take("gateway", "")
    )
    config.reserved.update({key: str(value) for key, value in part.take("aux_addresses", {}).items()})
    part.finish()
    return config


def attachments(names: "Names", short: str, part: Part) -> list[NetworkAttachmentConfig]:
    """The networks a service joins; its own short name is an alias in each, as in Docker."""
    mode = part.take("network_mode")
    if mode is not None and "networks" in part:
        raise part.error("'network_mode' and 'networks' cannot go together")
    if mode is not None and mode not in _REPLACED_DRIVERS:
        part.notes.warn(
            (*part.position, "network_mode"), f"is {mode!r}, which is not supported yet: the default network is used."
        )
    written: Any = part.take("networks", {"default": None})
    wanted = dict.fromkeys(written) if isinstance(written, list) else written or {"default": None}
    return [
        _attachment(names.networks[name], short, Part(options, (*part.position, "networks", name), part.notes))
        for name, options in sorted(wanted.items(), key=lambda item: -((item[1] or {}).get("priority") or 0))
    ]


def _attachment(target: str, short: str, options: Part) -> NetworkAttachmentConfig:
    aliases = dict.fromkeys([short, *options.take("aliases", [])])
    options.take("priority")
    options.finish()
    return NetworkAttachmentConfig(target=target, aliases=aliases)
