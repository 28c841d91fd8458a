"""`swarm-cli rebalance`: even out the load of all nodes.  The same as `node rebalance`."""

import click

from swarm_cli.options import format_option, wait_options
from swarm_cli.rebalancing import rebalance as even_out
from swarm_cli.session import current
from swarm_cli.waiting import Wait


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also services that do not say --rebalance.")
@click.option("--dry-run", is_flag=True, help="Only show what would be moved.")
@wait_options
@format_option
def rebalance(everything: bool, dry_run: bool, detach: bool, quiet: bool, timeout_s: float) -> None:
    """Move tasks from full nodes to empty ones, of the services that allow it (--rebalance).

    Each task's replacement runs before the old one stops, a few at a time.
    """
    even_out(current(), (), Wait(detach, quiet, timeout_s), everything=everything, dry_run=dry_run)
