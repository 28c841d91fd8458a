"""Waking the Raft thread: one system call may serve many, and none is lost."""

import threading
from collections import deque

from swarm_manager.raft.poller import Poller

LONG_S = 60.0
ITEMS = 20_000


def test_who_wakes_it_before_or_while_it_polls_ends_that_poll() -> None:
    poller = Poller()
    for times in (1, 3, 1):
        for _ in range(times):
            poller.wake()
        assert poller.poll(LONG_S) < LONG_S
    later = threading.Timer(0.01, poller.wake)
    later.start()
    assert poller.poll(LONG_S) < LONG_S
    later.join()
    poller.close()


def test_nothing_that_was_queued_before_a_wake_is_left_lying() -> None:
    poller = Poller()
    queued: deque[int] = deque()

    def fill() -> None:
        for item in range(ITEMS):
            queued.append(item)
            poller.wake()

    filler = threading.Thread(target=fill)
    filler.start()
    seen = 0
    while seen < ITEMS:
        assert poller.poll(LONG_S) < LONG_S, f"{ITEMS - seen} items wait and nobody wakes the poll"
        while queued:
            queued.popleft()
            seen += 1
    filler.join()
    poller.close()
