"""Placement in the environment, as classic Swarm had it: `-e constraint:node==n2`, `-e affinity:container!=*db*`.

Such variables say where a task goes; they are taken out of the environment and put into the placement.

    constraint:node==PATTERN          the node's host name, or its id
    constraint:storagedriver==...     also kernelversion, ostype; any other word is a label of the engine
    affinity:container==PATTERN       also service and image; any other word is a label of the containers
    reschedule:on-node-failure|off    whether others take over from a node that is lost

`==~` and `!=~` are soft.
"""

import re
from collections.abc import Callable

from swarm_api.affinities import affinity_from_text
from swarm_api.constraints import parse_constraint
from swarm_api.specs_pb2 import TaskSpec

_FORM = re.compile(r"(?P<what>constraint|affinity|reschedule):(?P<rest>.+)")
_CONSTRAINT = re.compile(r"(?P<key>[^=!]+?)\s*(?P<rest>[=!]=.+)")
_KEYS = {
    "node": "node.hostname",
    "storagedriver": "engine.storagedriver",
    "kernelversion": "engine.kernelversion",
    "ostype": "node.platform.os",
}
_RESCHEDULE = {"on-node-failure": TaskSpec.REPLACE, "off": TaskSpec.KEEP}
_ID = re.compile(r"[=!]=~?[0-9a-z]{25}")


def take_placement(task: TaskSpec, rename: Callable[[str], str] = str) -> None:
    """Move what is placement from the task's environment to its placement.

    `rename`: the full name of a service that is known by a short one.  ValueError names what cannot be read.
    """
    kept = [line for line in task.container.env if not _taken(task, line, rename)]
    task.container.env[:] = kept


def _taken(task: TaskSpec, line: str, rename: Callable[[str], str]) -> bool:
    found = _FORM.fullmatch(line)
    if found is None:
        return False
    what, rest = found["what"], found["rest"]
    if what == "constraint":
        text = constraint_text(rest)
        if text not in task.placement.constraints:
            task.placement.constraints.append(text)
    elif what == "affinity":
        affinity = affinity_from_text(rest)
        if affinity.kind in ("service", "container") and rename(affinity.pattern) != affinity.pattern:
            affinity.kind, affinity.pattern = "service", rename(affinity.pattern)
        if affinity not in task.placement.affinities:
            task.placement.affinities.append(affinity)
    elif rest in _RESCHEDULE:
        task.on_disconnect = _RESCHEDULE[rest]
    else:
        raise ValueError(f"{line!r} is no reschedule policy; use reschedule:on-node-failure or reschedule:off.")
    return True


def constraint_text(text: str) -> str:
    """Classic Swarm's constraint as one of ours; ValueError when it cannot be read."""
    found = _CONSTRAINT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"The constraint {text!r} is not of the form KEY==VALUE or KEY!=VALUE.")
    key, rest = found["key"].strip(), found["rest"]
    if key == "operatingsystem":
        raise ValueError("The constraint operatingsystem is not known here; label the nodes, or use node.platform.os.")
    if key == "node" and _ID.fullmatch(rest):
        key = "node.id"
    elif key.partition(".")[0] not in ("node", "engine") or key == "node":
        key = _KEYS.get(key, f"engine.labels.{key}")
    parse_constraint(f"{key}{rest}")
    return f"{key}{rest}"
