"""Secrets and configs: of the file, and what a service takes of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_api import defaults
from swarm_api.specs_pb2 import ConfigSpec, SecretSpec
from swarm_api.types_pb2 import ConfigReference, FileTarget, SecretReference

from swarm_cli.compose.load import Project
from swarm_cli.compose.part import Part, pairs
from swarm_cli.quantities import parse_mode

if TYPE_CHECKING:
    from swarm_cli.compose.convert import Names

_DEFAULT_MODE = 0o444
SECRETS_FOLDER = "/run/secrets/"


def secret_spec(project: Project, name: str, part: Part) -> SecretSpec:
    """A secret of the stack, with its data."""
    spec = SecretSpec(data=_data(project, part, "secret"))
    _annotate(spec, name, part)
    return spec


def config_spec(project: Project, name: str, part: Part) -> ConfigSpec:
    """A config of the stack, with its data."""
    spec = ConfigSpec(data=_data(project, part, "config"))
    _annotate(spec, name, part)
    return spec


def _annotate(spec: SecretSpec | ConfigSpec, name: str, part: Part) -> None:
    spec.annotations.name = name
    spec.annotations.labels.update({key: value or "" for key, value in pairs(part.take("labels")).items()})
    driver = part.take("template_driver")
    if driver not in (None, "golang"):
        raise part.error(f"the template driver {driver!r} is not known; golang is", (*part.position, "template_driver"))
    spec.templating = driver == "golang"
    for key in ("name", "external"):
        part.take(key)
    part.finish()


def _data(project: Project, part: Part, what: str) -> bytes:
    sources = [key for key in ("file", "environment", "content") if key in part]
    if len(sources) != 1:
        raise part.error(f"a {what} has exactly one of 'file', 'environment' and 'content', or is 'external'")
    value = str(part.take(sources[0]))
    data = {"file": _from_file, "environment": _from_environment, "content": _from_content}[sources[0]](
        project, part, value
    )
    if len(data) > defaults.MAX_SECRET_SIZE_BYTES:
        raise part.error(f"it is {len(data)} bytes long; at most {defaults.MAX_SECRET_SIZE_BYTES} are allowed")
    return data


def _from_file(project: Project, part: Part, value: str) -> bytes:
    path = project.folder / Path(value).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        raise part.error(f"the file {path} cannot be read ({error.strerror})", (*part.position, "file")) from error


def _from_environment(project: Project, part: Part, value: str) -> bytes:
    found = project.lookup(value)
    if found is None:
        raise part.error(f"the variable {value} is not set", (*part.position, "environment"))
    return found.encode()


def _from_content(project: Project, part: Part, value: str) -> bytes:
    del project, part
    return value.encode()


def secret_references(names: "Names", part: Part) -> list[SecretReference]:
    """The secrets a service takes; each is a file below /run/secrets unless a target says otherwise."""
    return [
        SecretReference(secret_name=names.secrets[source], target=target)
        for source, target in _references(part, "secrets", SECRETS_FOLDER)
    ]


def config_references(names: "Names", part: Part) -> list[ConfigReference]:
    """The configs a service takes; each is a file in / unless a target says otherwise."""
    return [
        ConfigReference(config_name=names.configs[source], target=target)
        for source, target in _references(part, "configs", "/")
    ]


def _references(part: Part, key: str, folder: str) -> list[tuple[str, FileTarget]]:
    return [_reference(item, Part({}, position, part.notes), folder) for item, position in part.items(key)]


def _reference(item: Any, place: Part, folder: str) -> tuple[str, FileTarget]:
    long = Part({"source": item} if isinstance(item, str) else item, place.position, place.notes)
    source = str(long.take("source", ""))
    target = str(long.take("target", source))
    mode = long.parse("mode", parse_mode)
    reference = FileTarget(
        name=target if target.startswith("/") else folder + target,
        uid=str(long.take("uid", "0")),
        gid=str(long.take("gid", "0")),
        mode=_DEFAULT_MODE if mode is None else mode,
    )
    long.finish()
    return source, reference
