"""The entry point of `swarm-cli`: the global options, the table of commands, and how a run ends.

Imports here are few on purpose: `swarm-cli --help` must be quick.
"""

import os
import sys
from typing import NoReturn

# gRPC's C core writes to stderr when a connection fails; what failed is said by us, in one sentence.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import click

from swarm_cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, exit_code, is_expected
from swarm_cli.lazy import Entry, LazyGroup
from swarm_cli.session import FORMATS, Session

_COMMANDS = "swarm_cli.commands"
ENTRIES = {
    "init": Entry(f"{_COMMANDS}.cluster:init", "Make a cluster with this machine as its first manager.", "Cluster"),
    "join": Entry(f"{_COMMANDS}.cluster:join", "Make this machine a node of a cluster.", "Cluster"),
    "leave": Entry(f"{_COMMANDS}.cluster:leave", "Take this machine out of its cluster.", "Cluster"),
    "rejoin": Entry(f"{_COMMANDS}.rejoin:rejoin", "Take this machine back into its cluster.", "Cluster"),
    "backup": Entry(f"{_COMMANDS}.backup:backup", "Write all the cluster is into an encrypted file.", "Cluster"),
    "restore": Entry(f"{_COMMANDS}.backup:restore", "Make a cluster from a backup, on this machine.", "Cluster"),
    "recover": Entry(f"{_COMMANDS}.recover:recover", "Let the last manager of a lost quorum go on alone.", "Cluster"),
    "join-token": Entry(f"{_COMMANDS}.token:join_token", "Print the command that joins a machine.", "Cluster"),
    "unlock": Entry(f"{_COMMANDS}.unlocking:unlock", "Unlock this machine's manager after its start.", "Cluster"),
    "unlock-key": Entry(f"{_COMMANDS}.unlocking:unlock_key", "Print the key that unlocks managers.", "Cluster"),
    "info": Entry(f"{_COMMANDS}.info:info", "Show the cluster: its managers, its leader, what runs.", "Cluster"),
    "cluster": Entry(f"{_COMMANDS}.settings:cluster", "Show and change the cluster's settings.", "Cluster"),
    "node": Entry(f"{_COMMANDS}.node:node", "List, inspect, update, promote, demote, remove nodes.", "Cluster"),
    "rebalance": Entry(f"{_COMMANDS}.rebalance:rebalance", "Even out the load of the nodes.", "Cluster"),
    "events": Entry(f"{_COMMANDS}.events:events", "Print changes as they happen.", "Cluster"),
    "up": Entry(f"{_COMMANDS}.project:up", "Deploy the compose file of this folder.", "This folder's compose file"),
    "ps": Entry(f"{_COMMANDS}.project:ps", "Show its tasks.", "This folder's compose file"),
    "scale": Entry(f"{_COMMANDS}.project:scale", "Set how many tasks its services have.", "This folder's compose file"),
    "down": Entry(f"{_COMMANDS}.project:down", "Remove all it made.", "This folder's compose file"),
    "service": Entry(
        f"{_COMMANDS}.service:service", "Create, list, inspect, scale, update, remove services.", "Objects"
    ),
    "task": Entry(f"{_COMMANDS}.task:task", "Inspect tasks.", "Objects"),
    "stack": Entry(f"{_COMMANDS}.stack:stack", "Deploy, list, show, remove compose files.", "Objects"),
    "network": Entry(f"{_COMMANDS}.network:network", "List, create, inspect, remove networks.", "Objects"),
    "secret": Entry(f"{_COMMANDS}.secret:secret", "List, create, inspect, update, remove secrets.", "Objects"),
    "config": Entry(f"{_COMMANDS}.config:config", "List, create, inspect, update, remove configs.", "Objects"),
    "context": Entry(f"{_COMMANDS}.context:context", "Reach clusters from this machine by name.", "This command"),
    "completion": Entry(f"{_COMMANDS}.completion:completion", "Print the shell's completion script.", "This command"),
    "version": Entry(f"{_COMMANDS}.version:version", "Show the version.", "This command"),
}


@click.group(
    cls=LazyGroup,
    entries=ENTRIES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 the request failed, 2 usage, 3 no manager reachable or no quorum, 4 not converged "
    "in time. SWARM_DEBUG=1 shows where an unexpected error came from.",
)
@click.option(
    "--manager",
    "-H",
    "managers",
    multiple=True,
    metavar="HOST:PORT[,...]",
    help="Managers to ask, any will do. Default: SWARM_MANAGERS, the context's, or those this node knows.",
)
@click.option("--context", "-c", metavar="NAME", help="The context to use. Default: SWARM_CONTEXT, or this node.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How readings are printed; every reading command takes it too.",
)
@click.option("--state-dir", metavar="DIR", help="The node's data. Default: RAFTSWARM_STATE_DIR, /var/lib/raftswarm.")
@click.option("--run-dir", metavar="DIR", help="The node's sockets. Default: RAFTSWARM_RUN_DIR, /run/raftswarm.")
@click.pass_context
def cli(
    ctx: click.Context,
    managers: tuple[str, ...],
    context: str | None,
    output_format: str,
    state_dir: str | None,
    run_dir: str | None,
) -> None:
    """Run containers on many machines, under redundant masters.

    Start a cluster with 'swarm-cli init', add machines with what 'swarm-cli join-token worker' prints, then
    deploy a compose file: 'swarm-cli up' in its folder, or 'swarm-cli stack deploy -c FILE NAME'.
    """
    ctx.obj = Session(managers, context, state_dir, run_dir, output_format)
    ctx.call_on_close(ctx.obj.close)


def main() -> NoReturn:
    """Run swarm-cli and exit."""
    code = run(sys.argv[1:])
    # A reader that went away (`| head`) is no error; Python's own flush at exit would complain about it.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; what went wrong is on stderr, in one sentence."""
    try:
        result = cli.main(arguments, prog_name="swarm-cli", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except click.UsageError as error:
        return _complain(_usage_sentence(error), EXIT_USAGE)
    except click.ClickException as error:
        return _complain(error.format_message(), EXIT_USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: a person never sees a traceback
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> int:
    if os.environ.get("SWARM_DEBUG"):
        import traceback

        traceback.print_exc()
    if is_expected(error):
        return _complain(str(error), exit_code(error))
    text = " ".join(str(error).split())
    return _complain(
        f"Unexpected {type(error).__name__}: {text or 'no details'}. This is a bug; SWARM_DEBUG=1 shows where.",
        EXIT_FAILED,
    )


def _usage_sentence(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "swarm-cli"
    return f"{error.format_message().rstrip('.')}. See '{path} --help'."


def _complain(sentence: str, code: int) -> int:
    click.echo(f"Error: {' '.join(sentence.split())}", err=True)
    return code
