"""Volumes and tmpfs of a service as mounts."""

from pathlib import Path
from typing import TYPE_CHECKING

from swarm_api.types_pb2 import Mount

from swarm_cli.compose.load import Project
from swarm_cli.compose.part import Notes, Part, pairs, scalar_text
from swarm_cli.mounts import PROPAGATIONS, check_mount, parse_short_volume, parse_type
from swarm_cli.quantities import parse_mode, parse_size

if TYPE_CHECKING:
    from swarm_cli.compose.convert import Names

_NO_EFFECT_HERE = frozenset({"rw", "consistent", "cached", "delegated"})  # other engines' words: nothing is lost


def mounts(project: Project, names: "Names", part: Part) -> list[Mount]:
    """All mounts of a service."""
    found = []
    for item, position in part.items("volumes"):
        place = Part(item if isinstance(item, dict) else {}, position, part.notes)
        found.append(_short(project, names, item, place) if isinstance(item, str) else _long(project, names, place))
    for item, position in part.items("tmpfs"):
        found.append(_tmpfs(str(item), Part({}, position, part.notes)))
    return found


def _short(project: Project, names: "Names", text: str, place: Part) -> Mount:
    volume = place.parsed(text, parse_short_volume, place.position)
    mount = Mount(target=volume.target)
    if volume.is_path:
        mount.type, mount.source = Mount.BIND, _host_path(project, volume.source)
        mount.bind_create_source = True  # the short form makes a folder that is missing, the long form does not
    else:
        mount.type = Mount.VOLUME
        _name_volume(project, names, mount, volume.source)
    for option in volume.options:
        _apply_option(mount, option, place)
    place.parsed(text, lambda value: check_mount(mount, value), place.position)
    return mount


def _apply_option(mount: Mount, option: str, place: Part) -> None:
    if option == "ro":
        mount.read_only = True
    elif option == "nocopy":
        mount.volume_no_copy = True
    elif option in PROPAGATIONS:
        mount.bind_propagation = option
    elif option in ("z", "Z"):
        place.notes.warn(place.position, f"has the option {option!r} (SELinux), which is not supported yet.")
    elif option not in _NO_EFFECT_HERE:
        raise place.error(f"{option!r} is no option of a volume")


def _host_path(project: Project, source: str) -> str:
    path = Path(source).expanduser()
    return str(path) if path.is_absolute() else str((project.folder / path).resolve())


def _name_volume(project: Project, names: "Names", mount: Mount, short: str) -> None:
    """The full name, driver and labels of a named volume; nothing for an anonymous one."""
    if not short:
        return
    mount.source = names.volumes[short]
    definition = project.section("volumes").get(short, {})
    if definition.get("external"):
        return
    mount.volume_driver = str(definition.get("driver") or "")
    mount.volume_driver_opts.update(
        {key: scalar_text(value) for key, value in (definition.get("driver_opts") or {}).items()}
    )
    mount.volume_labels.update({key: value or "" for key, value in pairs(definition.get("labels")).items()})


def _long(project: Project, names: "Names", part: Part) -> Mount:
    kind = str(part.take("type", "volume"))
    mount = Mount(type=part.parsed(kind, parse_type, (*part.position, "type")), target=str(part.take("target", "")))
    source = str(part.take("source", ""))
    if mount.type == Mount.BIND:
        mount.source = _host_path(project, source)
    elif mount.type == Mount.VOLUME:
        _name_volume(project, names, mount, source)
    else:
        mount.source = source
    mount.read_only = bool(part.take("read_only", False))
    part.take("consistency")
    _bind(mount, part.part("bind"))
    _volume(mount, part.part("volume"))
    _tmpfs_options(mount, part.part("tmpfs"))
    part.finish()
    part.parsed(f"{source}:{mount.target}", lambda text: check_mount(mount, text), part.position)
    return mount


def _bind(mount: Mount, options: Part) -> None:
    mount.bind_propagation = str(options.take("propagation", ""))
    mount.bind_create_source = bool(options.take("create_host_path", False))
    options.finish()


def _volume(mount: Mount, options: Part) -> None:
    mount.volume_no_copy = bool(options.take("nocopy", False))
    mount.volume_subpath = str(options.take("subpath", ""))
    mount.volume_labels.update({key: value or "" for key, value in pairs(options.take("labels")).items()})
    options.finish()


def _tmpfs_options(mount: Mount, options: Part) -> None:
    mount.tmpfs_size_bytes = options.parse("size", parse_size) or 0
    mount.tmpfs_mode = options.parse("mode", parse_mode) or 0
    options.finish()


def _tmpfs(text: str, place: Part) -> Mount:
    """`/run` or `/run:size=64m,mode=1777`."""
    target, _, options = text.partition(":")
    mount = Mount(type=Mount.TMPFS, target=target)
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "size":
            mount.tmpfs_size_bytes = place.parsed(value, parse_size, place.position)
        elif key == "mode":
            mount.tmpfs_mode = place.parsed(value, parse_mode, place.position)
        elif key == "ro":
            mount.read_only = True
        elif key != "rw":
            place.notes.warn(place.position, f"has the option {option!r}, which is not supported yet.")
    place.parsed(text, lambda value: check_mount(mount, value), place.position)
    return mount


def note_volumes(project: Project, notes: Notes) -> None:
    """Name what the definitions of volumes have that is not supported."""
    for short, definition in project.section("volumes").items():
        part = Part(definition, ("volumes", short), notes)
        for key in ("name", "external", "driver", "driver_opts", "labels"):
            part.take(key)
        part.finish()
