"""The manager's program, called for one thing: to make a cluster, a certificate, or a state from a backup."""

import asyncio
import subprocess

from swarm_worker.errors import ManagerError

PROGRAM_S = 120.0  # a backup may be large


async def output_of(command: list[str], failure: str, stdin: bytes = b"") -> bytes:
    """What the program prints; ManagerError with its own words after `failure` when it fails."""
    pipe = subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(PROGRAM_S):
            out, err = await child.communicate(stdin)
    except TimeoutError:
        child.kill()
        raise ManagerError(f"{failure}: {command[0]} did not end within {PROGRAM_S:.0f} s.") from None
    if child.returncode:
        words = err.decode(errors="replace").strip().splitlines() or [f"it exited with code {child.returncode}"]
        raise ManagerError(f"{failure}: {words[-1].removeprefix('swarm-manager: ').rstrip('.')}.")
    return out
