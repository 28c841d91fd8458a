"""Arguments that name an object: the shell completes them with what the cluster has."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from swarm_cli.session import Session

if TYPE_CHECKING:
    from swarm_api.client import Client

    _ParamType = click.ParamType[str]
else:
    _ParamType = click.ParamType  # generic in new releases of click only

_COMPLETION_BUDGET_S = 1.0  # nobody waits longer for the Tab key


class ObjectName(_ParamType):
    """The name, the id or a unique prefix of the id of an object."""

    def __init__(self, kind: str, names: Callable[["Client"], Iterable[str]]) -> None:
        self.name = kind
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so; none when no manager answers at once."""
        del param
        from swarm_api.client import Client
        from swarm_api.errors import ClientError

        session = ctx.find_object(Session) or Session()
        try:
            with Client.connect(
                session.managers,
                context=session.context,
                state_dir=session.state_dir,
                run_dir=session.run_dir,
                budget_s=_COMPLETION_BUDGET_S,
            ) as client:
                return [CompletionItem(name) for name in sorted(self._names(client)) if name.startswith(incomplete)]
        except ClientError:
            return []


SERVICE = ObjectName("service", lambda client: [s.spec.annotations.name for s in client.services.list()])
NODE = ObjectName("node", lambda client: [n.description.hostname for n in client.nodes.list()])
STACK = ObjectName("stack", lambda client: [s.stack.annotations.name for s in client.stacks.list()])
NETWORK = ObjectName("network", lambda client: [n.spec.annotations.name for n in client.networks.list()])
SECRET = ObjectName("secret", lambda client: [s.spec.annotations.name for s in client.secrets.list()])
CONFIG = ObjectName("config", lambda client: [c.spec.annotations.name for c in client.configs.list()])
