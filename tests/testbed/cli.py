"""The command line of the testbed: `scripts/testbed`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.testbed import faults, requirements
from tests.testbed.cluster import HostStatus, Testbed, all_names, status_as_dicts
from tests.testbed.engine import DEFAULT_OPTIONS
from tests.testbed.errors import TestbedError
from tests.testbed.images.catalogue import ALL_IMAGES, build
from tests.testbed.layout import default_name

DESCRIPTION = """\
Hosts on one machine: each has namespaces, an address, a disk and a Docker engine of its own, and all are joined by a
switch that leads nowhere else. What runs on them meets real engines, real networks and real faults.

  scripts/testbed up 4                        four hosts, n1 to n4
  scripts/testbed exec n1 swarm-cli node ls   run anything on a host, as on a real machine
  scripts/testbed poweroff n2                 kill -9 of all of it at once; poweron brings it back with its disk
  scripts/testbed partition n1,n2 n3,n4       and `heal`
  scripts/testbed down                        nothing is left
"""
Action = Callable[[Testbed, argparse.Namespace], int | None]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one sentence on stderr."""
    options = _parser().parse_args(argv)
    action: Action = options.action
    requirements.add_sbin_to_path()
    try:
        if options.needs_root:
            requirements.check()
        return action(Testbed(options.name), options) or 0
    except TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("testbed: interrupted; `scripts/testbed down` removes what is there", file=sys.stderr)
        return 130


# -- what the commands do


def _up(testbed: Testbed, options: argparse.Namespace) -> None:
    images = ALL_IMAGES if options.images else ()
    hosts = testbed.up(options.hosts, _engine_options(options), images)
    print(f"testbed {testbed.layout.name}: {len(hosts)} hosts are up, {hosts[0].address} to {hosts[-1].address}")


def _engine_options(options: argparse.Namespace) -> list[str] | None:
    if options.swarm_mode:
        return []
    return [*DEFAULT_OPTIONS, *options.engine_option] if options.engine_option else None


def _images(_: Testbed, __: argparse.Namespace) -> None:
    for image in build(ALL_IMAGES):
        print(f"{image.name:<16} {image.id[:19]}")


def _down(testbed: Testbed, options: argparse.Namespace) -> None:
    names = all_names() if options.all else [testbed.layout.name]
    for name in names:
        Testbed(name).down()
        print(f"testbed {name}: removed")


def _status(testbed: Testbed, options: argparse.Namespace) -> None:
    statuses = testbed.status()
    if options.format == "json":
        print(json.dumps(status_as_dicts(statuses), indent=2))
    elif not statuses:
        print(f"testbed {testbed.layout.name}: no hosts; `scripts/testbed up 4` makes four")
    else:
        _print_table(statuses)


def _print_table(statuses: list[HostStatus]) -> None:
    line = "{:<5}{:<16}{:<8}{:<6}{:<8}{:>10}{:>9}  {}"
    print(line.format("HOST", "ADDRESS", "POWER", "LINK", "ENGINE", "CONTAINERS", "MEMORY", "PROGRAMS"))
    for status in statuses:
        containers = "-" if status.containers is None else status.containers
        memory = f"{status.memory_mib} MiB"
        programs = " ".join(status.programs) or "-"
        head = (status.name, status.address, status.power, status.link, status.engine)
        print(line.format(*head, containers, memory, programs))


def _exec(testbed: Testbed, options: argparse.Namespace) -> int:
    host = testbed.host(options.host)
    if not options.command:
        raise TestbedError(f"say what to run on {host.name}: scripts/testbed exec {host.name} ps aux")
    argv = host.exec_argv(options.command)
    sys.stdout.flush()
    os.execvpe(argv[0], argv, host.environment())  # so that terminal, signals and exit code are the program's own


def _kill(testbed: Testbed, options: argparse.Namespace) -> None:
    count = testbed.host(options.host).kill(options.program, options.signal)
    print(f"{options.host}: signalled {count} {options.program}")


def _poweroff(testbed: Testbed, options: argparse.Namespace) -> None:
    testbed.host(options.host).power_off()


def _poweron(testbed: Testbed, options: argparse.Namespace) -> None:
    testbed.power_on(testbed.host(options.host))


def _engine_crash(testbed: Testbed, options: argparse.Namespace) -> None:
    testbed.host(options.host).engine.crash()


def _engine_start(testbed: Testbed, options: argparse.Namespace) -> None:
    engine_options = testbed.engine_options()
    if engine_options is None:
        raise TestbedError("the hosts of this testbed have no engines: make one with engines, by 'up'")
    testbed.host(options.host).engine.start(engine_options)


def _cut(testbed: Testbed, options: argparse.Namespace) -> None:
    testbed.switch.set_port(testbed.host(options.host).name, up=False)


def _uncut(testbed: Testbed, options: argparse.Namespace) -> None:
    testbed.switch.set_port(testbed.host(options.host).name, up=True)


def _partition(testbed: Testbed, options: argparse.Namespace) -> None:
    groups = [testbed.named(names) for names in options.groups]
    faults.partition(testbed.switch, groups, one_way=options.one_way)


def _loss(testbed: Testbed, options: argparse.Namespace) -> None:
    faults.lose(testbed.switch, [testbed.host(options.host)], options.percent)


def _heal(testbed: Testbed, _: argparse.Namespace) -> None:
    faults.heal(testbed.switch)


def _freeze(testbed: Testbed, options: argparse.Namespace) -> None:
    testbed.host(options.host).cgroup.freeze()


def _thaw(testbed: Testbed, options: argparse.Namespace) -> None:
    testbed.host(options.host).cgroup.thaw()


def _limit_disk(testbed: Testbed, options: argparse.Namespace) -> None:
    faults.limit_disk(testbed.host(options.host), options.size_mib)


def _fill_disk(testbed: Testbed, options: argparse.Namespace) -> None:
    faults.fill_disk(testbed.host(options.host))


def _free_disk(testbed: Testbed, options: argparse.Namespace) -> None:
    faults.free_disk(testbed.host(options.host))


def _logs(testbed: Testbed, options: argparse.Namespace) -> int:
    host = testbed.host(options.host)
    logs = sorted(host.folder.glob("*.log"))
    if host.powered():
        inside = Path(f"/proc/{host.init().pid}/root/var/lib/raftswarm/log")  # type: ignore[union-attr]
        logs += sorted(inside.glob("*.log"))
    follow = ["-F"] if options.follow else []
    return subprocess.run(["tail", "-n", str(options.lines), *follow, *map(str, logs)], check=False).returncode


# -- how they are called


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/testbed", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--name",
        default=default_name(),
        help="which testbed; several live side by side (default: $TESTBED_NAME or tb)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_life_cycle(commands)
    _add_host_faults(commands)
    _add_network_faults(commands)
    return parser


def _add_life_cycle(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = _command(commands, "up", _up, "bring up N hosts with engines; what is up stays as it is")
    up.add_argument("hosts", nargs="?", type=int, default=4, metavar="N", help="how many hosts (default: 4)")
    up.add_argument("--images", action="store_true", help="also build the test images and load them everywhere")
    up.add_argument(
        "--engine-option", action="append", default=[], metavar="OPT", help="one more option for every dockerd"
    )
    up.add_argument("--swarm-mode", action="store_true", help="start engines as Docker's own swarm mode needs them")
    _command(commands, "images", _images, "make the test images, from Debian's packages, and list them")
    down = _command(commands, "down", _down, "remove every trace, also after a crash")
    down.add_argument("--all", action="store_true", help="of every testbed on this machine")
    status = _command(commands, "status", _status, "show every host", needs_root=False)
    status.add_argument("--format", choices=["table", "json"], default="table")
    execute = _command(commands, "exec", _exec, "run a command on a host, in this folder", host=True)
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD ...")
    logs = _command(commands, "logs", _logs, "show the logs of a host's engine and daemons", host=True)
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=20, metavar="N")


def _add_host_faults(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    kill = _command(commands, "kill", _kill, "kill -9 a program on a host, e.g. swarm-manager", host=True)
    kill.add_argument("program", metavar="PROC")
    kill.add_argument(
        "-s", "--signal", type=_signal_number, default=signal.SIGKILL, metavar="SIG", help="KILL by default"
    )
    _command(commands, "poweroff", _poweroff, "power loss: all of the host dies at once", host=True)
    _command(commands, "poweron", _poweron, "boot it again, with its disk and its boot commands", host=True)
    _command(commands, "engine-crash", _engine_crash, "kill -9 dockerd; containers live on", host=True)
    _command(commands, "engine-start", _engine_start, "start dockerd again", host=True)
    _command(commands, "freeze", _freeze, "stop all of the host's processes, as a paused machine", host=True)
    _command(commands, "thaw", _thaw, "let them run again", host=True)
    limit = _command(commands, "limit-disk", _limit_disk, "give a powered-off host a small state disk", host=True)
    limit.add_argument("size_mib", type=int, metavar="MIB")
    _command(commands, "fill-disk", _fill_disk, "fill that disk to the last byte", host=True)
    _command(commands, "free-disk", _free_disk, "and free it again", host=True)


def _add_network_faults(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _command(commands, "cut", _cut, "pull a host's network cable", host=True)
    _command(commands, "uncut", _uncut, "put it back", host=True)
    partition = _command(commands, "partition", _partition, "keep groups of hosts apart: n1,n2 n3,n4")
    partition.add_argument("groups", nargs="+", metavar="A,B")
    partition.add_argument("--one-way", action="store_true", help="drop only from earlier to later groups")
    loss = _command(commands, "loss", _loss, "lose a share of a host's packets", host=True)
    loss.add_argument("percent", type=int, metavar="PERCENT")
    _command(commands, "heal", _heal, "end partitions and loss, put all cables back")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Action,
    summary: str,
    *,
    host: bool = False,
    needs_root: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.set_defaults(action=action, needs_root=needs_root)
    # Also after the command, where hands put it; absent there, what came before it holds.
    parser.add_argument("--name", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    if host:
        parser.add_argument("host", metavar="HOST", help="n1, n2, ...")
    return parser


def _signal_number(text: str) -> int:
    name = text.upper().removeprefix("SIG")
    if name.isdigit():
        return int(name)
    try:
        return signal.Signals[f"SIG{name}"]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is no signal: TERM, KILL, STOP, ...") from None
