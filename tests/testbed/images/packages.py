"""Debian packages: which ones an image needs, fetched by apt, without touching what is installed here.

apt is asked with a status file of our own, as if for a machine on which only INSTALL_ONLY is installed: it answers
with everything else that is needed. Only packages from Debian are taken, whatever other sources the machine has.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.testbed.errors import CommandFailed, TestbedError
from tests.testbed.process import run

# Needed by packages only to be installed, started or configured, which never happens to ours.
INSTALL_ONLY = {
    "adduser": "",
    "debconf": "debconf-2.0",
    "dpkg": "",
    "init-system-helpers": "",
    "iproute2": "",
    "libc-bin": "",
    "libdebconfclient0": "",
    "lsb-base": "",
    "mawk": "awk",
    "passwd": "",
    "perl-base": "perl",
    "sysvinit-utils": "",
    "tar": "",
    "usrmerge": "",
}
_PREFERENCES = "Package: *\nPin: release o=Debian\nPin-Priority: 990\n"
_STATUS = """\
Package: {name}
Status: install ok installed
Priority: optional
Section: base
Maintainer: none
Architecture: {architecture}
Multi-Arch: foreign
Version: 9999
Provides: {provides}
Description: only needed to install packages

"""


class Packages:
    """Packages in a folder of their own, kept from run to run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archives = folder / "archives"

    def closure(self, wanted: Sequence[str]) -> dict[str, Path]:
        """Every package that `wanted` needs, itself included, and where its file is (or will be after `fetch`)."""
        self._prepare()
        try:
            said = self._apt("--simulate", "install", *wanted)
        except CommandFailed:
            run(["apt-get", "update", "-qq"], timeout_s=300)  # a fresh machine has no lists yet
            said = self._apt("--simulate", "install", *wanted)
        found = re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", said, re.MULTILINE)
        return {name: self._archives / _file_name(name, version, arch) for name, version, arch in found}

    def fetch(self, wanted: Iterable[str]) -> None:
        """Download what `wanted` needs and is not here yet."""
        self._prepare()
        self._apt("--download-only", "-y", "install", *sorted(set(wanted)), timeout_s=600)

    def _apt(self, *words: str, timeout_s: float = 120) -> str:
        settings = {
            "Dir::State::status": self._folder / "status",
            "Dir::Etc::Preferences": self._folder / "preferences",
            "Dir::Cache::archives": self._archives,
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "1",  # the machine's own locks stand for its own packages, not for ours
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        argv = ["apt-get", "-q", "--no-install-recommends", *options, *words]
        return run(argv, timeout_s=timeout_s).stdout

    def _prepare(self) -> None:
        (self._archives / "partial").mkdir(parents=True, exist_ok=True)
        (self._folder / "preferences").write_text(_PREFERENCES)
        architecture = run(["dpkg", "--print-architecture"]).stdout.strip()
        entries = (
            _STATUS.format(name=name, architecture=architecture, provides=provides)
            for name, provides in INSTALL_ONLY.items()
        )
        (self._folder / "status").write_text("".join(entries).replace("Provides: \n", ""))


def open_files(package: Path) -> subprocess.Popen[bytes]:
    """A process that writes the package's files to its standard output as a tar archive."""
    if not package.exists():
        raise TestbedError(f"{package} was not fetched: is the network reachable for apt-get?")
    return subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)


def read_file(package: Path, path: str) -> bytes:
    """The content of one regular file in a package; `path` as in the package, without a leading slash."""
    with open_files(package) as source:
        assert source.stdout is not None
        with tarfile.open(fileobj=source.stdout, mode="r|") as files:
            for member in files:
                if member.name.removeprefix("./") == path:
                    content = files.extractfile(member)
                    assert content is not None
                    return content.read()
    raise TestbedError(f"{package.name} has no {path}: Debian's packages are not what they were")


def _file_name(name: str, version: str, architecture: str) -> str:
    return f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
