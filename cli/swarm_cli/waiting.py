"""Waiting for services, with progress; what `--detach`, `--quiet` and `--timeout` mean."""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm_cli.render.progress import progress
from swarm_cli.session import Session

STABLE_S = 0.5  # a container that dies at once shall not count as running


@dataclass(frozen=True, slots=True)
class Wait:
    """How a command waits."""

    detach: bool = False
    quiet: bool = False
    timeout_s: float = 0.0  #: 0: for ever


def wait_for(session: Session, service_ids: Sequence[str], wait: Wait) -> None:
    """Until all have converged; NotConvergedError when that takes too long."""
    if wait.detach or not service_ids:
        return
    with progress(quiet=wait.quiet or session.format != "table") as shown:
        session.client.wait_converged(
            list(service_ids),
            timeout_s=wait.timeout_s or None,
            stable_s=STABLE_S,
            on_progress=shown.show,
        )
