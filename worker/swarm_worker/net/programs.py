"""Runs the system's network programs: by argument list, input on stdin, errors as one sentence."""

import subprocess
from collections.abc import Sequence

from swarm_worker.net.errors import ProgramError

_TIMEOUT_S = 30.0
_PACKAGES = {"nft": "nftables", "conntrack": "conntrack", "iptables": "iptables", "modprobe": "kmod"}


def run(argv: Sequence[str], stdin: str = "", accept: Sequence[int] = (0,)) -> str:
    """Run a program to its end and return what it printed.

    Raises ProgramError when it is missing, hangs or ends with a code that is not in `accept`.
    """
    try:
        # LC_ALL: its messages go into our sentences, which are English.
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=_environment()
        )
    except FileNotFoundError:
        package = _PACKAGES.get(argv[0], argv[0])
        raise ProgramError(f"The program {argv[0]} is missing: install the package {package}.") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramError(f"{argv[0]} could not be run: {error}.") from error
    if done.returncode not in accept:
        raise ProgramError(f"`{' '.join(argv)}` failed: {_first_line(done.stderr, done.returncode)}.")
    return done.stdout


def _environment() -> dict[str, str]:
    # Services started by init systems often lack the sbin folders these programs live in.
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def _first_line(stderr: str, code: int) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else f"it ended with code {code}"
