"""Faults of the network and of a disk. (Those of power, engine and processes are the host's own.)

    cut         a host's cable is pulled: it sees its carrier go
    partition   groups of hosts cannot reach each other, though every cable is in and every carrier is there
    loss        a share of the packets to and from a host is lost
    full disk   what writes to a host's /var/lib/raftswarm gets ENOSPC

Partition and loss are rules on the switch, in one nftables table (`bridge faults`) that `heal` throws away. They do
not use netem, which many kernels of small machines lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path

from tests.testbed.errors import HostUnavailable, TestbedError
from tests.testbed.host import Host
from tests.testbed.process import run
from tests.testbed.switch import Switch

_TABLE = """
add table bridge faults
add chain bridge faults partition {{ type filter hook forward priority 0; }}
add chain bridge faults loss {{ type filter hook forward priority 1; }}
flush chain bridge faults {chain}
"""
FILLER = Path("/var/lib/raftswarm/.filler")


def partition(switch: Switch, groups: Sequence[Sequence[Host]], *, one_way: bool = False) -> None:
    """Keep groups of hosts apart, in place of any partition before. Hosts in no group reach everyone.

    With `one_way` only traffic from an earlier group to a later one is dropped.
    """
    _refuse_overlap(groups)
    pairs = [(a, b) for a, b in permutations(range(len(groups)), 2) if a < b or not one_way]
    rules = [_drop("partition", source, target) for a, b in pairs for source in groups[a] for target in groups[b]]
    switch.nft(_TABLE.format(chain="partition") + "\n".join(rules) + "\n")


def lose(switch: Switch, hosts: Iterable[Host], percent: int) -> None:
    """Lose so many of a hundred packets to and from these hosts, in place of any loss before. 0 ends it."""
    if not 0 <= percent <= 100:
        raise TestbedError(f"{percent} % of the packets cannot be lost: give 0 to 100")
    chance = "" if percent == 100 else f"numgen random mod 100 < {percent} "
    directions = ("iifname", "oifname") if percent else ()
    rules = [
        f"add rule bridge faults loss {direction} {host.name} {chance}drop"
        for host in hosts
        for direction in directions
    ]
    switch.nft(_TABLE.format(chain="loss") + "\n".join(rules) + "\n")


def heal(switch: Switch) -> None:
    """End every partition and loss, and put every cable back."""
    switch.nft("add table bridge faults\ndelete table bridge faults\n")
    for port, is_in in switch.ports().items():
        if not is_in:
            switch.set_port(port, up=True)


def limit_disk(host: Host, size_mib: int) -> None:
    """Give a powered-off host's /var/lib/raftswarm a disk of its own of this size, with what is there now.

    A real ext4 file system on a loop device, so that a full disk is a full disk and sync costs what it costs.
    """
    if host.powered():
        raise HostUnavailable(f"{host.name} is powered on: a disk is changed while it is off")
    image = host.folder / "raftswarm.img"
    content = host.folder / "raftswarm"
    content.mkdir(parents=True, exist_ok=True)
    image.unlink(missing_ok=True)
    run(["truncate", "-s", f"{size_mib}M", image])
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-d", content, image])


def fill_disk(host: Host) -> None:
    """Fill what is left of the host's limited disk."""
    if not (host.folder / "raftswarm.img").exists():
        raise HostUnavailable(f"{host.name} has no disk of its own to fill: give it one with limit-disk")
    # dd ends with an error when nothing is left, which is the point. What is written is synced, because the file
    # system sets blocks aside for what it has not placed yet; the second round takes those.
    for block_bytes in (2**20, 2**12, 2**12):
        flags = ["conv=notrunc,fsync", "oflag=append", "status=none"]
        host.run(["dd", "if=/dev/zero", f"of={FILLER}", f"bs={block_bytes}", *flags], check=False)


def free_disk(host: Host) -> None:
    """Take away what `fill_disk` wrote."""
    host.run(["rm", "-f", FILLER])


def _drop(chain: str, source: Host, target: Host) -> str:
    return f"add rule bridge faults {chain} iifname {source.name} oifname {target.name} drop"


def _refuse_overlap(groups: Sequence[Sequence[Host]]) -> None:
    names = [host.name for group in groups for host in group]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TestbedError(f"{', '.join(twice)} would be on both sides of the partition: name a host once")
    if len(groups) < 2:
        raise TestbedError("a partition has two sides at least: partition n1,n2 n3,n4")
