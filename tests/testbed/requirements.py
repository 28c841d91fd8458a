"""What the testbed needs of this machine, checked before anything is changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.testbed.errors import RequirementMissing

# program: the Debian 12 package that has it
PROGRAMS: Mapping[str, str] = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "docker-init": "docker.io",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
}
# Loaded when they can be; kernels that have them built in (or load them on demand) do not need it.
MODULES = ("overlay", "bridge", "br_netfilter", "veth", "vxlan", "loop", "nf_nat", "xt_conntrack", "nft_numgen")
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def check_machine() -> None:
    """Raise RequirementMissing unless this is Linux and we are root: what no installation can mend."""
    if not sys.platform.startswith("linux"):
        raise RequirementMissing("this needs Linux: its hosts are made of namespaces; run it on a Debian 12 machine")
    if os.geteuid() != 0:
        raise RequirementMissing(
            "this needs root, to make network namespaces and start engines: run it with sudo, or as root"
        )


def check() -> None:
    """Raise RequirementMissing, naming what is missing and how to get it, or return."""
    check_machine()
    missing = sorted({package for program, package in PROGRAMS.items() if not find(program)})
    if missing:
        packages = " ".join(missing)
        raise RequirementMissing(f"these packages are missing: apt-get install {packages} (or run scripts/setup)")
    _load_modules()
    if not Path("/proc/sys/net/bridge").exists():
        raise RequirementMissing(
            "the kernel module br_netfilter is missing: modprobe br_netfilter (in a container: on its host)"
        )


def find(program: str) -> str | None:
    """The path of a program; Debian's users do not always have sbin in PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def add_sbin_to_path() -> None:
    """Let what we start find the programs of sbin."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{_SBIN}"


def _load_modules() -> None:
    # A kernel without modules, or without modprobe, has them built in or will say what it lacks when it is used.
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["modprobe", "-a", "-q", *MODULES], capture_output=True, check=False)
