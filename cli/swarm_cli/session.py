"""What every command needs: the global options, a client made when it is first used, and the output's format."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from swarm_api.client import Client

    from swarm_cli.render.text import Table

_STARTED_S = time.monotonic()
_ANSWER_WITHIN_S = 4.6  # of the five seconds after which "no manager answers" must be said
_LEAST_BUDGET_S = 2.0

FORMATS = ("table", "json", "yaml")


@dataclass(slots=True)
class Session:
    """One run of swarm-cli."""

    managers: tuple[str, ...] = ()
    context: str | None = None
    state_dir: str | None = None
    run_dir: str | None = None
    format: str = "table"
    stale: bool = False
    _client: "Client | None" = field(default=None, repr=False)

    @property
    def client(self) -> "Client":
        """The client of the cluster that the options, the environment or this node name."""
        if self._client is None:
            from swarm_api.channel import CALL_BUDGET_S
            from swarm_api.client import Client

            # On a busy machine Python alone takes a second to come here.
            left_s = max(_ANSWER_WITHIN_S - (time.monotonic() - _STARTED_S), _LEAST_BUDGET_S)
            self._client = Client.connect(
                self.managers,
                context=self.context,
                state_dir=self.state_dir,
                run_dir=self.run_dir,
                budget_s=min(left_s, CALL_BUDGET_S),
                stale=self.stale,
            )
            if self.stale:
                self._say_how_old(self._client)
        return self._client

    @staticmethod
    def _say_how_old(client: "Client") -> None:
        """On stderr: a stale reading must not be taken for the state."""
        info = client.info(stale=True)
        leader = f"the leader it knows is {info.leader_id[:12]}" if info.leader_id else "it knows no leader"
        click.echo(
            f"Stale: as manager {info.node_id[:12]} has it, up to entry {info.applied_index}; {leader}. Later changes "
            "may be missing.",
            err=True,
        )

    def show(self, document: "Message | list[Message]", table: "Callable[[], Table]") -> None:
        """Print one reading: the document as JSON or YAML, or a table for people."""
        if self.format == "table":
            from swarm_cli.render.text import print_table

            print_table(table())
        else:
            from swarm_cli.render.document import print_document

            print_document(document, self.format)

    def close(self) -> None:
        """Close the client's connection."""
        if self._client is not None:
            self._client.close()


def current() -> Session:
    """The session of the command that runs."""
    session = click.get_current_context().find_object(Session)
    assert session is not None
    return session
