"""Simulated time: the world's, and each member's own idea of it."""

from dataclasses import dataclass


class Clock:
    """Simulated seconds; every look at it costs a little time, so loops that wait for it end."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1e-7
        return self.now


@dataclass
class MemberClock:
    """One machine's monotonic clock: another zero than its peers', and never quite as fast."""

    world: Clock
    rate: float = 1.0  # its seconds a second
    _since: float = 0.0
    _value: float = 0.0

    def __call__(self) -> float:
        world = self.world
        world.now += 1e-7
        return self._value + (world.now - self._since) * self.rate

    def set_rate(self, rate: float) -> None:
        """Run as fast as this from now on; what it shows does not jump."""
        self._value, self._since, self.rate = self(), self.world.now, rate

    def boot(self, shows_s: float) -> None:
        """Begin to count anew, from here; never while a process looks at it."""
        self._value, self._since = shows_s, self.world.now
