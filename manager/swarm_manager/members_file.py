"""`members.json` beside the Raft data: whom this manager started with.

It is written by `init` (itself alone) or when the others have taken it in, before there is any Raft data; so a manager
that lost its data never mistakes itself for a cluster of its own.
"""

import json
import shutil
from collections.abc import Sequence

from swarm_api.identity import write_private

from swarm_manager.config import Settings
from swarm_manager.errors import StartError
from swarm_manager.raft.config import Member


def save_members(settings: Settings, members: Sequence[Member], *, joining: bool) -> None:
    """Remember whom this manager starts with."""
    data = {"joining": joining, "members": [[m.node_id, m.address, m.voter] for m in members]}
    try:
        settings.members_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(settings.members_file, json.dumps(data).encode() + b"\n")
    except OSError as error:
        raise StartError(f"{settings.members_file} cannot be written: {error.strerror or error}") from error


def load_members(settings: Settings) -> tuple[tuple[Member, ...], bool] | None:
    """(members, whether it joined them); None: this manager must ask to be taken in."""
    path = settings.members_file
    try:
        data = json.loads(path.read_bytes())
        return tuple(Member(*entry) for entry in data["members"]), bool(data["joining"])
    except FileNotFoundError:
        if settings.raft_dir.exists() and any(settings.raft_dir.iterdir()):
            raise StartError(
                f"{path} is missing though {settings.raft_dir} holds data: restore it, or demote this manager, move "
                "the data away and promote it again"
            ) from None
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StartError(f"{path} cannot be read ({error}): restore it") from error


def forget(settings: Settings) -> None:
    """Remove what a former membership left: the others have taken this manager out for good."""
    settings.members_file.unlink(missing_ok=True)
    shutil.rmtree(settings.raft_dir, ignore_errors=True)
    shutil.rmtree(settings.key_dir, ignore_errors=True)
