"""Is this a compose file?  First the compose-spec's own schema, then what a schema cannot say.

Errors name the file and line, the path, and what is wrong there; an unknown key comes with the one that was
probably meant.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from swarm_cli.compose.interpolate import path_text
from swarm_cli.compose.reader import Document, Position
from swarm_cli.errors import ComposeError
from swarm_cli.mounts import parse_short_volume

if TYPE_CHECKING:
    from jsonschema import Draft7Validator, ValidationError

_TYPES = {
    "object": "a mapping (key: value)",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}


@cache
def _validator() -> "Draft7Validator":
    from jsonschema import Draft7Validator

    return Draft7Validator(json.loads(files("swarm_cli.compose").joinpath("schema.json").read_text()))


def check_shape(document: Document, data: Any) -> None:
    """ComposeError unless the data has a compose file's shape."""
    if not isinstance(data, dict):
        what = "empty" if data is None else f"{_TYPES[_type_name(data)]}, not a mapping"
        raise ComposeError(f"{document.path} is no compose file: it is {what}; it must have 'services:' at its top.")
    if "services" not in data and "include" not in data and not _has_section(data):
        hint = "; a file of version 1 must put its services below 'services:'" if _looks_like_v1(data) else ""
        raise ComposeError(f"{document.path} is no compose file: it has no 'services:'{hint}.")
    error = _best(_validator().iter_errors(data))
    if error is not None:
        raise ComposeError(_sentence(document, error))


def _has_section(data: Mapping[str, Any]) -> bool:
    return any(key in data for key in ("networks", "volumes", "secrets", "configs"))


def _looks_like_v1(data: Mapping[str, Any]) -> bool:
    return any(isinstance(value, dict) and ("image" in value or "build" in value) for value in data.values())


def _best(errors: "Iterator[ValidationError]") -> "ValidationError | None":
    """The first error in the file's order, taken down to what is wrong inside an 'either this or that'."""
    found = sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])
    return _innermost(found[0]) if found else None


def _innermost(error: "ValidationError") -> "ValidationError":
    while error.context:
        deeper = max(error.context, key=lambda inner: (len(inner.absolute_path), inner.validator != "type"))
        if len(deeper.absolute_path) <= len(error.absolute_path) and deeper.validator == "type":
            return error
        error = deeper
    return error


def _sentence(document: Document, error: "ValidationError") -> str:
    position: Position = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        return _unknown_key(document, error, position)
    return f"{document.where(position)}: {path_text(position)} {_complaint(error)}."


def _unknown_key(document: Document, error: "ValidationError", position: Position) -> str:
    schema: Any = error.schema
    known = list(schema.get("properties", ()))
    unknown = next((key for key in list(_any(error.instance)) if key not in known and not key.startswith("x-")), "?")
    near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.6)
    place = path_text((*position, unknown))
    hint = f"; did you mean {near[0]!r}?" if near else "; own keys begin with 'x-'."
    if not known:
        hint = "; names are of letters, digits, '.', '_' and '-'."
    return f"{document.where((*position, unknown))}: {place} is no key of the compose format{hint}"


def _complaint(error: "ValidationError") -> str:
    allowed = _any(error.validator_value)
    if error.validator == "type":
        return f"must be {_type_text(error.validator_value)}, not {_type_text(_type_name(error.instance))}"
    if error.validator in ("oneOf", "anyOf"):
        kinds = [option.get("type") for option in allowed if isinstance(option.get("type"), str)]
        if kinds:
            return f"must be {' or '.join(_type_text(kind) for kind in kinds)}"
        return f"has a form the format does not know ({str(error.instance)[:60]})"
    if error.validator == "enum":
        return f"is {error.instance!r}; it must be one of {', '.join(map(str, allowed))}"
    if error.validator == "pattern":
        return f"is {error.instance!r}, which does not have the right form"
    if error.validator == "required":
        return f"lacks a key: {error.message}"
    if error.validator == "uniqueItems":
        return "has the same item twice"
    return error.message[:200]


def _any(value: object) -> Any:
    """The stubs say "perhaps unset", which these attributes of a reported error never are."""
    return value


def _type_text(kind: Any) -> str:
    kinds = kind if isinstance(kind, list) else [kind]
    return " or ".join(_TYPES.get(one, str(one)) for one in kinds)


def _type_name(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return names.get(type(value), "null")


def check_references(document: Document, data: Mapping[str, Any]) -> None:
    """ComposeError when a service names what is not there, or depends on itself."""
    services = data.get("services") or {}
    for name, service in services.items():
        _check_service(document, data, name, service)
    cycle = _find_cycle({name: list(dependencies(service)) for name, service in services.items()})
    if cycle:
        raise ComposeError(f"{document.path}: services depend on each other in a circle: {' -> '.join(cycle)}.")


def _check_service(document: Document, data: Mapping[str, Any], name: str, service: Mapping[str, Any]) -> None:
    def missing(key: str, kind: str, wanted: str) -> ComposeError:
        where = document.where(("services", name, key))
        return ComposeError(
            f"{where}: services.{name}.{key} names the {kind} {wanted!r}, which the file does not define."
        )

    if not service.get("image") and not service.get("build") and not service.get("provider"):
        raise ComposeError(f"{document.where(('services', name))}: services.{name} has neither an image nor a build.")
    for dependency, condition in dependencies(service).items():
        if dependency not in (data.get("services") or {}) and condition.get("required", True):
            raise missing("depends_on", "service", dependency)
    for key, target in _named_services(service):
        if target not in (data.get("services") or {}):
            raise missing(key, "service", target)
    for network in network_names(service):
        if network not in (data.get("networks") or {}) and network != "default":
            raise missing("networks", "network", network)
    try:
        volumes = named_volumes(service)
    except ValueError as error:
        raise ComposeError(
            f"{document.where(('services', name, 'volumes'))}: services.{name}.volumes: {error}"
        ) from error
    for volume in volumes:
        if volume not in (data.get("volumes") or {}):
            raise missing("volumes", "volume", volume)
    for key, kind in (("secrets", "secret"), ("configs", "config")):
        for reference in service.get(key) or ():
            source = reference if isinstance(reference, str) else reference.get("source", "")
            if source not in (data.get(key) or {}):
                raise missing(key, kind, source)


def dependencies(service: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`depends_on` in its long form, whichever was written."""
    written = service.get("depends_on") or {}
    if isinstance(written, list):
        return {name: {"condition": "service_started"} for name in written}
    return dict(written)


def _named_services(service: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The services that other keys than `depends_on` name, with the key."""
    named = [("links", str(link).partition(":")[0]) for link in service.get("links") or ()]
    for key in ("network_mode", "ipc", "pid"):
        kind, _, target = str(service.get(key) or "").partition(":")
        if kind == "service":
            named.append((key, target))
    return named


def network_names(service: Mapping[str, Any]) -> list[str]:
    """The networks a service names."""
    return list(service.get("networks") or ())


def named_volumes(service: Mapping[str, Any]) -> list[str]:
    """The named volumes a service mounts; ValueError for one that cannot be read."""
    names = []
    for volume in service.get("volumes") or ():
        if isinstance(volume, str):
            short = parse_short_volume(volume)
            if short.source and not short.is_path:
                names.append(short.source)
        elif volume.get("type") == "volume" and volume.get("source"):
            names.append(volume["source"])
    return names


def _find_cycle(graph: Mapping[str, list[str]]) -> list[str]:
    done: set[str] = set()
    for start in graph:
        trail: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            node, depth = stack.pop()
            del trail[depth:]
            if node in trail:
                return [*trail[trail.index(node) :], node]
            trail.append(node)
            if node not in done:
                stack.extend((following, depth + 1) for following in graph.get(node, ()))
                done.add(node)
    return []
