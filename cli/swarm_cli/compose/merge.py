"""Several compose files as one: a later one over an earlier one.

Mappings merge key by key, lists are put together, other values are replaced.  Lists that stand for a mapping
(`environment`, `labels`, ...) merge as one; those with a key of their own (ports, volumes, ...) by that key;
commands are replaced as a whole.
"""

from collections.abc import Callable
from typing import Any

from swarm_cli.compose.reader import Override, Reset

_REPLACED = frozenset({"command", "entrypoint", "test"})
_PAIRS = frozenset({"environment", "labels", "sysctls", "annotations", "extra_hosts", "driver_opts", "args"})
_NAMES = frozenset({"networks", "depends_on"})


def merge(base: Any, over: Any, key: str = "") -> Any:
    """`over` merged into `base`; neither is changed."""
    if isinstance(over, (Reset, Override)):
        return None if isinstance(over, Reset) else over.value
    if over is None:
        return base
    if key in _PAIRS or (key in _NAMES and (isinstance(base, dict) or isinstance(over, dict))):
        base, over = as_mapping(base), as_mapping(over)
    if isinstance(base, dict) and isinstance(over, dict):
        merged = {name: merge(value, over[name], name) if name in over else value for name, value in base.items()}
        merged.update((name, value) for name, value in over.items() if name not in base)
        return {name: value for name, value in merged.items() if not isinstance(over.get(name), Reset)}
    if isinstance(base, list) and isinstance(over, list) and key not in _REPLACED:
        return _merge_lists(base, over, key)
    return over


def as_mapping(value: Any) -> Any:
    """`["A=1", "B"]` as {"A": "1", "B": None}; a mapping as it is."""
    if not isinstance(value, list):
        return value
    return {str(item).partition("=")[0]: str(item).partition("=")[2] if "=" in str(item) else None for item in value}


def _merge_lists(base: list[Any], over: list[Any], key: str) -> list[Any]:
    identity = _IDENTITIES.get(key)
    if identity is None:
        return base + [item for item in over if item not in base]
    merged = {identity(item): item for item in base}
    merged.update((identity(item), item) for item in over)
    return list(merged.values())


def _target(item: Any) -> str:
    """A mount's path in the container, a device's likewise."""
    if isinstance(item, dict):
        return str(item.get("target"))
    parts = str(item).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _source(item: Any) -> str:
    return str(item.get("target") or item.get("source")) if isinstance(item, dict) else str(item)


def _port(item: Any) -> str:
    if isinstance(item, dict):
        return (
            f"{item.get('host_ip', '')}:{item.get('published', '')}:{item.get('target')}/{item.get('protocol', 'tcp')}"
        )
    text = str(item)
    return text if "/" in text else f"{text}/tcp"


_IDENTITIES: dict[str, Callable[[Any], str]] = {
    "volumes": _target,
    "devices": _target,
    "secrets": _source,
    "configs": _source,
    "ports": _port,
}
