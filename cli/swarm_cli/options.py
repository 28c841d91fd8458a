"""Options that many commands share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from swarm_cli.errors import CliError
from swarm_cli.session import FORMATS, current

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_TIMEOUT_S = 300.0


def _set_format(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    del ctx, param
    if value is not None:
        current().format = value


def format_option(command: _Command) -> _Command:
    """`--format table|json|yaml`, kept in the session."""
    return click.option(
        "--format",
        type=click.Choice(FORMATS),
        expose_value=False,
        callback=_set_format,
        help="How to print it: a table for people, or one JSON or YAML document with the API's names.",
    )(command)


def _set_stale(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del ctx, param
    current().stale = value


def reading_options(command: _Command) -> _Command:
    """`--format`, and `--stale`: kept in the session."""
    return click.option(
        "--stale",
        is_flag=True,
        expose_value=False,
        callback=_set_stale,
        help="Ask one manager for its own copy: works without a quorum, and may lack the latest changes.",
    )(format_option(command))


def quiet_option(command: _Command) -> _Command:
    """`-q`: only ids."""
    return click.option("--quiet", "-q", is_flag=True, help="Print ids only.")(command)


def filter_option(known: Sequence[str], *, has_short: bool = True) -> Callable[[_Command], _Command]:
    """`--filter KEY=VALUE`, several times; the value arrives as {key: [values]}."""

    def parse(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
        del ctx, param
        filters: dict[str, list[str]] = {}
        for text in values:
            key, equals, value = text.partition("=")
            if key not in known or not equals:
                raise click.BadParameter(f"{text!r} is no filter; write KEY=VALUE with one of: {', '.join(known)}")
            filters.setdefault(key, []).append(value)
        return filters

    return click.option(
        *(("--filter", "-f") if has_short else ("--filter",)),
        "filters",
        multiple=True,
        callback=parse,
        metavar="KEY=VALUE",
        help=f"Show only those that match; keys: {', '.join(known)}.",
    )


def wait_options(command: _Command) -> _Command:
    """`--detach`, `--quiet`, `--timeout` of commands that wait until what they asked for runs."""
    return click.option("--detach", "-d", is_flag=True, help="Do not wait until it runs.")(wait_limits(command))


def wait_limits(command: _Command) -> _Command:
    """`--quiet` and `--timeout` of commands that may wait."""
    command = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        metavar="SECONDS",
        help="Wait for so long, then exit with 4 (it goes on in the background); 0: for ever.",
    )(command)
    return click.option("--quiet", "-q", is_flag=True, help="Show no progress.")(command)


def parse_labels(values: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE`s, or `KEY`s, of a label filter."""
    return {text.partition("=")[0]: text.partition("=")[2] for text in values}


def each(names: Sequence[str], what: str, act: Callable[[str], None]) -> None:
    """Do something for every name; go on after a refusal, and fail at the end when there was one."""
    from swarm_api.errors import RequestError

    failed = []
    for name in names:
        try:
            act(name)
        except RequestError as error:
            if len(names) == 1:
                raise
            click.echo(f"Error: {name}: {error}", err=True)
            failed.append(name)
    if failed:
        raise CliError(f"{len(failed)} of {len(names)} {what}s failed: {', '.join(failed)}; the reasons are above.")
