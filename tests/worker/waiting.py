"""Waiting for a state, with a deadline."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], timeout_s: float = 15) -> None:
    """Return once `condition` holds; TimeoutError when it never does."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is in other threads and processes
            await asyncio.sleep(0.005)
