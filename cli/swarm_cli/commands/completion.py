"""`swarm-cli completion`: what makes the Tab key work."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_VARIABLE = "_SWARM_CLI_COMPLETE"


class _Bash(BashComplete):
    @staticmethod
    def _check_version() -> None:
        """Click would start a bash to ask for its version; the script itself needs nothing newer than 4.4."""


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}
_PLACES = {
    "bash": "source <(swarm-cli completion bash)   # in ~/.bashrc",
    "zsh": "source <(swarm-cli completion zsh)   # in ~/.zshrc",
    "fish": "swarm-cli completion fish | source   # in ~/.config/fish/config.fish",
}


@click.command(epilog="\n\n".join(_PLACES.values()))
@click.argument("shell", type=click.Choice(sorted(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell; commands, flags and the cluster's names are completed."""
    root = ctx.find_root().command
    click.echo(_SHELLS[shell](root, {}, "swarm-cli", _VARIABLE).source())
