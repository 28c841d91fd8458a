"""Waits for sockets, for a deadline, or for another thread's call (epoll and an eventfd)."""

import contextlib
import os
import select
import selectors
import time
from collections.abc import Callable

Callback = Callable[[int], None]
READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Poller:
    """One thread polls; any thread may `wake` it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake_fd, READ, None)
        self._only_wake = select.poll()
        self._only_wake.register(self._wake_fd, select.POLLIN)
        self._woken = False

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Call `callback(ready events)` when the descriptor is ready; replaces an earlier watch."""
        try:
            self._selector.modify(fd, events, callback)
        except KeyError:
            self._selector.register(fd, events, callback)

    def forget(self, fd: int) -> None:
        """Stop watching; call it before closing the descriptor."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def wake(self) -> None:
        """End the current or the next `poll` at once.  From any thread.

        Whoever calls queues first: one system call serves all who queue until the poll has ended.
        """
        if self._woken:
            return
        self._woken = True
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._wake_fd, 1)

    def poll(self, timeout_s: float, *, gather_s: float = 0.0) -> float:
        """Wait at most so long, then run the callbacks of what is ready; the seconds waited.

        Sockets do not end the first `gather_s` of it, a `wake` does: what arrives meanwhile is handled in one go.
        """
        began = time.monotonic()
        if 0 < gather_s < timeout_s:
            is_woken = bool(self._only_wake.poll(gather_s * 1000))
            timeout_s = 0.0 if is_woken else timeout_s - gather_s
        ready = self._selector.select(timeout_s)
        waited_s = time.monotonic() - began
        for key, events in ready:
            if key.fd == self._wake_fd:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake_fd)
                self._woken = False
            elif self._is_watched(key):
                key.data(events)
        return waited_s

    def close(self) -> None:
        """Release the descriptors of the poller itself."""
        self._selector.close()
        os.close(self._wake_fd)

    def _is_watched(self, key: selectors.SelectorKey) -> bool:
        """Whether an earlier callback of this round has not closed or replaced this descriptor."""
        with contextlib.suppress(KeyError):
            return bool(self._selector.get_key(key.fd).data == key.data)
        return False
