"""The node's daemon."""

import json
import os
from pathlib import Path

from swarm_api import defaults
from swarm_api.access import RUN_DIR_VARIABLE, STATE_DIR_VARIABLE

from swarm_cli.session import Session


def state_dir(session: Session) -> Path:
    """Where this node keeps its data."""
    return Path(session.state_dir or os.environ.get(STATE_DIR_VARIABLE) or defaults.STATE_DIR)


def run_dir(session: Session) -> Path:
    """Where this node's sockets are."""
    return Path(session.run_dir or os.environ.get(RUN_DIR_VARIABLE) or defaults.RUN_DIR)


def local_node_id(session: Session) -> str:
    """The id of the node this machine is; empty when it is none, or when only root may know."""
    try:
        document = json.loads((state_dir(session) / "node" / "node.json").read_text())
    except (OSError, ValueError):
        return ""
    return str(document.get("node_id", "")) if isinstance(document, dict) else ""
