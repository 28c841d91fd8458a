"""Mounts, as `--mount` and compose's short `volumes` write them."""

import re
from dataclasses import dataclass

from swarm_api.types_pb2 import Mount

from swarm_cli.fields import parse_fields, split_pair
from swarm_cli.quantities import parse_bool, parse_mode, parse_size

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_FIELDS = (
    "type",
    "source",
    "target",
    "readonly",
    "consistency",
    "bind-propagation",
    "bind-create-src",
    "volume-nocopy",
    "volume-driver",
    "volume-subpath",
    "tmpfs-size",
    "tmpfs-mode",
)
_REPEATED = ("volume-label", "volume-opt")


def parse_mount(text: str) -> Mount:
    """`type=volume,source=data,target=/data[,readonly,...]`."""
    plain, repeated = _take_repeated(text)
    fields = parse_fields(plain, "--mount", _FIELDS, _ALIASES)
    mount = Mount(type=parse_type(fields.get("type", "volume")), source=fields.get("source", ""))
    mount.target = fields.get("target", "")
    mount.read_only = parse_bool(fields.get("readonly", "false"))
    mount.bind_propagation = fields.get("bind-propagation", "")
    mount.bind_create_source = parse_bool(fields.get("bind-create-src", "false"))
    mount.volume_no_copy = parse_bool(fields.get("volume-nocopy", "false"))
    mount.volume_driver = fields.get("volume-driver", "")
    mount.volume_subpath = fields.get("volume-subpath", "")
    mount.tmpfs_size_bytes = parse_size(fields.get("tmpfs-size", "0"))
    mount.tmpfs_mode = parse_mode(fields.get("tmpfs-mode", "0"))
    mount.volume_labels.update(repeated["volume-label"])
    mount.volume_driver_opts.update(repeated["volume-opt"])
    check_mount(mount, text)
    return mount


def parse_type(text: str) -> Mount.Type.ValueType:
    """`bind`, `volume`, `tmpfs` or `image`."""
    if text.lower() not in ("bind", "volume", "tmpfs", "image"):
        raise ValueError(f"{text!r} is no type of a mount: use volume, bind, tmpfs or image.")
    return Mount.Type.Value(text.upper())


def check_mount(mount: Mount, text: str) -> None:
    """ValueError where the parts do not go together."""
    if not mount.target.startswith("/"):
        raise ValueError(f"The mount {text!r} needs an absolute target path in the container.")
    if mount.type == Mount.BIND and not mount.source.startswith("/"):
        raise ValueError(f"The mount {text!r} needs an absolute source path on the nodes.")
    if mount.type == Mount.TMPFS and mount.source:
        raise ValueError(f"The mount {text!r} is a tmpfs, which has no source.")
    if mount.bind_propagation and mount.bind_propagation not in PROPAGATIONS:
        raise ValueError(f"{mount.bind_propagation!r} is no propagation: use one of {', '.join(PROPAGATIONS)}.")


def _take_repeated(text: str) -> tuple[str, dict[str, list[tuple[str, str]]]]:
    """Fields that may come several times, and whose values hold an equals sign, are read apart."""
    repeated: dict[str, list[tuple[str, str]]] = {name: [] for name in _REPEATED}
    rest = []
    for part in re.split(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", text):
        name, _, value = part.strip().strip('"').partition("=")
        if name in repeated:
            repeated[name].append(split_pair(value, name))
        else:
            rest.append(part)
    return ",".join(rest), repeated


@dataclass(frozen=True, slots=True)
class ShortVolume:
    """`[SOURCE:]TARGET[:OPTIONS]` taken apart; `source` is empty for an anonymous volume."""

    source: str
    target: str
    options: tuple[str, ...]

    @property
    def is_path(self) -> bool:
        """Whether the source is a path on the nodes rather than a volume's name."""
        return self.source.startswith(("/", ".", "~"))


def parse_short_volume(text: str) -> ShortVolume:
    """Compose's and `docker run -v`'s form; ValueError when a part is empty or there are too many."""
    parts = text.split(":")
    if any(not part for part in parts):
        raise ValueError(f"{text!r} is no volume: a part between colons is empty.")
    if len(parts) == 1:
        return ShortVolume("", parts[0], ())
    if len(parts) > 3:
        raise ValueError(f"{text!r} is no volume: write SOURCE:TARGET or SOURCE:TARGET:ro.")
    return ShortVolume(parts[0], parts[1], tuple(parts[2].split(",")) if len(parts) == 3 else ())
