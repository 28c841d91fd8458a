"""Names, addresses and folders of one testbed. Everything that must not clash is derived from the testbed's name."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.errors import TestbedError

CHECKOUT = Path(__file__).resolve().parents[2]
MAX_HOSTS = 50
_NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")


def root_folder() -> Path:
    """Where the testbeds live. Not below /etc, /run or /var/lib: hosts have their own of those."""
    return Path(os.environ.get("TESTBED_BASE", "/var/tmp/raftswarm-testbed"))


def default_name() -> str:
    return os.environ.get("TESTBED_NAME", "tb")


@dataclass(frozen=True)
class Layout:
    """Where everything of the testbed called `name` is."""

    name: str
    root: Path

    @classmethod
    def of(cls, name: str | None = None, root: Path | None = None) -> Layout:
        name = name or default_name()
        if not _NAME.fullmatch(name):
            raise TestbedError(f"{name!r} is no name for a testbed: use up to 24 lower-case letters, digits and dashes")
        return cls(name, root or root_folder())

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def state_file(self) -> Path:
        return self.folder / "testbed.json"

    @property
    def switch_namespace(self) -> str:
        return f"testbed-{self.name}"

    @property
    def subnet_prefix(self) -> str:
        """The first three numbers of the testbed's /24: the same for a name, always.

        Testbeds never meet (each has its own switch), so two names that hash alike do no harm. The upper half of
        10/8 is used because overlay networks are given out from the lower end.
        """
        digest = hashlib.sha256(self.name.encode()).digest()
        return f"10.{200 + digest[0] % 50}.{digest[1]}"

    def host_name(self, index: int) -> str:
        return f"n{index}"

    def host_folder(self, host: str) -> Path:
        return self.folder / host

    def address(self, host: str) -> str:
        return f"{self.subnet_prefix}.{host_index(host)}"


def host_index(host: str) -> int:
    """7 of `n7`; an error for anything that is no host's name."""
    if not re.fullmatch(r"n[1-9][0-9]?", host) or int(host[1:]) > MAX_HOSTS:
        raise TestbedError(f"{host!r} is no host of a testbed: hosts are called n1 to n{MAX_HOSTS}")
    return int(host[1:])


def tool_path() -> str:
    """PATH inside hosts: the virtual environment with the swarm-* commands first, then the machine's programs."""
    own = [os.environ.get("RAFTSWARM_VENV"), str(CHECKOUT / ".venv"), sys.prefix]
    found = [f"{venv}/bin" for venv in own if venv and Path(venv, "bin", "swarm-cli").exists()]
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ":".join([*found[:1], system])
