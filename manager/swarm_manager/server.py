"""The command `swarm-manager`: `init` makes a new cluster, `run` serves, `reissue` mends an ended certificate."""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swarm_api import defaults

from swarm_manager.config import Settings, load_settings
from swarm_manager.errors import ManagerError, StartError

_DESCRIPTION = """\
One of the cluster's redundant masters. Usually swarm-worker, the node's daemon, starts and watches it;
'swarm-cli init' and 'swarm-cli join' set everything up. By hand:

  swarm-manager init --advertise-address 10.0.0.1:2377   make a new cluster; prints its ids and join tokens
  swarm-manager run                                      serve its API on 2377 and Raft on 2378
  swarm-manager reissue                                  while it does not run: a new certificate from its own data;
                                                         'swarm-cli rejoin --from-own-data' does this and the rest
"""
_EXIT_FAILED = 1


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code is 0 when it did what was asked."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # handshakes that fail are no news for a log
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    arguments = _parser().parse_args(argv)
    flags = vars(arguments)
    try:
        settings = load_settings(flags.pop("config"), {key: flags.pop(key) for key in _SETTINGS if key in flags})
        return int(flags.pop("act")(settings, flags))
    except ManagerError as error:
        print(f"swarm-manager: {error}", file=sys.stderr)  # noqa: T201 - the command's own words
        return _EXIT_FAILED


_SETTINGS = ("state_dir", "run_dir", "listen_address", "metrics_address", "log_level", "log_format")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swarm-manager", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_init(commands)
    _add_run(commands)
    reissue = commands.add_parser("reissue", help="make this manager a new certificate, when all managers' have ended")
    _add_common(reissue)
    _add_unlock_key(reissue)
    reissue.set_defaults(act=_reissue)
    _add_restore(commands)
    _add_recover(commands)
    return parser


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, help=f"TOML file (default {defaults.CONFIG_FILE}); flags win over it")
    command.add_argument("--state-dir", help=f"identity and Raft data (default {defaults.STATE_DIR})")


def _add_unlock_key(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--unlock-key-fd",
        type=int,
        metavar="N",
        help="the cluster's unlock key is read from here; needed with autolock",
    )


def _add_init(commands: Any) -> None:
    init = commands.add_parser("init", help="make a new cluster with this machine as its first manager")
    _add_common(init)
    init.add_argument(
        "--advertise-address", required=True, metavar="IP:PORT", help="where other nodes reach this manager's API"
    )
    init.add_argument(
        "--listen-address", metavar="IP:PORT", help="where to listen (default: all interfaces, same port)"
    )
    init.add_argument("--name", default="default", help="name of the cluster (default: default)")
    init.add_argument(
        "--address-pool",
        action="append",
        metavar="CIDR",
        help=f"overlay networks get their subnets from here; repeatable (default {', '.join(defaults.ADDRESS_POOLS)})",
    )
    init.add_argument(
        "--subnet-prefix-length",
        type=int,
        default=defaults.SUBNET_PREFIX_LENGTH,
        help="size of these subnets (default %(default)s)",
    )
    init.add_argument(
        "--vxlan-port", type=int, default=defaults.VXLAN_PORT, help="UDP port of overlay traffic (default %(default)s)"
    )
    init.add_argument(
        "--availability",
        default="active",
        choices=("active", "pause", "drain"),
        help="whether this machine takes tasks (default active)",
    )
    init.add_argument(
        "--autolock", action="store_true", help="managers that start wait for the unlock key, printed once"
    )
    init.set_defaults(act=_init)


def _add_restore(commands: Any) -> None:
    restore = commands.add_parser("restore", help="make a cluster of this machine alone from a backup")
    _add_common(restore)
    restore.add_argument("--backup", type=Path, required=True, metavar="FILE", help="made by 'swarm-cli backup'")
    restore.add_argument(
        "--passphrase-fd",
        type=int,
        default=0,
        metavar="N",
        help="its passphrase is read from here (default 0)",
    )
    restore.add_argument(
        "--advertise-address", required=True, metavar="IP:PORT", help="where other nodes reach this manager's API"
    )
    restore.add_argument("--listen-address", metavar="IP:PORT", help="where to listen (default: all interfaces)")
    restore.add_argument(
        "--availability",
        default="active",
        choices=("active", "pause", "drain"),
        help="whether this machine takes tasks (default active)",
    )
    restore.add_argument(
        "--nodes-due-after-s",
        type=float,
        default=defaults.NODES_DUE_AFTER_S,
        metavar="SECONDS",
        help="tasks of nodes that have not come back by then run elsewhere (default %(default)s)",
    )
    restore.set_defaults(act=_restore)


def _add_recover(commands: Any) -> None:
    recover = commands.add_parser("recover", help="make this manager, whose cluster has no quorum, its only one")
    _add_common(recover)
    _add_unlock_key(recover)
    recover.set_defaults(act=_recover)


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="serve")
    _add_common(run)
    run.add_argument("--run-dir", help=f"for manager.sock, which makes root an admin (default {defaults.RUN_DIR})")
    run.add_argument("--listen-address", metavar="IP:PORT", help="where to listen (default: as given at init or join)")
    run.add_argument("--metrics-address", metavar="IP:PORT", help="serve Prometheus metrics over HTTP (default: not)")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="(default info)")
    run.add_argument("--log-format", choices=("auto", "json", "console"), help="(default auto)")
    run.set_defaults(act=_run)


def _init(settings: Settings, flags: dict[str, Any]) -> int:
    from swarm_manager.bootstrap import NewCluster, create_cluster

    pools = flags.pop("address_pool")
    wanted = NewCluster(
        **flags, listen_address=settings.listen_address, address_pools=tuple(pools or defaults.ADDRESS_POOLS)
    )
    print(json.dumps(asdict(create_cluster(settings, wanted))))  # noqa: T201 - this is the command's answer
    return 0


def _reissue(settings: Settings, flags: dict[str, Any]) -> int:
    from swarm_manager.reissue import reissue

    fresh = reissue(settings, _unlock_key(flags))
    print(f"The certificate is valid until {fresh.identity().not_after:%Y-%m-%d %H:%M} UTC.")  # noqa: T201 - as above
    return 0


def _restore(settings: Settings, flags: dict[str, Any]) -> int:
    from swarm_manager.restoring import Wanted, restore

    with os.fdopen(flags.pop("passphrase_fd"), "rb", closefd=False) as source:
        passphrase = source.read()
    wanted = Wanted(passphrase=passphrase, listen_address=settings.listen_address, **flags)
    print(json.dumps(asdict(restore(settings, wanted))))  # noqa: T201 - this is the command's answer
    return 0


def _recover(settings: Settings, flags: dict[str, Any]) -> int:
    from swarm_manager.recovering import recover

    print(json.dumps(asdict(recover(settings, _unlock_key(flags)))))  # noqa: T201 - this is the command's answer
    return 0


def _unlock_key(flags: dict[str, Any]) -> bytes | None:
    from swarm_manager.unlock_key import unlock_key_bytes

    number = flags.pop("unlock_key_fd")
    if number is None:
        return None
    with os.fdopen(number, "rb", closefd=False) as source:
        return unlock_key_bytes(source.read().decode(errors="replace"))


def _run(settings: Settings, flags: dict[str, Any]) -> int:
    del flags
    import swarm_api.lean  # noqa: F401 - before structlog

    from swarm_manager import logs
    from swarm_manager.process import Manager

    logs.configure(settings.log_level, settings.log_format)

    async def serve() -> None:
        await Manager(settings).run()

    try:
        asyncio.run(serve())
    except ExceptionGroup as group:
        raise StartError(f"the manager stops: {_first(group)}") from group
    return 0


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
