"""One nftables table, kept as wanted.

A change is one transaction that touches only the chains and elements that differ: packets see the old or the new
state, nothing between, and the turn of the other services' round robin is kept. What an operator or another program
does to the table behind our back is found by comparing listings, and answered by writing the whole table anew.
"""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from swarm_worker.net.errors import ProgramError
from swarm_worker.net.programs import run

K = TypeVar("K")
V = TypeVar("V")


class Rules(Protocol):
    """What a table should hold, and how that is written."""

    def full(self) -> str:
        """Commands that make the table hold this, whatever it held."""

    def change(self, old: "Rules") -> str:
        """Commands that make this of a table that holds `old` (of the same kind); empty: nothing to do."""


class Table:
    """A table of ours in family ip."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._holds: Rules | None = None
        self._listing: str | None = None  # as it was when we last knew that it holds that

    def apply(self, rules: Rules) -> None:
        """Have the table hold these rules. Raises ProgramError; then the table is as it was."""
        commands = rules.change(self._holds) if self._holds is not None else rules.full()
        if commands:
            self._listing = None
            self._write(rules, commands)
        self._holds = rules

    def verify(self) -> None:
        """Write the table anew unless it is known to be as we left it. Raises ProgramError."""
        if self._holds is None or (self._listing is not None and self._list() == self._listing):
            return
        self._write(self._holds, self._holds.full())
        self._listing = self._list()

    def remove(self) -> None:
        """Raises ProgramError."""
        run(["nft", "-f", "-"], f"table ip {self.name}\ndelete table ip {self.name}\n")
        self._holds = self._listing = None

    def exists(self) -> bool:
        return f"table ip {self.name}\n" in run(["nft", "list", "tables", "ip"])

    def _write(self, rules: Rules, commands: str) -> None:
        """A refused change may mean that the table is not what we think: write it whole then."""
        try:
            run(["nft", "-f", "-"], commands)
        except ProgramError:
            self._holds = self._listing = None
            run(["nft", "-f", "-"], rules.full())
            self._holds = rules

    def _list(self) -> str:
        return run(["nft", "-s", "list", "table", "ip", self.name], accept=(0, 1))


def elements(items: Mapping[str, str] | frozenset[str]) -> str:
    """The elements clause of a set or map; nothing for none, which nft's grammar does not allow."""
    if not items:
        return ""
    if isinstance(items, Mapping):
        return f" elements = {{ {', '.join(f'{key} : {items[key]}' for key in sorted(items))} }};"
    return f" elements = {{ {', '.join(sorted(items))} }};"


def round_robin(targets: tuple[str, ...]) -> str:
    """The expression that gives each new connection the next target."""
    numbered = ", ".join(f"{number} : {target}" for number, target in enumerate(targets))
    return f"numgen inc mod {len(targets)} map {{ {numbered} }}"


def gone(old: Mapping[K, V], new: Mapping[K, V]) -> list[K]:
    """Keys to take out: not there any more, or there with another value (a map's element cannot be replaced)."""
    return [key for key, value in old.items() if new.get(key) != value]


def added(old: Mapping[K, V], new: Mapping[K, V]) -> dict[K, V]:
    return {key: value for key, value in new.items() if old.get(key) != value}
